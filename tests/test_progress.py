"""Bars: one for a whole run, which moves from its start, and few lines where standard error is no terminal."""

import io
import time
from collections.abc import Callable

import pytest

from fairseq_mh import progress
from fairseq_mh.cli.main import main
from fairseq_mh.progress import Progress
from tests.tiny_cmlm import generate


@pytest.fixture
def shown(monkeypatch) -> Callable[[], list[list[tuple]]]:
    """Keep, for each bar that counts something, the numbers that it had after each step, and its total at the end."""
    bars: dict[Progress, list[tuple]] = {}
    update = Progress.update

    def kept(bar, n=1):
        update(bar, n)
        bars.setdefault(bar, []).append((bar.n, bar.total))

    monkeypatch.setattr(Progress, "update", kept)
    return lambda: list(bars.values())


@pytest.mark.parametrize("decoding", ["mh", "mask-predict"])
def test_one_bar_over_all_batches(tiny, shown, decoding, capsys):
    """Before, each batch had a bar, which reached its end and began again."""
    generate(tiny, "--batch-size", "2", "--mh-decoding", decoding, double=False)
    (steps,) = shown()
    assert steps == sorted(steps)
    assert steps[-1] == (6, 6)
    assert "\r" not in capsys.readouterr().err
    assert (1, 6) in steps or decoding == "mask-predict"  # half of the sweeps of the first batch have ended


def test_a_shard_counts_its_own_sentences(tiny, shown):
    generate(tiny, "--batch-size", "2", "--distributed-world-size", "2", "--distributed-rank", "1", double=False)
    (steps,) = shown()
    assert steps[-1] == (2, 2)


def test_one_bar_over_all_buffers_of_translate(tiny, shown, capsys):
    languages = ("--source-lang", "de", "--target-lang", "en")
    assert main(["translate", str(tiny.folder), "a", "b b", "c a", *languages, "--buffer-size", "1"]) == 0
    (steps,) = shown()
    assert steps == sorted(steps)
    assert steps[-1] == (3, 3)
    assert capsys.readouterr().err == ""  # it took less than two seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [False, True])
def test_writing_does_not_draw_a_bar_before_its_time(monkeypatch, terminal, capsys):
    file = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    monkeypatch.setattr(Progress, "last_line", -1e9)
    with Progress(unit=" sentences", delay=60) as bar:
        bar.update(1)
        Progress.write("a translation")
    assert capsys.readouterr().out == "a translation\n"
    assert file.getvalue().replace("\r", "").strip() == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_printed(monkeypatch, terminal):
    """A terminal shows each change; a file gets a line at once, and then none for ten seconds, of all bars together."""
    file = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    monkeypatch.setattr(progress, "REDRAW", 0)
    monkeypatch.setattr(Progress, "last_line", -1e9)
    for run in Progress(range(20), "runs"):
        with Progress(desc=f"run {run}", unit=" sentences", leave=False) as bar:
            for _ in range(20):
                bar.sweep()
                bar.update(1)
    printed = file.getvalue()
    if terminal:
        assert "run 19: 20 sentences" in printed
        assert "20 sweeps" in printed
    else:
        assert printed.splitlines() == ["runs:   0%|          | 0/20 [00:00<?, ?it/s]"]
        monkeypatch.setattr(Progress, "last_line", time.monotonic() - progress.SECONDS_BETWEEN_LINES)
        with Progress(desc="later", total=2) as bar:
            bar.update(2)
        assert len(file.getvalue().splitlines()) == 2


def test_the_clock_moves_while_nothing_is_counted(monkeypatch):
    file = Terminal()
    monkeypatch.setattr("sys.stderr", file)
    with Progress(desc="a run", unit=" sentences") as bar, bar.ticking():
        time.sleep(1.5)
        assert "a run: 0 sentences [00:01" in file.getvalue()
