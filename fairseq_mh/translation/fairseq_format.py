"""The formats of fairseq's command lines: batches and hypotheses."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.translation.chains.decoders import Decoded
from fairseq_mh.translation.ranking.selection import Hypothesis

FairseqHypothesis = dict[str, Any]  # with the keys that fairseq's command lines read


def source_of(sample: dict) -> tuple[Tensor, Tensor]:
    """Return the tokens (B, S) long and lengths (B,) long of a batch's sources."""
    return sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"]


def part_of(sample: dict, rows: Sequence[int]) -> dict:
    """Return these sentences of a batch; the batch itself if these are all of them."""
    if len(rows) == len(sample["id"]):
        return sample
    which = torch.tensor(list(rows), device=sample["id"].device)
    source = sample["net_input"]
    target, constraints = sample.get("target"), sample.get("constraints")
    return {
        "id": sample["id"][which],
        "net_input": {name: source[name][which] for name in ("src_tokens", "src_lengths")},
        "target": None if target is None else target[which],
        "constraints": None if constraints is None else constraints[which],
    }


def no_hypothesis(eos: int) -> FairseqHypothesis:
    """Return the empty hypothesis of a sentence that could not be decoded, with score -inf."""
    tokens = torch.tensor([eos])
    scores = {"score": -math.inf, "positional_scores": torch.zeros(1)}
    return {"tokens": tokens, **scores, "alignment": None, "steps": 0, "history": [{"tokens": tokens}]}


def fairseq_hypothesis(found: Hypothesis, decoded: Decoded, cmlm: CMLM, with_history: bool) -> FairseqHypothesis:
    """Convert a hypothesis to fairseq's format.

    Args:
        found: the hypothesis.
        decoded: the batch of the hypothesis.
        cmlm: the model, which adds special tokens.
        with_history: whether to add its chain's states, for `--retain-iter-history`.
    """
    tokens, length = cmlm.hypothesis(found.tokens), len(found.tokens)
    around = (len(tokens) - length) // 2
    positional = found.positional.new_zeros(len(tokens))  # fairseq changes it in place
    positional[around : around + length] = found.positional
    hypothesis = {
        "tokens": tokens,
        "score": found.score,
        "positional_scores": positional,
        "alignment": None,
        "steps": max(found.passes - 1, found.sweep),
    }
    if with_history:
        states = (
            tokens[found.chain].masked_fill(masked[found.chain], cmlm.mask)[:length]
            for tokens, masked in decoded.history
        )
        hypothesis["history"] = [{"tokens": cmlm.hypothesis(state.cpu())} for state in states]
    return hypothesis
