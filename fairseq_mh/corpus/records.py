"""What is written of a source: its translations, best first, and what the chains visited."""

from typing import Any

from fairseq_mh.corpus.sources import Source
from fairseq_mh.files.trace import json_number
from fairseq_mh.translation.results import SentenceResult, Translation

Record = dict[str, Any]


def record_of(source: Source, result: SentenceResult) -> Record:
    """Return the record of a source, as JSON holds it: no number where a number is infinite or none."""
    return {
        "sentence": source.sentence,
        "id": source.id,
        "source": source.text,
        "translations": [_fields(found) for found in result.translations],
        "samples": [_fields(found) for found in result.samples],
        "rows": result.rows,
        "untranslated": result.untranslated,
    }


def _fields(found: Translation) -> Record:
    return {
        "text": found.text,
        "score": json_number(found.score),
        "energy": json_number(found.energy),
        **{f"energy_{name}": json_number(nats) for name, nats in found.energies.items()},
        "length": found.length,
        "chain": found.chain,
        "sweep": found.sweep,
    }
