"""Utilities of minimum Bayes risk: what a translation is worth if another one is right.

Sentence scores of sacrebleu, or, with the extra `mbrs`, of any metric that mbrs knows (COMET and others, for those who
have their weights).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sacrebleu.metrics import BLEU, CHRF

from fairseq_mh.errors import UserError

# (hypotheses, references, source) -> a row of scores for each hypothesis, higher is better
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
    """Return the utility that `--mh-utility` names: a name of `SACREBLEU`, or mbrs's `NAME[:SETTING=VALUE,...]`.

    Raises:
        UserError: for an unknown name or setting, and where mbrs is not installed.
    """
    if given in SACREBLEU:
        return SACREBLEU[given]()
    try:
        from mbrs.metrics import get_metric
    except ImportError as error:
        raise UserError(
            f"--mh-utility {given}: sacrebleu's are {', '.join(SACREBLEU)}; others need the extra `mbrs` "
            f"(pip install 'fairseq-mh[mbrs]'): {error}"
        ) from None
    name, _, settings = given.partition(":")
    try:
        kind = get_metric(name)
        metric = kind(kind.Config(**dict(setting.split("=", 1) for setting in settings.split(",") if setting)))
    except Exception as error:  # mbrs's metrics meet unknown names, settings and files in many ways
        raise UserError(f"--mh-utility {given}: mbrs has no such metric ({error})") from None
    sign = 1 if metric.HIGHER_IS_BETTER else -1

    def pairwise(hypotheses: Sequence[str], references: Sequence[str], source: str) -> list[list[float]]:
        return (sign * metric.pairwise_scores(list(hypotheses), list(references), source)).tolist()

    return pairwise
