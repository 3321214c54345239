"""The package translates with another maintained build of fairseq's main branch than ve-fairseq."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[1]
FORK = "fairseq-fixed==0.12.3.1"
BUILD = ("setuptools", "wheel", "cython", "numpy")
# The fork's dependencies without torchaudio, which translation does not use, and then the package's own.
DEPENDENCIES = ("bitarray", "cffi", "hydra-core", "omegaconf", "packaging", "regex", "scikit-learn")
DEPENDENCIES += ("sacrebleu", "sentencepiece", "tqdm")


@pytest.mark.heavy
def test_it_translates_with_another_build_of_fairseq(tmp_path):
    if not shutil.which("g++"):
        pytest.skip(f"{FORK} is built from source, which needs g++")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    programs = tmp_path / "venv/bin"

    def run(*command) -> subprocess.CompletedProcess:
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)

    def pip(*arguments) -> None:
        result = run(programs / "pip", *arguments)
        assert result.returncode == 0, result.stderr[-2000:]

    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    constraints = ("-q", "-c", str(CLONE / "constraints.txt"))
    pip("install", *constraints, "torch==2.13.0")
    pip("install", *constraints, *BUILD)
    # Without build isolation: the fork's build requires any torch, which may be the much larger CUDA build.
    found = run(programs / "pip", "download", "-q", "--no-deps", "--no-build-isolation", FORK)
    if "No matching distribution" in found.stderr:
        pytest.skip(f"pip cannot fetch {FORK}")
    pip("install", *constraints, *DEPENDENCIES)
    pip("install", "-q", "--no-deps", "--no-build-isolation", *tmp_path.glob("fairseq_fixed-*"))
    pip("install", "-q", "--no-deps", str(CLONE))
    installed = run(programs / "pip", "list").stdout
    assert "fairseq-fixed" in installed
    assert "ve-fairseq" not in installed
    result = run(
        programs / "fairseq-mh", "translate", CLONE / "models/libreoffice-de-en", "Löscht die ausgewählte Zeile."
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout == "Deletes the selected row.\n"
