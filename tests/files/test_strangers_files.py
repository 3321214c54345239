"""Untrusted files are read without executing anything, and a damaged file raises UserError, nothing else.

hypothesis damages valid files, in the same ways in every run.
"""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairseq_mh.corpus.sources import read, scan
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.diagnostics import diagnose, diagnosis_summary
from fairseq_mh.evaluation.grid import read_grid
from fairseq_mh.evaluation.scores import curve, read_trace, trace_scores
from fairseq_mh.evaluation.shards import merged
from fairseq_mh.files.output import pooled_nbest, read_output, read_samples
from fairseq_mh.page.limits import about_model
from tests.files.damage import damaged

STEP = {"temperature": 1.0, "energy": 2.5, "energy_raw": -3.0, "energy_norm": 2.5}
STEP |= {"proposals": 3, "accepted": 2, "novel": 1, "rows": 4}
TRACE = "".join(
    json.dumps(
        {"id": 7, "length": 2, "chain": c, "sweep": s, "tokens": [4 + s % 2, c], **STEP, "energy": s % 5 + 0.5 * c}
    )
    + "\n"
    for c in range(2)
    for s in range(24)
)
OUTPUT = (
    "S-0\tein Haus\nT-0\ta house\nH-0\t-0.5\ta house\nD-0\t-0.5\ta house\nP-0\t-0.2 -0.3\ndecoder rows so far: 70\n"
)
OUTPUT += "Translated 1 sentences (3 tokens) in 1.5s\nGenerate test with beam=5: BLEU4 = 1.00\n"
GRID = (
    "options: {mh-sweeps: 3}\nseeds: [1, 2]\nruns:\n- decoder: MH\n  options: {mh-energy: [raw, norm], quiet: true}\n"
)
SAMPLES = '{"id": 3, "text": "a house", "length": 2}\n{"id": 4, "text": "ein Haus", "length": 2}\n'
JSON_LINES = '{"text": "a b", "id": "x"}\n{"text": "c"}\n'


def read_diagnosed(path: Path) -> None:
    trace = read_trace(path)
    trace_scores(trace)
    curve(trace)
    diagnosis_summary(diagnose(trace, 2))


def read_corpus(path: Path) -> None:
    corpus = scan(path, 1)
    for span in corpus.spans:
        list(read(path, span))


FILES = {
    "trace.jsonl": (TRACE, read_diagnosed),
    "output.txt": (OUTPUT, lambda path: (read_output(path), pooled_nbest([path]))),
    "shard.txt": (OUTPUT, lambda path: merged([path], gaps=True)),
    "grid.yaml": (GRID, lambda path: [(run.arguments(), run.key()) for run in read_grid(path)]),
    "samples.jsonl": (SAMPLES, read_samples),
    "corpus.jsonl": (JSON_LINES, read_corpus),
    "corpus.txt": (OUTPUT, read_corpus),
    "page.json": ('{"field": "manuals", "examples": ["ein Haus"]}', lambda path: about_model(path.parent)),
}


@pytest.mark.parametrize("name", FILES)
def test_valid_files_are_read(tmp_path, name):
    content, reader = FILES[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    reader(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
@settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_files_raise_at_most_user_errors(tmp_path, name, data):
    content, reader = FILES[name]
    (tmp_path / name).write_bytes(data.draw(damaged(content.encode())))
    with suppress(UserError):
        reader(tmp_path / name)


def test_reading_a_grid_executes_nothing(tmp_path):
    (tmp_path / "grid.yaml").write_text(f"runs: !!python/object/apply:os.system ['touch {tmp_path}/executed']")
    with pytest.raises(UserError, match="cannot be read"):
        read_grid(tmp_path / "grid.yaml")
    assert not (tmp_path / "executed").exists()
