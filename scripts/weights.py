"""Weights that pass from one model to the next: a layer more, a length embedding more or less, an average."""

from collections.abc import Iterable
from pathlib import Path

import torch

Weights = dict[str, torch.Tensor]
NEW_STATE = {
    "optimizer_history": [{"optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}],
    "extra_state": {"train_iterator": {"epoch": 1}},
}
LENGTHS = "decoder.embed_length.weight"  # which only a CMLM has
RESIDUALS = ("self_attn.out_proj", "fc2")  # what an encoder layer adds to its input comes from these


def deepen_encoder(weights: Weights, layers: int) -> Weights:
    """Add encoder layers up to a number: copies of the last one that begin as the identity."""
    result = dict(weights)
    present = len({name.split(".")[2] for name in weights if name.startswith("encoder.layers.")})
    last = f"encoder.layers.{present - 1}."
    for layer in range(present, layers):
        for name in [name for name in weights if name.startswith(last)]:
            part = name.removeprefix(last)
            fresh = torch.zeros_like if part.startswith(RESIDUALS) else torch.clone
            result[f"encoder.layers.{layer}.{part}"] = fresh(weights[name])
    return result


def as_teacher(checkpoint: Path, layers: int, output: Path) -> Path:
    """Write a CMLM's weights as those of an autoregressive model to begin from."""
    state = torch.load(checkpoint)
    weights = deepen_encoder({name: w.float() for name, w in state["model"].items() if name != LENGTHS}, layers)
    return write(state, weights, output)


def as_cmlm(checkpoint: Path, output: Path) -> Path:
    """Write a teacher's weights with a new length embedding."""
    state = torch.load(checkpoint)
    width = state["model"]["decoder.embed_tokens.weight"].size(1)
    lengths = torch.randn(256, width, generator=torch.Generator().manual_seed(1)) * width**-0.5
    return write(state, state["model"] | {LENGTHS: lengths}, output)


def average(checkpoints: Iterable[Path], output: Path) -> Path:
    """Write the mean of some checkpoints of a run, summed in double precision; shared tensors stay shared."""
    paths = list(checkpoints)
    total: Weights = {}
    for path in paths:
        state = torch.load(path)
        owners: dict[int, str] = {}  # the first name of each tensor, by its address
        names = {name: owners.setdefault(w.data_ptr(), name) for name, w in state["model"].items()}
        for name in owners.values():
            total[name] = total.get(name, 0) + state["model"][name].double()
    means = {name: (w / len(paths)).float() for name, w in total.items()}
    return write(state, {name: means[owner] for name, owner in names.items()}, output)


def write(state: dict, weights: Weights, output: Path) -> Path:
    """Write weights with what says which model they are of, and without its training."""
    model = {key: state[key] for key in ("args", "cfg", "criterion") if key in state}
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".part")
    torch.save(model | NEW_STATE | {"model": weights}, partial)
    partial.rename(output)
    return output
