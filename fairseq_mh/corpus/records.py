"""What is written of a source: its translations, best first, and what the chains visited."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fairseq_mh.corpus.sources import Source
from fairseq_mh.files.trace import json_number
from fairseq_mh.mcmc.energy import ENERGIES
from fairseq_mh.translation.selection import Hypothesis
from fairseq_mh.translation.start import Plan

Record = dict[str, Any]


def record(
    source: Source,
    best: list[Hypothesis],
    drawn: list[Hypothesis],
    rows: int,
    plan: Plan,
    energy: str,
    text: Callable[[Tensor], str],
) -> Record:
    """Of a translated source.

    Args:
        best, drawn: its hypotheses, and its samples, a repeated one as often as it was visited.
        rows: decoder rows spent.
        plan: of the chains that the candidates name.
        energy: the target's, a name of `COLUMNS`.
        text: from a candidate's tokens to words.
    """

    def found(one: Hypothesis) -> Record:
        nats = {f"energy_{name}": json_number(one.energies[name]) for name in ENERGIES}
        return {
            "text": text(one.tokens),
            "score": json_number(one.score),
            "energy": json_number(one.energies[energy]),
            **nats,
            "length": len(one.tokens),
            "chain": int(plan.chains[one.chain]),
            "sweep": one.sweep,
        }

    return _record(source, list(map(found, best)), list(map(found, drawn)), rows, None)


def untranslated(source: Source, reason: str) -> Record:
    """Of a source that the model cannot read."""
    return _record(source, [], [], 0, reason)


def _record(source: Source, translations: list[Record], samples: list[Record], rows: int, reason: str | None) -> Record:
    return {
        "sentence": source.sentence,
        "id": source.id,
        "source": source.text,
        "translations": translations,
        "samples": samples,
        "rows": rows,
        "untranslated": reason,
    }
