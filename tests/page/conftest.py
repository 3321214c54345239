"""The page in a browser: a server of the embedded model in a process of its own, and headless Chromium."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def address():
    """Where the page is."""
    pytest.importorskip("uvicorn", reason="needs the extra `page`")
    command = [sys.executable, "-m", "fairseq_mh", "page", ROOT / "models" / "libreoffice-de-en", "--port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as server:
        said = server.stdout.readline()
        yield re.search(r"http://\S+", said)[0]
        server.terminate()
        assert server.stdout.read() == ""


@pytest.fixture
def open_page(browser, address):
    """Opens a page, of a width and with a hash; fails where one asked for anything outside or said anything."""
    asked, said, contexts = [], [], []

    def opened(width: int = 1400, hash: str = ""):
        context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)
        contexts.append(context)
        tab = context.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: said.append(dialog.message))
        tab.goto(f"{address}{hash}")
        tab.locator("#samplers fieldset").first.wait_for()
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith((address, "blob:"))] == []
    assert [text for text in said if "status of 400" not in text] == []  # of refused sources, which the tests type
