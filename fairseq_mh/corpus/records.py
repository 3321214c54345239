"""Output records: a source with its translations, best first, and the states that its chains visited."""

from typing import Any

from fairseq_mh.corpus.sources import Source
from fairseq_mh.files.trace import json_number
from fairseq_mh.translation.results import SentenceResult, Translation
from fairseq_mh.translation.samples import Samples

Record = dict[str, Any]


def record_of(source: Source, result: SentenceResult) -> Record:
    """Return the record of a source for JSON, with None for a number that is infinite, NaN or missing."""
    return {
        "sentence": source.sentence,
        "id": source.id,
        "source": source.text,
        "translations": [fields_of(translation) for translation in result.translations],
        "samples": [fields_of(sample) for sample in result.samples],
        "rows": result.rows,
        "untranslated": result.untranslated,
    }


def record_of_samples(source: Source, drawn: Samples) -> Record:
    """Return the record of a source's draws for JSON, with None for a number that is infinite, NaN or missing."""
    found = drawn.convergence._asdict() if drawn.draws else {}
    return {
        "sentence": source.sentence,
        "id": source.id,
        "source": source.text,
        "frequencies": [{**vars(one), "energy": json_number(one.energy)} for one in drawn.frequencies],
        "samples": [fields_of(sample) for sample in drawn.draws],
        "convergence": {name: value and json_number(value) for name, value in found.items()},
        "rows": drawn.rows,
        "untranslated": drawn.untranslated,
    }


def fields_of(translation: Translation) -> Record:
    """Return the fields of a translation for JSON, with None for a number that is infinite or NaN."""
    return {
        "text": translation.text,
        "score": json_number(translation.score),
        "energy": json_number(translation.energy),
        **{f"energy_{name}": json_number(nats) for name, nats in translation.energies.items()},
        "length": translation.length,
        "chain": translation.chain,
        "sweep": translation.sweep,
    }
