"""Minimum Bayes risk over the chains' samples (Kumar and Byrne, 2004; Eikema and Aziz, 2020).

    x* = argmax_h sum_r p(r) u(h, r)

h and r run over the distinct translations that the chains visited, p(r) is how often they were there,
and u a sentence score of sacrebleu. With lengths compared by the length model, a visit counts as much
as its length is likely, so that p estimates p(length | source) p(X | length, source).
"""

from collections import defaultdict
from collections.abc import Callable

from sacrebleu.metrics import BLEU, CHRF
from torch import Tensor

from fairseq_mh.translation.selection import Hypothesis
from fairseq_mh.translation.start import Plan

UTILITIES: dict[str, Callable] = {"chrf": CHRF, "bleu": lambda: BLEU(effective_order=True)}


def with_expected_utility(
    found: list[Hypothesis], plan: Plan, text: Callable[[Tensor], str], utility: str, by_length: bool
) -> list[Hypothesis]:
    """Every candidate with its expected utility (0 to 100) as its score.

    Args:
        found: samples of all chains of a batch, a repeated one as often as it was visited.
        text: from a candidate's tokens to what the utility reads.
        by_length: whether a visit weighs p(length | source) rather than 1.
    """
    weights = plan.log_p_length.exp().tolist() if by_length else [1.0] * len(plan.context)
    visits: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))  # sentence -> translation -> weight
    texts, context = [text(one.tokens) for one in found], plan.context.tolist()
    for one, words in zip(found, texts, strict=True):
        visits[context[one.chain]][words] += weights[one.chain]
    scores = {sentence: expected_utilities(samples, utility) for sentence, samples in visits.items()}
    return [one._replace(score=scores[context[one.chain]][words]) for one, words in zip(found, texts, strict=True)]


def expected_utilities(samples: dict[str, float], utility: str) -> dict[str, float]:
    """Of each translation, its mean utility against all of them, by their weights."""
    metric, total = UTILITIES[utility](), sum(samples.values())
    return {
        hypothesis: sum(
            weight * metric.sentence_score(hypothesis, [reference]).score for reference, weight in samples.items()
        )
        / total
        for hypothesis in samples
    }
