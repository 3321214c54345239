"""Every command: its help, mistakes on the command line, interruptions, and missing extras."""

import importlib
import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from fairseq_mh.cli.main import COMMANDS, INTERRUPTED, main
from tests.programs import send_signal, start_program

ROOT = Path(__file__).parents[2]
NEEDS = {
    **dict.fromkeys(("compare", "diagnose", "evaluate", "experiments", "demo"), ("tabulate", "eval")),
    "rating-sheet": ("polars", "eval"),
    "report": ("plotly", "report"),
}


def module_of(command: str) -> str:
    return f"fairseq_mh.cli.{command.replace('-', '_')}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert f"usage: fairseq-mh {command}" in said
    example = "--user-dir $(fairseq-mh user-dir)" if command == "user-dir" else f"\n    fairseq-mh {command}"
    assert example in said or f"\nfairseq-mh {command}" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_docstring_of_a_command_begins_with_one_line(command):
    first, blank, *_ = importlib.import_module(module_of(command)).__doc__.splitlines()
    assert first.endswith(".")
    assert not blank


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_write_to_no_tracked_folder(command):
    """Examples write to out/, which is not tracked."""
    text = importlib.import_module(module_of(command)).__doc__
    words = text.replace("\\\n", " ").split()
    written = [after for before, after in pairwise(words) if before in ("--output", ">") and "/" in after]
    assert all(path.startswith("out/") for path in written), written


UNKNOWN = {
    "compare": ("--referenc", "--reference"),
    "corpus": ("--mh-sweep=3", "--mh-sweeps"),
    "demo": ("--limt", "--limit"),
    "diagnose": ("--burnin", "--burn-in"),
    "evaluate": ("--causal-ml", "--causal-lm"),
    "experiments": ("--gensubset", "--gen-subset"),
    "merge": ("--gap", "--gaps"),
    "pieces": ("--sizes", "--size"),
    "rating-sheet": ("--text", "--texts"),
    "report": ("--sentence", "--sentences"),
    "rescore": ("--sentencepiece", "--sentencepiece-model"),
    "sample": ("--mh-sweep", "--mh-sweeps"),
    "translate": ("--n-best", "--nbest"),
}
FILLED = {
    "corpus": ["data", "corpus", "--output", "x"],
    "experiments": ["table1", "data", "--output", "x"],
    "pieces": ["train", "--languages", "de", "en", "--output", "x"],
    "report": ["x", "--output", "y"],
    "rescore": ["data", "x"],
    "sample": ["model", "--output", "x"],
    "demo": [],
}


@pytest.mark.parametrize("command", UNKNOWN)
def test_the_error_for_an_unknown_option_names_the_nearest(command, capsys):
    given, meant = UNKNOWN[command]
    assert main([command, *FILLED.get(command, ["x"]), given]) == 1
    said = capsys.readouterr().err
    assert said.startswith("fairseq-mh: error: unknown option: ")
    assert f"did you mean {meant}?" in said
    assert said.count("\n") == 1


ENDLESS = "1" + 22 * "0"
TOO_MANY = {
    "compare": ("x", "--samples"),
    "corpus": (*FILLED["corpus"], "--chunk-size"),
    "diagnose": ("x", "--burn-in"),
    "experiments": (*FILLED["experiments"], "--limit"),
    "sample": (*FILLED["sample"], "--chains"),
    "translate": ("x", "--buffer-size"),
}


@pytest.mark.parametrize("command", TOO_MANY)
def test_a_count_without_end_is_refused_in_one_line(command, capsys):
    *given, option = TOO_MANY[command]
    assert main([command, *given, option, ENDLESS]) == 1
    said = capsys.readouterr().err
    assert f"{option} must be at most" in said
    assert said.count("\n") == 1


def test_the_error_for_an_unknown_command_names_the_nearest(capsys):
    assert main(["experiment"]) == 1
    assert "did you mean experiments?" in capsys.readouterr().err


class Missing(NamedTuple):
    """A module finder for which a package is not installed."""

    package: str

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize("command", NEEDS)
def test_the_error_for_a_missing_extra_names_it(command, capsys, monkeypatch):
    package, extra = NEEDS[command]
    for name in [name for name in sys.modules if name.startswith(("fairseq_mh.cli.", "fairseq_mh.evaluation"))]:
        if name != "fairseq_mh.cli.main":
            monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(package), *sys.meta_path])
    assert main([command, *FILLED.get(command, ["x"])]) == 1
    assert capsys.readouterr().err == f"fairseq-mh: error: this needs {package}: pip install 'fairseq-mh[{extra}]'\n"


@pytest.mark.parametrize("command", ["sample", "experiments"])
def test_an_interruption_prints_one_line(command, capsys, monkeypatch, tmp_path):
    """If the work can be continued, the line says so."""
    module = importlib.import_module(module_of(command))
    work = {"sample": "check_text_options", "experiments": "bench_of"}[command]
    step = {"sample": "draw_texts", "experiments": "run_once"}[command]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, work, lambda *_: None)
    monkeypatch.setattr(module, step, interrupted)
    if command == "sample":
        monkeypatch.setattr(module, "load_text_model", lambda *_: None)
    given = {"sample": ["model"], "experiments": ["table1", "data"]}[command]
    assert main([command, *given, "--output", str(tmp_path / "out")]) == INTERRUPTED
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1] == "fairseq-mh: interrupted; run the same command again to continue"


@pytest.mark.slow
def test_ctrl_c_ends_a_run_and_its_process(tiny, tmp_path):
    """A real interruption while fairseq-generate decodes for a long time in its own process.

    Only the command itself gets the signal, so it must end the process that it started.
    """
    (tmp_path / "grid.yaml").write_text(json.dumps({"runs": [{"decoder": "MH", "options": {"mh-sweeps": 100000}}]}))
    command = ("experiments", tmp_path / "grid.yaml", tiny.folder, "--output", tmp_path / "out")
    running = start_program("fairseq-mh", *command, "--", "--num-workers", "0", stderr=subprocess.PIPE, cwd=ROOT)
    for _ in range(1200):
        printed = any(path.stat().st_size for path in (tmp_path / "out").glob("runs/*/output.txt"))
        if printed or running.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(2)  # until it waits for a line, which does not come
    send_signal(running, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert printed, said
    assert running.returncode == INTERRUPTED
    assert said.replace("\r", "\n").splitlines()[-1] == (
        "fairseq-mh: interrupted; run the same command again to continue"
    )
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("runs/*/row.json"))
