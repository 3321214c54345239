"""What chains, rows and logits are said to take is what they take, and queries are sized by what is free."""

import pytest
import torch

from benchmarks import memory
from benchmarks.row_cost import Rows
from fairseq_mh.mcmc import masked_lm
from tests.tiny_cmlm import dictionary_of, model_of

CLOSE = 0.2  # of what is said


def test_a_chain_takes_what_is_said():
    assert memory.measured_chain(4, 12, 64, 1) == pytest.approx(memory.chain_bytes(12, 64, 1), rel=CLOSE)


def test_logits_take_what_is_said():
    assert memory.measured_position(2000) == pytest.approx(memory.position_bytes(2000), rel=CLOSE)


@torch.no_grad()
def test_a_row_takes_what_is_said():
    sizes = {"decoder_embed_dim": 128, "encoder_embed_dim": 128, "decoder_ffn_embed_dim": 512, "decoder_layers": 2}
    sizes |= {"max_source_positions": 40, "max_target_positions": 40}
    rows = Rows(model_of(dictionary_of(), **sizes), dictionary_of(), 16)
    assert memory.measured_row(rows) == pytest.approx(memory.row_bytes(18, 128, 512), rel=CLOSE)


@pytest.mark.parametrize(("free", "rows"), [(2**40, 16384), (16 * 2**30, 2048), (2**20, 256)])
def test_a_query_is_sized_by_the_free_memory(free, rows, monkeypatch):
    """Between a floor and a ceiling."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**41))
    masked_lm._query_on.cache_clear()
    assert masked_lm._query_on(torch.device("cuda", 0)) == rows
    masked_lm._query_on.cache_clear()


def test_a_query_of_the_cpu_and_of_an_unknown_device_have_their_own_size():
    assert masked_lm.query_size(torch.empty(0)) == 64
    assert masked_lm.query_size(torch.empty(0, device="meta")) == 2048
