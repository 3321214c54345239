"""Ray workers give the same translations in any number, also if they are killed."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from fairseq_mh.errors import UserError
from tests.corpus.test_translate_corpus import RUN, check_same, corpus_run, started, wait_for, write_corpus

pytest.importorskip("ray", reason="needs the extra `ray`")
LONG = (*RUN, "--nbest", "2", "--mh-sweeps", "30")


@pytest.mark.slow
def test_two_workers_give_the_translations_of_one_process(tiny, tmp_path, caplog):
    """The driver shows what the workers warn of."""
    corpus = write_corpus(tmp_path / "c.de", 2)
    with corpus.open("a") as file:
        file.write("x y z\n")
    counts, records = corpus_run(tiny, corpus, tmp_path / "out", "--workers", 2, "--chunk-size", 2)
    assert caplog.text.count("sentence 12: 3 of 3 words") == 1
    expected, others = corpus_run(tiny, corpus, tmp_path / "here")
    check_same(records, others)
    assert counts["rows"] == expected["rows"]


@pytest.mark.heavy
def test_an_error_in_a_worker_or_in_ray_is_one_line(tiny, tmp_path):
    corpus = write_corpus(tmp_path / "c.de", 4)
    state = torch.load(tiny.folder / "checkpoint.pt")
    state["model"]["encoder.layers.0.final_layer_norm.bias"][1] = torch.nan
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(UserError, match="no lengths"):
        corpus_run(tiny, corpus, tmp_path / "out", "--workers", 2, more=(*RUN, "--path", str(tmp_path / "broken.pt")))
    with pytest.raises(UserError, match="Ray cannot be reached"):
        corpus_run(tiny, corpus, tmp_path / "out", "--address", "127.0.0.1:1", "--workers", 2)


def workers_of(driver: subprocess.Popen) -> list[int]:
    """Return the process IDs of the actors that translate for this driver."""
    workers = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = (path / "cmdline").read_bytes().startswith(b"ray::MapWorker")
            workers += [int(path.name)] * (is_worker and os.getsid(int(path.name)) == driver.pid)
        except OSError:  # the process has ended since it was listed
            continue
    return workers


def start_run(tiny, corpus, output, workers: int, *more) -> subprocess.Popen:
    arguments = [tiny.folder, corpus, "--output", output, "--workers", workers, "--chunk-size", 2, "--", *LONG, *more]
    return started(arguments, start_new_session=True)


def chunks_in(output: Path) -> int:
    return len(list((output / "chunks").glob("*[0-9]")))


@pytest.mark.heavy
def test_killed_workers_are_replaced(tiny, tmp_path):
    """All workers are killed while they translate, and one more later; new workers do the rest of the work."""
    corpus, output = write_corpus(tmp_path / "c.de", 6), tmp_path / "out"
    driver = start_run(tiny, corpus, output, workers=2)
    for already, killed in ((2, slice(None)), (5, slice(1))):
        wait_for(lambda already=already: chunks_in(output) >= already and workers_of(driver), driver)
        for worker in workers_of(driver)[killed]:
            os.kill(worker, signal.SIGKILL)
    _, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, errors
    records = [json.loads(line) for line in (output / "translations.jsonl").read_text().splitlines()]
    check_same(records, corpus_run(tiny, corpus, tmp_path / "here", more=LONG)[1])


@pytest.mark.heavy
def test_workers_end_with_a_killed_driver_and_the_command_continues(tiny, tmp_path):
    corpus, output = write_corpus(tmp_path / "c.de", 6), tmp_path / "out"
    driver = start_run(tiny, corpus, output, workers=1)
    wait_for(lambda: chunks_in(output) >= 2, driver)
    driver.kill()
    driver.communicate()
    done = [path.read_text() for path in (output / "chunks").glob("*[0-9]/chunks.jsonl")]
    assert 2 <= len(done) < 18
    second = start_run(tiny, corpus, output, workers=2)
    _, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert not workers_of(driver)
    assert all(line in (output / "chunks.jsonl").read_text() for line in done)
    records = [json.loads(line) for line in (output / "translations.jsonl").read_text().splitlines()]
    check_same(records, corpus_run(tiny, corpus, tmp_path / "here", more=LONG)[1])


@pytest.mark.heavy
def test_a_run_ends_if_its_workers_keep_dying(tiny, tmp_path):
    """It ends with one line instead of restarting workers for ever."""
    driver = start_run(tiny, write_corpus(tmp_path / "c.de"), tmp_path / "out", 1, "--mh-sweeps", "10000")
    seen: dict[int, float] = {}
    while driver.poll() is None:
        for worker in workers_of(driver):
            if time.monotonic() - seen.setdefault(worker, time.monotonic()) > 8:  # by then it has a chunk
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.2)
    _, errors = driver.communicate()
    assert driver.returncode == 1
    assert "fairseq-mh: error: workers keep dying" in errors
    assert "Traceback" not in errors
