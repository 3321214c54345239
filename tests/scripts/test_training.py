"""Tests that the training of the embedded models starts; `test_electric.py` tests training itself."""

from pathlib import Path

import pytest
import torch
from fairseq.modules import FairseqDropout

from scripts import fairseq_training
from tests.programs import ROOT, run_program


def test_its_tasks_can_be_registered():
    script = Path(fairseq_training.__file__)
    result = run_program("python", script, "--help", cwd=ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.3])
def test_byte_dropout_drops_its_share_and_keeps_the_mean(probability):
    module = FairseqDropout(probability)
    x = torch.ones(1001, 999, requires_grad=True)
    dropped = fairseq_training.byte_dropout(module, x)
    assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=0.005)
    assert dropped.mean().item() == pytest.approx(1, abs=0.005)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())
    module.eval()
    assert fairseq_training.byte_dropout(module, x) is x
