#!/usr/bin/env python3
"""Train the embedded masked language model of English: a small RoBERTa on LibreOffice's help and interface.

    python -m scripts.train_mlm models/libreoffice-de-en OUT        # needs the extra `hf`

The model starts from the decoder of the embedded CMLM, without its attention to the source, and uses the CMLM's pieces.
A model of this size that starts from random weights does not learn to use the context in this training time on 2 CPU
cores. A masked position always shows the mask, because the sampler shows the model nothing else there. The program
splits pages as for the CMLM (`prepare_data.py`), and leaves out interface texts that are held out. A training that was
stopped resumes from its last checkpoint. It uses bf16 if the machine supports it.
"""

import argparse
from pathlib import Path

import sentencepiece
import torch
from fairseq.data import Dictionary
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from fairseq_mh.files.checkpoints import allow_fairseq_types
from fairseq_mh.masked_lms.transformers_import import transformers
from scripts.held_out import read_heldout
from scripts.parallel_text import read_rows
from scripts.prepare_data import split

MASKED = 0.2  # share of a segment's positions that are masked
LONGEST = 64  # most symbols in a segment
SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
SIZES = {
    "hidden_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": LONGEST + 2,  # counted from the padding index + 1
    "type_vocab_size": 1,
}
LAYER = {  # Hugging Face's names of a layer's weights -> the CMLM's names
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.LayerNorm": "self_attn_layer_norm",
    "intermediate.LayerNorm": "final_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
}


def english(folder: Path) -> dict[str, list[str]]:
    """Return the distinct English segments of each split: those of the help and, for training, of the interface.

    Args:
        folder: the CMLM's folder, which holds the help and the interface.

    Returns:
        name of the split -> segments.
    """
    rows = list(read_rows(folder / "en-de.tsv.gz"))
    splits, held_out = split(rows), read_heldout(folder, rows)
    interface = [(german, english) for _, english, german in read_rows(folder / "interface.tsv.gz")]
    splits["train"] += [pair for pair in interface if not held_out.reason(pair)]
    return {name: list(dict.fromkeys(pair[1] for pair in pairs)) for name, pairs in splits.items()}


def tokenizer_of(model: Path):
    """Convert a sentencepiece BPE model to a tokenizer of transformers with special symbols at fairseq's indices."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [processor.id_to_piece(n) for n in range(processor.get_piece_size()) if not processor.is_control(n)]
    pieces = [piece for piece in pieces if piece not in SPECIAL.values()]
    ranks = {piece: n for n, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in ranks and piece[cut:] in ranks
    ]
    symbols = [*SPECIAL.values(), *pieces, "<mask>"]
    tokenizer = Tokenizer(models.BPE({symbol: n for n, symbol in enumerate(symbols)}, merges, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace()
    ends = [(SPECIAL[f"{name}_token"], list(SPECIAL).index(f"{name}_token")) for name in ("bos", "eos")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    mask = AddedToken("<mask>", lstrip=True, special=True)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=LONGEST, mask_token=mask, **SPECIAL
    )


@torch.no_grad()
def start_from(model, tokenizer, folder: Path) -> None:
    """Copy the CMLM's decoder: the embeddings of pieces (by name) and positions, self-attention and feed-forward.

    Args:
        model: the model whose weights are overwritten.
        tokenizer: the model's tokenizer.
        folder: the CMLM's folder, with checkpoint.pt and dict.en.txt.
    """
    allow_fairseq_types()
    weights = {
        name.removeprefix("decoder."): weight.float()
        for name, weight in torch.load(folder / "checkpoint.pt")["model"].items()
    }
    dictionary, encoder = Dictionary.load(str(folder / "dict.en.txt")), model.roberta_prelayernorm
    scale = SIZES["hidden_size"] ** -0.5  # fairseq multiplies embeddings by the inverse of this
    for symbol, number in tokenizer.get_vocab().items():
        copied = dictionary.unk() if symbol == "<mask>" else dictionary.index(symbol)  # a CMLM masks with <unk>
        encoder.embeddings.word_embeddings.weight[number] = weights["embed_tokens.weight"][copied]
    encoder.embeddings.position_embeddings.weight.copy_(weights["embed_positions.weight"][: LONGEST + 2] * scale)
    parameters = dict(encoder.named_parameters())
    for kind in ("weight", "bias"):
        parameters[f"LayerNorm.{kind}"].copy_(weights[f"layer_norm.{kind}"])
        for layer in range(SIZES["num_hidden_layers"]):
            for name, name_in_cmlm in LAYER.items():
                weight = weights[f"layers.{layer}.{name_in_cmlm}.{kind}"]
                parameters[f"encoder.layer.{layer}.{name}.{kind}"].copy_(weight)


def trainer_of(model, tokenizer, texts: dict[str, list[str]], updates: int, folder: Path):
    """Return a trainer of transformers.

    Args:
        model: the model to train.
        tokenizer: the model's tokenizer.
        texts: the segments of `train` and `valid`.
        updates: the number of updates, with 64 segments each.
        folder: the folder for checkpoints.
    """
    data = {name: tokenizer(texts[name], truncation=True)["input_ids"] for name in ("train", "valid")}
    options = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=updates,
        per_device_train_batch_size=64,
        learning_rate=1e-3,
        warmup_steps=200,
        weight_decay=0.01,
        adam_beta2=0.98,
        train_sampling_strategy="group_by_length",
        bf16=torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=500,
        save_steps=500,
        save_total_limit=1,
        logging_steps=100,
        report_to=[],
        seed=1,
    )
    masking = transformers.DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=MASKED, mask_replace_prob=1.0, random_replace_prob=0.0
    )
    datasets = {name: [{"input_ids": ids} for ids in lines] for name, lines in data.items()}
    return transformers.Trainer(
        model, options, train_dataset=datasets["train"], eval_dataset=datasets["valid"], data_collator=masking
    )


def main():
    """Train the model and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cmlm", type=Path, help="the embedded CMLM's folder, which holds its corpus")
    parser.add_argument("output", type=Path, help="the model's folder; checkpoints are kept in OUTPUT.training")
    parser.add_argument("--updates", type=int, default=4000, help="updates of 64 segments; default: %(default)s")
    args = parser.parse_args()
    tokenizer = tokenizer_of(args.cmlm / "spm.model")
    transformers.set_seed(1)
    config = transformers.RobertaPreLayerNormConfig(vocab_size=len(tokenizer), pad_token_id=1, eos_token_id=2, **SIZES)
    model = transformers.RobertaPreLayerNormForMaskedLM(config)
    start_from(model, tokenizer, args.cmlm)
    training = Path(f"{args.output}.training")
    trainer = trainer_of(model, tokenizer, english(args.cmlm), args.updates, training)
    trainer.train(resume_from_checkpoint=any(training.glob("checkpoint-*")))
    model.half().save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
