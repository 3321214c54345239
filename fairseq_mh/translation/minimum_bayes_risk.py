"""Minimum Bayes risk over the chains' samples (Kumar and Byrne, 2004; Eikema and Aziz, 2020).

    x* = argmax_h sum_r p(r) u(h, r)

h and r run over the distinct translations that the chains visited, p(r) is the share of the visits to r, and u is a
sentence score of sacrebleu. Where the length model compares lengths, a visit weighs p(length | source), so that p
estimates p(length | source) p(X | length, source).
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
    """Return the hypotheses with their expected utilities (0 to 100) as scores.

    Args:
        found: samples of all chains of a batch; a repeated one occurs as often as it was visited.
        plan: of the chains.
        text: turns a hypothesis's tokens into the text that the utility reads.
        utility: a name of `UTILITIES`.
        by_length: whether a visit weighs p(length | source) rather than 1.
    """
    weights = plan.log_p_length.exp().tolist() if by_length else [1.0] * len(plan.context)
    visits: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))  # sentence -> translation -> weight
    texts, context = [text(hypothesis.tokens) for hypothesis in found], plan.context.tolist()
    for hypothesis, words in zip(found, texts, strict=True):
        visits[context[hypothesis.chain]][words] += weights[hypothesis.chain]
    scores = {sentence: expected_utilities(samples, utility) for sentence, samples in visits.items()}
    return [
        hypothesis._replace(score=scores[context[hypothesis.chain]][words])
        for hypothesis, words in zip(found, texts, strict=True)
    ]


def expected_utilities(samples: dict[str, float], utility: str) -> dict[str, float]:
    """Return each translation's mean utility (0 to 100) against all of them.

    Args:
        samples: the weight of each translation.
        utility: a name of `UTILITIES`.
    """
    metric, total = UTILITIES[utility](), sum(samples.values())
    return {
        hypothesis: sum(
            weight * metric.sentence_score(hypothesis, [reference]).score for reference, weight in samples.items()
        )
        / total
        for hypothesis in samples
    }
