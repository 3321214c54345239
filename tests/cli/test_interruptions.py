"""Ctrl-C during a run prints one line, gives a status that is not 0, and keeps all finished output."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fairseq_mh.cli.main import INTERRUPTED
from tests.programs import send_signal, start_program
from tests.tiny_cmlm import command, write_data

MANY, LONG = 2000, ("--mh-sweeps", "50")  # more than is done before the interruption
RESUMABLE = "fairseq-mh: interrupted; run the same command again to continue"


def translate(tiny, path: Path) -> list:
    (path / "text").write_text("a b c a\n" * MANY)
    return ["translate", tiny.folder, "--input", path / "text", "--buffer-size", 1, *LONG]


def corpus(tiny, path: Path) -> list:
    (path / "text").write_text("a b c a\n" * MANY)
    return ["corpus", tiny.folder, path / "text", "--output", path / "out", "--workers", 0, "--chunk-size", 1, *LONG]


def sample(tiny, path: Path) -> list:
    pytest.importorskip("transformers", reason="needs the extra `hf`")
    from tests.masked_lms.tiny_models import bert, tokenizer_of

    bert().float().save_pretrained(path / "model")
    tokenizer_of().save_pretrained(path / "model")
    return [
        "sample",
        path / "model",
        "--output",
        path / "out",
        "--length",
        2,
        5,
        "--chains",
        MANY,
        "--batch-size",
        1,
        *LONG,
    ]


def fairseq_generate(tiny, path: Path) -> list:
    write_data(tiny.folder, tiny.dictionary, "many", [("abca", "cab")] * MANY)
    return command("generate", tiny, "--gen-subset", "many", "--batch-size", 1, *LONG)


# Each run with its last line and its status; fairseq-generate has the status of Python for an interrupted program.
RUNS = {
    translate: ("fairseq-mh: interrupted", INTERRUPTED),
    corpus: (RESUMABLE, INTERRUPTED),
    sample: (RESUMABLE, INTERRUPTED),
    fairseq_generate: ("fairseq-mh: interrupted", -signal.SIGINT),
}
FROM_NOTHING = (translate, fairseq_generate)  # processes that import everything themselves, one of each program


def finished(run, path: Path) -> list[str]:
    """Return the output of each finished sentence or text."""
    if run in (corpus, sample):
        return [file.read_text() for file in (path / "out" / "chunks").glob("*[0-9]/*s.jsonl")]
    lines = (path / "stdout").read_text().splitlines(keepends=True)
    return [line for line in lines if run is translate or line.startswith("D-")]


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_ctrl_c_prints_one_line_and_keeps_finished_output(tiny, tmp_path, run):
    call = list(map(str, run(tiny, tmp_path)))
    with (tmp_path / "stdout").open("w") as output:
        given = {"stdout": output, "stderr": subprocess.PIPE}
        if run in FROM_NOTHING:
            call = call if run is fairseq_generate else [sys.executable, "-m", "fairseq_mh", *call]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
            running, send = subprocess.Popen(call, text=True, env=environment, **given), subprocess.Popen.send_signal
        else:
            running, send = start_program("fairseq-mh", *call, **given), send_signal
        for _ in range(1200):
            if len(finished(run, tmp_path)) >= 4 or running.poll() is not None:
                break
            time.sleep(0.1)
        before = finished(run, tmp_path)
        send(running, signal.SIGINT)
        _, said = running.communicate(timeout=60)
    line, status = RUNS[run]
    assert running.returncode == status, said
    assert said.replace("\r", "\n").splitlines()[-1] == line
    assert "Traceback" not in said
    after = finished(run, tmp_path)
    assert len(before) >= 4
    assert Counter(before) <= Counter(after)
    assert all(text.endswith("\n") for text in after)
    for text in after if run in (corpus, sample) else ():
        assert [json.loads(one) for one in text.splitlines()]
