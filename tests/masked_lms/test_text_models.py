"""Hugging Face's masked language models behind the `TextModel` protocol, and the symbols that blanks may hold."""

import copy

import pytest
import torch

from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.hugging_face import HuggingFaceMLM, load_hugging_face
from fairseq_mh.masked_lms.transformers_import import transformers
from fairseq_mh.open_ended.blanks import Blanks
from fairseq_mh.open_ended.texts import load_masked_lm
from tests.masked_lms.tiny_models import SIZES, SPECIAL, WORDS, bert, random_model, tokenizer_of

KINDS = {
    "bert": transformers.BertConfig(vocab_size=12, **SIZES),
    "roberta": transformers.RobertaConfig(vocab_size=12, pad_token_id=0, **SIZES),
    "electra": transformers.ElectraConfig(vocab_size=12, embedding_size=16, **SIZES),
    "albert": transformers.AlbertConfig(vocab_size=12, embedding_size=8, **SIZES),
    "distilbert": transformers.DistilBertConfig(vocab_size=12, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
    "modernbert": transformers.ModernBertConfig(vocab_size=12, pad_token_id=0, **SIZES),
}
TEXTS = ("a [MASK] [MASK] b [MASK]", "[MASK] c")


def texts_of(model):
    lines = [model.encode(text) for text in TEXTS]
    return torch.tensor([line + [model.pad] * (len(lines[0]) - len(line)) for line in lines])


@pytest.mark.parametrize("kind", KINDS)
def test_projected_features_equal_the_models_logits(kind):
    own = random_model(KINDS[kind])
    model = HuggingFaceMLM(copy.deepcopy(own), tokenizer_of())
    texts = texts_of(model)
    blanks = Blanks(model, texts)
    state = torch.tensor([[6, 6, 7, 7, 8], [7, 8, *[model.pad] * 3]])
    masked = torch.tensor([[False, True, False, False, True], [True, *[False] * 4]])
    with torch.no_grad():
        found = blanks.project(blanks.features(state[[1, 0]], masked[[1, 0]], torch.tensor([1, 0])))
        inputs = texts.clone()
        inputs[0, 3] = 7  # the middle blank of the first text is not masked
        logits = own(input_ids=inputs, attention_mask=texts.ne(model.pad).long()).logits
    expected = torch.stack([logits[1, 1], logits[0, 2], logits[0, 5]])
    assert torch.allclose(found, expected, atol=1e-10)


def test_no_blank_holds_special_or_unused_symbols():
    """A blank also holds no symbol that only pads the embedding."""
    model = HuggingFaceMLM(bert(vocabulary=16), tokenizer_of())
    assert model.allowed.nonzero()[:, 0].tolist() == [6, 7, 8]
    assert model.tokenizer.convert_ids_to_tokens([6, 7, 8]) == WORDS


def test_given_words_stay(mlm):
    blanks = Blanks(mlm, texts_of(mlm))
    pad, mask = mlm.pad, mlm.mask
    assert blanks.lengths.tolist() == [5, 2]
    assert blanks.states().tolist() == [[6, mask, mask, 7, mask], [mask, 8, pad, pad, pad]]
    filled = blanks.filled(torch.tensor([[6, 6, 7, 7, 8], [8, 8, pad, pad, pad]]), torch.tensor([0, 1]))
    assert [mlm.decode(line) for line in filled] == ["a a b b c", "c c"]


def test_models_are_loaded_from_a_local_folder(tmp_path):
    bert().save_pretrained(tmp_path / "whole")
    tokenizer_of().save_pretrained(tmp_path / "whole")
    assert load_hugging_face(tmp_path / "whole", "cpu").project(torch.zeros(1, 16)).shape == (1, 9)
    with pytest.raises(UserError, match=r"config\.json"):
        load_hugging_face(tmp_path, "cpu")
    (tmp_path / "no weights").mkdir()
    bert().config.save_pretrained(tmp_path / "no weights")
    tokenizer_of().save_pretrained(tmp_path / "no weights")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_hugging_face(tmp_path / "no weights", "cpu")
    transformers.BertModel(bert().config).save_pretrained(tmp_path / "no head")
    tokenizer_of().save_pretrained(tmp_path / "no head")
    with pytest.raises(UserError, match="lacks weights"):
        load_hugging_face(tmp_path / "no head", "cpu")


REFUSED = {
    "convbert": (transformers.ConvBertConfig(vocab_size=12, embedding_size=16, **SIZES), "padding"),
    "fnet": (transformers.FNetConfig(vocab_size=12, **SIZES), "padding"),
    "mobilebert": (transformers.MobileBertConfig(vocab_size=12, embedding_size=16, **SIZES), "MobileBert"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_models_that_cannot_be_sampled_from_are_refused(kind):
    """They read padding, or their last step cannot be taken out."""
    config, message = REFUSED[kind]
    with pytest.raises(UserError, match=message):
        HuggingFaceMLM(random_model(config), tokenizer_of())


def test_the_length_limit_if_positions_count_from_the_padding_index():
    config = transformers.RobertaConfig(vocab_size=12, pad_token_id=1, **SIZES)
    tokenizer = tokenizer_of(("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *WORDS))
    tokenizer.model_max_length = 1000
    model = HuggingFaceMLM(random_model(config), tokenizer)
    assert model.longest == 30
    text = torch.tensor([model.encode(model.blank * 28)])
    assert model.read(text, text.eq(model.mask)).shape == (28, 16)


def test_a_model_whose_last_step_is_not_a_matrix_product_is_refused():
    class Shifted(transformers.BertForMaskedLM):
        def forward(self, *args, **kwargs):
            found = super().forward(*args, **kwargs)
            return found._replace(logits=found.logits + 1) if hasattr(found, "_replace") else self._shift(found)

        def _shift(self, found):
            found.logits = found.logits.tanh()
            return found

    torch.manual_seed(1)
    with pytest.raises(UserError, match="not a product"):
        HuggingFaceMLM(Shifted(transformers.BertConfig(vocab_size=9, **SIZES)).eval(), tokenizer_of())


def test_a_tokenizer_without_a_mask_is_refused():
    tokenizer = tokenizer_of((*SPECIAL, *WORDS))
    tokenizer.mask_token = None
    with pytest.raises(UserError, match="no mask"):
        HuggingFaceMLM(bert(), tokenizer)


CACHED = "models--a-stranger--tiny/snapshots/0"


def test_a_model_of_the_hub_is_loaded_by_its_name(tmp_path, monkeypatch):
    """From transformers' cache, as it is after a download; only `load_masked_lm` takes a name."""
    (tmp_path / "models--a-stranger--tiny/refs").mkdir(parents=True)
    (tmp_path / "models--a-stranger--tiny/refs/main").write_text("0")
    bert().save_pretrained(tmp_path / CACHED)
    tokenizer_of().save_pretrained(tmp_path / CACHED)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_masked_lm("a-stranger/tiny").decode(torch.tensor([[6, 7, 0]])) == ["a b"]
    for name in ("a-stranger/other", "tiny"):
        with pytest.raises(UserError, match="cannot be loaded"):
            load_masked_lm(name)
    for name in ("a/stranger/tiny", "../tiny", str(tmp_path)):
        with pytest.raises(UserError, match="not a folder"):
            load_masked_lm(name)
    with pytest.raises(UserError, match="not a folder"):
        load_hugging_face("a-stranger/tiny", "cpu")
