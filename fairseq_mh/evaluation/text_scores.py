"""Scores the texts that `fairseq-mh sample` drew: likelihood, diversity, and the rates of their chains."""

from collections.abc import Sequence
from pathlib import Path

from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from tabulate import tabulate

from fairseq_mh.evaluation.scores import read_trace, trace_scores
from fairseq_mh.files.output import read_samples
from fairseq_mh.open_ended.causal_lm import CausalLM

FIGURES = (
    *("perplexity", "nats", "self_bleu", "distinct_1", "distinct_2"),
    *("energy", "acceptance_rate", "novel_rate", "rows"),
)


def self_bleu(texts: Sequence[str]) -> float | None:
    """Return the mean sentence BLEU of each text against all others (Zhu et al., 2018), from 0 to 100.

    Lower is more diverse. The result is None for a single text, which has nothing to be compared with.
    """
    if len(texts) < 2:
        return None
    metric = BLEU(effective_order=True)
    others = ([*texts[:n], *texts[n + 1 :]] for n in range(len(texts)))
    scores = [metric.sentence_score(text, rest).score for text, rest in zip(texts, others, strict=True)]
    return sum(scores) / len(scores)


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the share of the texts' n-grams that are distinct (Li et al., 2016), from 0 to 1.

    The texts are tokenised as for BLEU. Higher is more diverse.
    """
    words = [Tokenizer13a()(text).split() for text in texts]
    grams = [tuple(line[start : start + n]) for line in words for start in range(len(line) - n + 1)]
    return len(set(grams)) / max(len(grams), 1)


def text_scores(texts: list[str], judge: CausalLM | None) -> dict[str, float | None]:
    """Return the diversity of texts and, if there is a causal model to judge them, their likelihood.

    Returns:
        `self_bleu`, `distinct_1` and `distinct_2`; with a judge also `nats`, the mean negative log-probability of a
        text, not divided by its tokens, and `perplexity`, the exponential of the nats per token.
    """
    row: dict[str, float | None] = {"self_bleu": self_bleu(texts)}
    row |= {f"distinct_{n}": distinct(texts, n) for n in (1, 2)}
    if judge:
        judged = judge.judge(texts)
        row |= {"nats": float(judged.nats.mean()), "perplexity": judged.perplexity()}
    return row


def texts_table(folders: list[Path], judge: CausalLM | None) -> str:
    """Return a table with a line for each folder of texts, all of which are read before the first is judged.

    Raises:
        UserError: if `fairseq-mh sample` did not write a folder, or if a text cannot be judged.
    """
    read = [(read_samples(folder / "samples.jsonl"), read_trace(folder / "trace.jsonl")) for folder in folders]
    lines = []
    for folder, (samples, trace) in zip(folders, read, strict=True):
        texts = [sample["text"] for sample in samples]
        row = text_scores(texts, judge) | trace_scores(trace)
        lines.append([folder.name, len(texts), *(row.get(name) for name in FIGURES)])
    return tabulate(lines, ["", "texts", *FIGURES], floatfmt=".3f", intfmt=",", missingval="-")
