"""Tests of sampling and judging texts without a source on the pretend device."""

import pytest
import torch

from fairseq_mh import mcmc
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.mcmc.masked_lm import LogitsLM
from fairseq_mh.open_ended.sampling import sample
from fairseq_mh.sampler_config import SamplerConfig

pytest.importorskip("transformers", reason="needs the extra `hf`")

from benchmarks.pretend_device import PretendDevice
from fairseq_mh.masked_lms.hugging_face import HuggingFaceMLM
from fairseq_mh.masked_lms.transformers_import import transformers
from fairseq_mh.open_ended.causal_lm import CausalLM
from tests.masked_lms.tiny_models import bert, tokenizer_of

TEMPLATE = "a {2} b {}"


@pytest.mark.parametrize("decoding", ["mh", "gibbs"])
def test_chains_equal_those_of_the_cpu(mlm, decoding):
    cfg = SamplerConfig(mh_sweeps=2, mh_decoding=decoding, mh_block_size=1)
    expected = finish(sample(mlm, TEMPLATE, range(1, 3), range(3), 1, cfg))
    model = bert()
    with PretendDevice():
        on_device = HuggingFaceMLM(model.cuda(), tokenizer_of())
        found = finish(sample(on_device, TEMPLATE, range(1, 3), range(3), 1, cfg))
    assert found.texts == expected.texts


def test_texts_are_judged():
    torch.manual_seed(2)
    config = transformers.GPT2Config(vocab_size=9, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config).eval()
    texts = ["a b c a", "c c a b b"]
    expected = CausalLM(model, tokenizer_of()).judge(texts)
    with PretendDevice():
        found = CausalLM(model.cuda(), tokenizer_of()).judge(texts)
    torch.testing.assert_close(found.nats, expected.nats)


def test_a_users_own_model():
    """A table of logits, sampled by `mcmc.sample`, has the same lowest energies on both devices."""
    table = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def energies(device):
        logits = table.to(device)
        lm = LogitsLM(
            lambda tokens, masked, context: logits[masked.nonzero()[:, 1]],
            5,
            forbidden=[0],
            device=device,
            dtype=table.dtype,
        )
        return mcmc.sample(lm, torch.ones(4, 3, dtype=torch.long, device=device), sweeps=3).lowest.scores

    expected = energies("cpu")
    with PretendDevice():
        torch.testing.assert_close(energies("cuda"), expected)
