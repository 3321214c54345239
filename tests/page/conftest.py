"""Fixtures of the page in a browser: a server of the embedded model in a separate process, and headless Chromium."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def address():
    """Yield the address of the page."""
    pytest.importorskip("uvicorn", reason="needs the extra `page`")
    command = [sys.executable, "-m", "fairseq_mh", "page", ROOT / "models" / "libreoffice-de-en", "--port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as server:
        line = server.stdout.readline()
        yield re.search(r"http://\S+", line)[0]
        server.terminate()
        assert server.stdout.read() == ""


@pytest.fixture
def open_page(browser, address):
    """Yield a function that opens a page; fail if a page requests anything from outside or writes to the console."""
    requested, messages, contexts = [], [], []

    def open_tab(width: int = 1400, hash: str = ""):
        context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)
        contexts.append(context)
        tab = context.new_page()
        tab.on("request", lambda request: requested.append(request.url))
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: messages.append(str(error)))
        tab.on("dialog", lambda dialog: messages.append(dialog.message))
        tab.goto(f"{address}{hash}")
        tab.locator("#samplers fieldset").first.wait_for()
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert [url for url in requested if not url.startswith((address, "blob:"))] == []
    assert [text for text in messages if "status of 400" not in text] == []  # the tests type refused sources
