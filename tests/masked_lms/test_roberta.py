"""fairseq's RoBERTa, loaded from its checkpoint, behind the `TextModel` protocol."""

from argparse import Namespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel, base_architecture
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.roberta import load_fairseq
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.open_ended.blanks import Blanks
from fairseq_mh.open_ended.sampling import sample
from fairseq_mh.sampler_config import SamplerConfig


@pytest.fixture
def checkpoint(tmp_path):
    """Write a tiny random RoBERTa as `fairseq-train` does; return the checkpoint's path and the model."""
    dictionary = Dictionary()
    for word in "abc":
        dictionary.add_symbol(word)
    dictionary.finalize(padding_factor=8)
    dictionary.save(str(tmp_path / "dict.txt"))
    args = Namespace(arch="roberta", task="masked_lm", data="elsewhere", max_positions=20, tokens_per_sample=20)
    args.__dict__.update(encoder_layers=1, encoder_embed_dim=8, encoder_ffn_embed_dim=8, encoder_attention_heads=2)
    base_architecture(args)
    torch.manual_seed(1)
    model = RobertaModel.build_model(args, MaskedLMTask(MaskedLMConfig(), dictionary)).eval()
    history = [{"optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}]
    state = {"args": args, "model": model.state_dict(), "optimizer_history": history}
    torch.save(state | {"extra_state": {"train_iterator": {"epoch": 1}}}, tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt", model


@torch.no_grad()
def test_projected_features_equal_the_models_logits(checkpoint):
    path, own = checkpoint
    model = load_fairseq(path, "cpu", None)
    text = torch.tensor([model.encode("a <mask> <mask> c")])
    assert text.tolist() == [[0, 4, model.mask, model.mask, 6, 2]]
    blanks = Blanks(model, text)
    masked = torch.tensor([[False, False, True, False]])
    found = blanks.project(blanks.features(torch.tensor([[4, 5, 6, 6]]), masked, torch.tensor([0])))
    logits = own(torch.tensor([[0, 4, 5, model.mask, 6, 2]]))[0][0, 3]
    assert torch.allclose(found[0], logits, atol=1e-6)
    assert [model.dictionary[n] for n in model.allowed.nonzero()[:, 0]] == ["a", "b", "c"]


def test_roberta_can_be_sampled_from(checkpoint):
    cfg = SamplerConfig(mh_block_size=1, mh_sweeps=2)
    model = load_fairseq(checkpoint[0], "cpu", None)
    texts = finish(sample(model, "a {} c", range(2, 6), range(4), 1, cfg)).texts
    assert all(text.startswith("a ") and text.endswith(" c") and set(text) <= set("abc ") for text in texts)


def test_files_of_another_kind_are_refused(checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"checkpoint\.pt does not exist"):
        load_fairseq(tmp_path / "nowhere" / "checkpoint.pt", "cpu", None)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "checkpoint.pt").write_bytes(checkpoint[0].read_bytes())
    with pytest.raises(UserError, match=r"dict\.txt"):
        load_fairseq(tmp_path / "alone" / "checkpoint.pt", "cpu", None)
    with pytest.raises(UserError, match="sentencepiece"):
        load_fairseq(checkpoint[0], "cpu", tmp_path / "dict.txt")
    (tmp_path / "broken.pt").write_bytes(checkpoint[0].read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_fairseq(tmp_path / "broken.pt", "cpu", None)
