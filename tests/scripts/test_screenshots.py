"""Tests that the pictures of the page and of the chain viewer can be taken."""

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import CHROMIUM
from tests.programs import ROOT


@pytest.mark.heavy
@pytest.mark.skipif(not CHROMIUM, reason="there is no chromium on the path")
def test_the_pictures_are_taken(tmp_path, monkeypatch):
    screenshots = pytest.importorskip("scripts.screenshots", reason="playwright is not installed")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    arguments = ["screenshots", str(ROOT / "models" / "libreoffice-de-en"), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    screenshots.main()
    for name in ("page.png", "page_words.png", "chain_viewer.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
