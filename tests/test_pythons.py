"""Every Python that is said to be supported installs the package, and translates; other programs work, too."""

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[1]
SUPPORTED = ("3.11", "3.12")


def test_they_are_those_of_the_metadata():
    project = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = [line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith("Programming Language")]
    assert tuple(said) == SUPPORTED
    assert project["requires-python"] == ">=3.11,<3.13"


@pytest.mark.heavy
@pytest.mark.parametrize("version", SUPPORTED)
def test_it_is_installed_and_translates(version, tmp_path):
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no Python {version} here")
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
    pip = [str(tmp_path / "venv/bin/pip"), "install", "-q", "-c", str(CLONE / "constraints.txt")]
    for what in (["torch==2.13.0"], [f"{CLONE}[eval]"]):
        subprocess.run([*pip, *what], check=True, capture_output=True)
    command = [str(tmp_path / "venv/bin/fairseq-mh"), "translate", str(CLONE / "models/libreoffice-de-en")]
    result = subprocess.run([*command, "Löscht die ausgewählte Zeile."], capture_output=True, text=True, check=True)
    assert result.stdout == "Deletes the selected row.\n"


@pytest.mark.slow
def test_transformers_loads_models_beside_this_package():
    if not importlib.util.find_spec("transformers") or importlib.util.find_spec("torchaudio"):
        pytest.skip("make has not made this environment: it installs transformers, and removes torchaudio")
    subprocess.run([sys.executable, "-c", "from transformers import BertForMaskedLM"], check=True)
