"""Minimum Bayes risk over the states of the chains (Kumar and Byrne, 2004), weighted by their energies.

    x* = argmax_h sum_r p(r) u(h, r),    p(r) proportional to exp(beta s(r))

h and r run over the distinct translations found. s is the score that ranks hypotheses without minimum Bayes risk; with
energies per token, p(r) is proportional to exp(-beta E(r) / T). The number of visits to a translation is not used,
because an annealed chain mostly visits states near its end.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from fairseq_mh.errors import UserError, one_line
from fairseq_mh.translation.ranking.selection import Hypothesis

# (hypotheses, references, source) -> a row of scores for each hypothesis, one for each reference; higher is better
Utility = Callable[[Sequence[str], Sequence[str], str], list[list[float]]]


def _by_sacrebleu(metrics: Sequence, hypotheses: Sequence[str], references: Sequence[str], source: str):
    def score(hypothesis: str, reference: str) -> float:
        return sum(metric.sentence_score(hypothesis, [reference]).score for metric in metrics) / len(metrics)

    return [[score(hypothesis, reference) for reference in references] for hypothesis in hypotheses]


SACREBLEU: Mapping[str, Callable[[], Utility]] = {
    "bleu-chrf": lambda: partial(_by_sacrebleu, [BLEU(effective_order=True), CHRF()]),  # the mean of both
    "bleu": lambda: partial(_by_sacrebleu, [BLEU(effective_order=True)]),
    "chrf": lambda: partial(_by_sacrebleu, [CHRF()]),
}


def utility_of(given: str) -> Utility:
    """Return the utility that `--mh-utility` names.

    Args:
        given: a name of `SACREBLEU`, or a metric of mbrs with its settings, `NAME[:SETTING=VALUE,...]`.

    Raises:
        UserError: if the name or a setting is unknown, or mbrs is needed and not installed.
    """
    if given in SACREBLEU:
        return SACREBLEU[given]()
    kind, settings = _metric(given)
    try:
        metric = kind(settings)
    except Exception as error:  # the metrics of mbrs raise many kinds of errors
        raise UserError(f"--mh-utility {given}: mbrs cannot make this metric: {one_line(error)}") from None
    sign = 1 if metric.HIGHER_IS_BETTER else -1

    def pairwise(hypotheses: Sequence[str], references: Sequence[str], source: str) -> list[list[float]]:
        return (sign * metric.pairwise_scores(list(hypotheses), list(references), source)).tolist()

    return pairwise


def check_utility(given: str) -> None:
    """Check the value of `--mh-utility` without loading the model that a metric may need.

    Raises:
        UserError: if the name or a setting is unknown, or mbrs is needed and not installed.
    """
    if given not in SACREBLEU:
        _metric(given)


def _metric(given: str) -> tuple[Any, Any]:
    """Return the class of a metric of mbrs and its settings; a setting's value may hold commas."""
    try:
        from mbrs.metrics import get_metric
    except ImportError as error:
        raise UserError(
            f"--mh-utility {given}: use {', '.join(SACREBLEU)}, or install the extra `mbrs` for other metrics "
            f"(pip install 'fairseq-mh[mbrs]'): {error}"
        ) from None
    name, _, settings = given.partition(":")
    try:
        kind = get_metric(name)
        named = dict(setting.split("=", 1) for setting in re.split(r",(?=\w+=)", settings) if setting)
        return kind, kind.Config(**named)
    except Exception as error:  # mbrs raises many kinds of errors
        raise UserError(
            f"--mh-utility {given}: mbrs has no such metric, or it has other settings: {one_line(error)}"
        ) from None


MOST = 16  # the number of likeliest translations to compare; on validation data, 30 gave the same BLEU and chrF


def by_expected_utility(
    ranked: Sequence[Hypothesis], *, text: Callable[[Hypothesis], str], utility: Utility, beta: float, source: str
) -> list[Hypothesis]:
    """Rank a sentence's likeliest hypotheses by expected utility, which becomes their score.

    Args:
        ranked: hypotheses of distinct texts, best score first.
        text: returns the text of a hypothesis.
        utility: scores texts against each other.
        beta: the inverse temperature of the weights, per unit of the scores.
        source: the text of the source, which some utilities read.

    Returns:
        At most `MOST` hypotheses, best first; `ranked` unchanged if all scores are NaN.
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
