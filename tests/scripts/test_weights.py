"""Tests of the conversions of weights between stages, and of the tables of learning curves."""

import csv

import pytest
import torch

from scripts.training_curves import write_curves
from scripts.weights import LENGTHS, as_cmlm, as_teacher, average, deepen_encoder

LOG = """epoch 001:    100 / 1116 loss=8.4, nll_loss=7.6, ppl=200, wps=316, ups=0.9, wpb=33, num_updates=100, lr=5e-05
epoch 001 | valid on 'valid' subset | loss 6.909 | nll_loss 5.919 | ppl 60.5 | wps 751.1 | num_updates 100
epoch 001:    200 / 1116 loss=7.4, nll_loss=6.6, ppl=200, wps=316, ups=0.8, wpb=33, num_updates=200, lr=5e-05
epoch 001:    200 / 1116 loss=7.3, nll_loss=6.6, ppl=200, wps=316, ups=0.7, wpb=33, num_updates=200, lr=5e-05
"""


def small_weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    """Make the weights of a model with two encoder layers and embeddings that have two names."""
    shared = torch.full((5, 4), value)
    names = ("self_attn.q_proj.weight", "self_attn.out_proj.weight", "fc1.weight", "fc2.bias")
    layers = {f"encoder.layers.{i}.{name}": torch.full((4, 4), value + i) for i in range(2) for name in names}
    return {"encoder.embed_tokens.weight": shared, "decoder.embed_tokens.weight": shared, **layers}


def test_a_new_layer_adds_nothing_to_its_input():
    deeper = deepen_encoder(small_weights(), 3)
    new = {name.split(".", 3)[3]: w for name, w in deeper.items() if name.startswith("encoder.layers.2.")}
    assert len(new) == 4
    for name, w in new.items():
        expected = 0.0 if name in ("self_attn.out_proj.weight", "fc2.bias") else 2.0
        assert torch.equal(w, torch.full((4, 4), expected)), name
    assert deepen_encoder(small_weights(), 2).keys() == small_weights().keys()


def test_length_embeddings_are_removed_and_added(tmp_path):
    teacher, cmlm = tmp_path / "teacher.pt", tmp_path / "cmlm.pt"
    torch.save({"model": small_weights() | {LENGTHS: torch.ones(256, 4)}}, cmlm)
    as_teacher(cmlm, 3, teacher)
    weights = torch.load(teacher)["model"]
    assert LENGTHS not in weights
    assert "encoder.layers.2.fc1.weight" in weights
    as_cmlm(teacher, cmlm)
    assert torch.load(cmlm)["model"][LENGTHS].shape == (256, 4)


def test_an_average_is_the_mean_and_shares_what_was_shared(tmp_path):
    for value in (1.0, 2.0, 6.0):
        torch.save({"model": small_weights(value)}, tmp_path / f"{value}.pt")
    state = torch.load(average(sorted(tmp_path.glob("*.pt")), tmp_path / "mean.pt"))
    weights = state["model"]
    assert weights.keys() == small_weights().keys()
    for name, w in weights.items():
        assert w.mean().item() == pytest.approx(4.0 if "layers.1" in name else 3.0), name
    assert weights["encoder.embed_tokens.weight"].data_ptr() == weights["decoder.embed_tokens.weight"].data_ptr()


def test_curves_have_losses_by_update(tmp_path):
    (tmp_path / "teacher.log").write_text(LOG)
    (tmp_path / "scores.csv").write_text("stage,checkpoint,bleu\n")
    with (write_curves(tmp_path) / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["update"], row["training_loss"], row["valid_loss"]) for row in rows] == [
        ("teacher", "100", "8.4", "6.909"),
        ("teacher", "200", "7.3", ""),
    ]
    assert (tmp_path / "curves" / "bleu.csv").exists()
