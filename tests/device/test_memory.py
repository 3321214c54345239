"""Tests of the estimated memory of chains, rows and logits, and of the query size for a device's free memory."""

import pytest
import torch

from benchmarks import memory
from benchmarks.row_cost import Rows
from fairseq_mh.mcmc import masked_lm
from tests.tiny_cmlm import dictionary_of, model_of

CLOSE = 0.2  # largest relative error of an estimate


def test_the_estimate_for_a_chain_is_close():
    assert memory.measured_chain(4, 12, 64, 1) == pytest.approx(memory.chain_bytes(12, 64, 1), rel=CLOSE)


def test_the_estimate_for_logits_is_close():
    assert memory.measured_position(2000) == pytest.approx(memory.position_bytes(2000), rel=CLOSE)


@torch.no_grad()
def test_the_estimate_for_a_row_is_close():
    sizes = {"decoder_embed_dim": 128, "encoder_embed_dim": 128, "decoder_ffn_embed_dim": 512, "decoder_layers": 2}
    sizes |= {"max_source_positions": 40, "max_target_positions": 40, "decoder_normalize_before": True}
    rows = Rows(model_of(dictionary_of(), **sizes), dictionary_of(), 16)
    assert memory.measured_row(rows) == pytest.approx(memory.row_bytes(18, 128, 512), rel=CLOSE)


@pytest.mark.parametrize(("free", "rows"), [(2**40, 16384), (16 * 2**30, 2048), (2**20, 256)])
def test_the_query_size_grows_with_the_free_memory(free, rows, monkeypatch):
    """The size has a smallest and a largest value."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**41))
    masked_lm._query_on.cache_clear()
    assert masked_lm._query_on(torch.device("cuda", 0)) == rows
    masked_lm._query_on.cache_clear()


def test_the_cpu_and_an_unknown_device_have_their_own_query_sizes():
    assert masked_lm.query_size(torch.empty(0)) == 64
    assert masked_lm.query_size(torch.empty(0, device="meta")) == 2048
