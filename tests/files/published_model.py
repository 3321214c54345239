"""Mask-Predict's model for one sentence, in plain formulas and with the weight names of its checkpoints.

It shares no code with the package or with fairseq, so that a model of their classes can be compared with it.
"""

import math

import torch

Weights = dict[str, torch.Tensor]
FIRST = 2  # row of the first token in the position table; row 0 is not used, and row 1 is for padding


def encode(w: Weights, source: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Map tokens (S,) with EOS but no BOS to outputs (S, D) and logits of the target length; class 0 is impossible."""
    words = w["encoder.embed_tokens.weight"][source] + w["encoder.embed_positions.weight"][FIRST : FIRST + len(source)]
    x = torch.cat([w["encoder.embed_lengths.weight"][:1], words])
    for name in _layers(w, "encoder"):
        x = _norm(w, f"{name}.layer_norms.0", x + _attention(w, f"{name}.self_attn", x, x, heads))
        x = _norm(w, f"{name}.layer_norms.1", x + _feed_forward(w, name, x))
    return x[1:], torch.cat([torch.tensor([-math.inf]), w["encoder.embed_lengths.weight"][1:] @ x[0]])


def decode(w: Weights, target: torch.Tensor, memory: torch.Tensor, heads: int) -> torch.Tensor:
    """Map tokens (T,), some of them <mask>, to logits (T, V)."""
    x = w["decoder.embed_tokens.weight"][target] + w["decoder.embed_positions.weight"][FIRST : FIRST + len(target)]
    for name in _layers(w, "decoder"):
        x = _norm(w, f"{name}.self_attn_layer_norm", x + _attention(w, f"{name}.self_attn", x, x, heads))
        x = _norm(w, f"{name}.encoder_attn_layer_norm", x + _attention(w, f"{name}.encoder_attn", x, memory, heads))
        x = _norm(w, f"{name}.final_layer_norm", x + _feed_forward(w, name, x))
    return x @ w["decoder.embed_tokens.weight"].T


def _layers(w: Weights, side: str) -> list[str]:
    return sorted({".".join(name.split(".")[:3]) for name in w if name.startswith(f"{side}.layers.")})


def _norm(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return w[f"{name}.gamma"] * centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-12).sqrt() + w[f"{name}.beta"]


def _attention(w: Weights, name: str, x: torch.Tensor, memory: torch.Tensor, heads: int) -> torch.Tensor:
    fused = (w[f"{name}.in_proj_{part}"].chunk(3) for part in ("weight", "bias"))
    parts = (y @ weight.T + bias for weight, bias, y in zip(*fused, (x, memory, memory), strict=True))
    outputs = []
    for q, k, v in zip(*(part.chunk(heads, -1) for part in parts), strict=True):
        powers = (q @ k.T / math.sqrt(q.size(-1))).exp()
        outputs.append(powers / powers.sum(-1, keepdim=True) @ v)
    return torch.cat(outputs, -1) @ w[f"{name}.out_proj.weight"].T + w[f"{name}.out_proj.bias"]


def _feed_forward(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    x = x @ w[f"{name}.fc1.weight"].T + w[f"{name}.fc1.bias"]
    x = x * (1 + torch.erf(x / math.sqrt(2))) / 2  # gelu
    return x @ w[f"{name}.fc2.weight"].T + w[f"{name}.fc2.bias"]
