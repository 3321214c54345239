"""An installed wheel serves as the clone does, from any folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import fairseq_mh
from tests.tiny_cmlm import lines_of

CLONE = Path(fairseq_mh.__file__).parents[1]
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")


class Site(NamedTuple):
    """A folder that the wheel is installed in, and another one to work in."""

    folder: Path
    work: Path

    def run(self, *command) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        call = [sys.executable, *map(str, command)]
        return subprocess.run(call, capture_output=True, text=True, env=environment, cwd=self.work, check=False)

    def command(self, *arguments) -> str:
        """Return what `fairseq-mh` prints."""
        result = self.run(self.folder / "bin" / "fairseq-mh", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "work").mkdir()
    shutil.copytree(CLONE / "fairseq_mh", folder / "source/fairseq_mh", ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(CLONE / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(folder / "source")], check=True, capture_output=True)
    return Site(folder / "site", folder / "work")


def test_the_user_dir_is_the_installed_package(tiny, site):
    user_dir = site.command("user-dir").strip()
    assert Path(user_dir) == site.folder / "fairseq_mh"
    run = ("--task", "translation_mh", "--path", tiny.folder / "checkpoint.pt", "--mh-sweeps", 1, "--num-workers", 0)
    result = site.run("-m", "fairseq_cli.generate", tiny.folder, "--user-dir", user_dir, *run)
    assert result.returncode == 0, result.stderr
    assert sorted(lines_of(result.stdout, "H")) == list(range(6))
    assert "hydra" not in result.stderr.lower()  # its warnings about fairseq, 40 lines


@pytest.mark.slow
def test_translate_and_options(tiny, site):
    """Both commands in one process, which saves the seconds of an import."""
    run = ["translate", str(tiny.folder), "a b", "c", "--source-lang", "de", "--target-lang", "en", "--mh-sweeps", "1"]
    calls = f"from fairseq_mh.cli.main import main; print(main({run}), flush=True); main(['options'])"
    result = site.run("-c", calls)
    *translations, status = result.stdout.splitlines()[:3]
    assert (status, len(translations)) == ("0", 2), result.stderr
    assert "--mh-sweeps" in result.stdout
    assert result.returncode == 0, result.stderr


@pytest.mark.heavy
def test_a_grid_by_its_name(tiny, site):
    table = site.command(
        *("experiments", "same_wall_clock", tiny.folder, "--output", "out", "--limit", 2),
        *("--", "--num-workers", 0, "--post-process", "sentencepiece"),
    )
    assert "MH from mask-predict at the likeliest of 5 lengths" in table
    assert (site.work / "out" / "results.csv").is_file()
