"""Conversions of weights between the stages of a training: more layers, length embeddings, and averages."""

from collections.abc import Iterable
from pathlib import Path

import torch

from fairseq_mh.files.checkpoints import UNTRAINED

Weights = dict[str, torch.Tensor]
LENGTHS = "decoder.embed_length.weight"  # only a CMLM has this weight
RESIDUALS = ("self_attn.out_proj", "fc2")  # the last modules of the residual branches of an encoder layer


def deepen_encoder(weights: Weights, layers: int) -> Weights:
    """Add encoder layers up to a number of layers; the new ones are copies of the last that compute the identity."""
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
    """Write a CMLM's weights as the initial weights of an autoregressive model."""
    state = torch.load(checkpoint)
    weights = deepen_encoder({name: w.float() for name, w in state["model"].items() if name != LENGTHS}, layers)
    return write(state, weights, output)


def as_cmlm(checkpoint: Path, output: Path) -> Path:
    """Write a teacher's weights, with a new length embedding, as the initial weights of a CMLM."""
    state = torch.load(checkpoint)
    width = state["model"]["decoder.embed_tokens.weight"].size(1)
    lengths = torch.randn(256, width, generator=torch.Generator().manual_seed(1)) * width**-0.5
    return write(state, state["model"] | {LENGTHS: lengths}, output)


def average(checkpoints: Iterable[Path], output: Path) -> Path:
    """Write the mean of several checkpoints of a run, summed in double precision; shared tensors stay shared."""
    paths = list(checkpoints)
    total: Weights = {}
    for path in paths:
        state = torch.load(path)
        owners: dict[int, str] = {}  # address of a tensor -> its first name
        names = {name: owners.setdefault(w.data_ptr(), name) for name, w in state["model"].items()}
        for name in owners.values():
            total[name] = total.get(name, 0) + state["model"][name].double()
    means = {name: (w / len(paths)).float() for name, w in total.items()}
    return write(state, {name: means[owner] for name, owner in names.items()}, output)


def write(state: dict, weights: Weights, output: Path) -> Path:
    """Write a checkpoint of these weights with the model's options but without optimizer state."""
    model = {key: state[key] for key in ("args", "cfg", "criterion") if key in state}
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".part")
    torch.save(model | UNTRAINED | {"model": weights}, partial)
    partial.rename(output)
    return output
