"""Tests of the roofline next to measured figures on any device, and of the error if there is no such device."""

import itertools

import pytest
import torch

from benchmarks import peaks, rates, run
from benchmarks.algorithm_1 import Chain
from benchmarks.decoding import load_decoder, sample_of
from benchmarks.peaks import Peaks, Roofline
from benchmarks.pretend_device import PretendDevice
from benchmarks.rates import EnergyRows
from benchmarks.row_cost import Row
from tests.programs import ROOT, run_program

ROW = Row(operations=100, unfused=8, fused=4, weights=40)
PEAKS = Peaks(operations=1000, bandwidth=80, width=4)


def test_products_or_memory_traffic_limit_a_query():
    """Ten rows need 1 second of products; their traffic takes 1.5 seconds unfused, and 1 second fused.

    If there are a tenth of the products, traffic decides in both cases.
    """
    assert Roofline(ROW, PEAKS, 10).per_second() == pytest.approx((10 / 1.5, 10))
    assert Roofline(ROW._replace(operations=10), PEAKS._replace(width=2), 10).per_second() == pytest.approx(
        (10 / 0.75, 20)
    )
    limits = Roofline(ROW, PEAKS, 10).limits({"engine": 5, "stock": 1, "seconds": 9, "rows": 30})
    assert limits == {"engine": pytest.approx((10 / 1.5, 10)), "seconds": pytest.approx((3, 4.5))}
    assert not Roofline(ROW, PEAKS, 10).limits({"seconds": 9, "rows": None})


def test_the_rows_of_the_cpu_have_a_roofline(tiny, monkeypatch):
    monkeypatch.setattr(peaks, "measured_peaks", lambda device: PEAKS)
    monkeypatch.setattr(rates, "product_rates", lambda device: {"matmul": 1.0})
    found = list(itertools.islice(run.parts(str(tiny.folder), 3, 1, "cpu"), 3))
    assert [name for name, _, _ in found] == ["machine", "measured peaks", "decoder"]
    _, figures, limits = found[-1]
    assert figures["engine"] > 0
    low, high = limits["engine"]
    assert 0 < low <= high


def test_a_known_gpu_has_published_peaks(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    assert peaks.peaks_of("cuda") == ("published", peaks.H100["fp32"])


@torch.no_grad()
def test_rows_and_algorithm_1_run_on_a_device(tiny):
    """Both give the numbers of the CPU, and no tensor is on the wrong device."""
    on_cpu = load_decoder(str(tiny.folder))
    expected = EnergyRows(on_cpu.model, on_cpu.task.target_dictionary, sample_of(on_cpu, 3)).engine()
    with PretendDevice():
        on_device = load_decoder(str(tiny.folder))
        dictionary, sample = on_device.task.target_dictionary, sample_of(on_device, 3)
        rows = EnergyRows(on_device.model, dictionary, sample)
        torch.testing.assert_close(rows.engine().cpu(), expected)
        torch.testing.assert_close(rows.stock().cpu(), expected)
        source = sample["net_input"]["src_tokens"][:1]
        chain = Chain(on_device.model, dictionary, rows.cmlm.allowed, source, seed=1)
        state, proposals = chain.run(3, 1, 1.0, 1.0, 1.0)
    assert proposals == 3
    assert len(state.cpu()) == 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_refused_in_one_line():
    result = run_program("python", "-m", "benchmarks.run", "nowhere", "--device", "cuda", cwd=ROOT)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "--device cuda: this machine has no CUDA device"
    assert "Traceback" not in result.stderr
