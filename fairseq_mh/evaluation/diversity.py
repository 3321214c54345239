"""Measures how much texts differ from each other: Self-BLEU and distinct n-grams."""

from collections.abc import Sequence

from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a


def self_bleu(texts: Sequence[str]) -> float | None:
    """Return the mean sentence BLEU of each text against all others (Zhu et al., 2018), from 0 to 100.

    Lower is more diverse. One text alone has none (None).
    """
    if len(texts) < 2:
        return None
    metric = BLEU(effective_order=True)
    others = ([*texts[:n], *texts[n + 1 :]] for n in range(len(texts)))
    scores = [metric.sentence_score(text, rest).score for text, rest in zip(texts, others, strict=True)]
    return sum(scores) / len(scores)


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the share of the texts' n-grams that are distinct (Li et al., 2016), from 0 to 1.

    Words are cut as BLEU cuts them. Higher is more diverse.
    """
    words = [Tokenizer13a()(text).split() for text in texts]
    grams = [tuple(line[place : place + n]) for line in words for place in range(len(line) - n + 1)]
    return len(set(grams)) / max(len(grams), 1)
