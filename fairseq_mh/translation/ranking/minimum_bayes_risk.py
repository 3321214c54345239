"""Minimum Bayes risk over the states of the chains (Kumar and Byrne, 2004), weighted by their energies.

    x* = argmax_h sum_r p(r) u(h, r),    p(r) proportional to exp(beta s(r))

h and r run over the distinct translations found. s is the score that ranks them otherwise, so that with energies per
token p(r) is exp(-beta E(r) / T). How often chains visited a translation has no part in it: an annealed chain visits
what is near its end.
"""

import math
from collections.abc import Callable, Sequence

from fairseq_mh.translation.ranking.selection import Hypothesis
from fairseq_mh.translation.ranking.utilities import Utility

MOST = 16  # of the likeliest translations are compared: on validation, all of 30 gave the same BLEU and chrF


def by_expected_utility(
    ranked: Sequence[Hypothesis], *, text: Callable[[Hypothesis], str], utility: Utility, beta: float, source: str
) -> list[Hypothesis]:
    """Return a sentence's likeliest hypotheses, highest expected utility first, with that as their score.

    Args:
        ranked: hypotheses of distinct texts, best score first.
        text: of a hypothesis.
        utility: of each text against each other.
        beta: inverse temperature of the weights, of the unit of the scores.
        source: its text, which some utilities read.
    """
    known = [one for one in ranked if not math.isnan(one.score)][:MOST]
    if not known:
        return list(ranked)
    texts = [text(one) for one in known]
    weights = [math.exp(beta * (one.score - known[0].score)) for one in known]
    scored = []
    for one, against in zip(known, utility(texts, texts, source), strict=True):
        expected = sum(weight * score for weight, score in zip(weights, against, strict=True)) / sum(weights)
        scored.append(one._replace(score=expected))
    return sorted(scored, key=lambda one: -one.score)
