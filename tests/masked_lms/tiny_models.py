"""Tiny masked language models with random weights, and a tokenizer of whole words."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from fairseq_mh.masked_lms.transformers_import import transformers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "b", "c"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIZES |= {"max_position_embeddings": 32}


def tokenizer_of(words=(*SPECIAL, "[unused0]", *WORDS)):
    pieces = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", words.index("[CLS]")), ("[SEP]", words.index("[SEP]"))]
    pieces.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    named = {f"{word[1:-1].lower()}_token": word for word in SPECIAL}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=30, **named)


def random_model(config):
    """Return a model in float64 whose logits are far apart."""
    torch.manual_seed(1)
    model = transformers.AutoModelForMaskedLM.from_config(config).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.35)
    return model


def bert(vocabulary=9, **options):
    return random_model(transformers.BertConfig(vocab_size=vocabulary, **{**SIZES, **options}))
