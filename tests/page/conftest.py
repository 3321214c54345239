"""Fixtures of the page in a browser: a server of the embedded model in a separate process, and headless Chromium."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.programs import send_signal, start_program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def address():
    """Yield the address of the page."""
    pytest.importorskip("uvicorn", reason="needs the extra `page`")
    command = ("page", ROOT / "models" / "libreoffice-de-en", "--port", "0")
    with start_program("fairseq-mh", *command, stdout=subprocess.PIPE, cwd=ROOT) as server:
        said = server.stdout.readline()
        yield re.search(r"http://\S+", said)[0]
        send_signal(server, signal.SIGTERM)
        assert server.stdout.read() == ""


@pytest.fixture(scope="module")
def tabs(browser):
    """Keeps tabs, each in a context of its own, for the next test: a new one takes half a second of processor time."""
    return []


@pytest.fixture
def open_page(browser, address, tabs):
    """Opens a page, of a width and with a hash; fails where one asked for anything outside or said anything."""
    asked, said, opened = [], [], []
    listeners = {
        "request": lambda request: asked.append(request.url),
        "console": lambda message: said.append(message.text),
        "pageerror": lambda error: said.append(str(error)),
        "dialog": lambda dialog: said.append(dialog.message),
    }

    def open_tab(width: int = 1400, hash: str = ""):
        if len(opened) == len(tabs):
            tabs.append(browser.new_context(accept_downloads=True).new_page())
        tab = tabs[len(opened)]
        opened.append(tab)
        tab.set_viewport_size({"width": width, "height": 900})
        for event, listener in listeners.items():
            tab.on(event, listener)
        tab.goto(f"{address}{hash}")
        tab.locator("#samplers fieldset").first.wait_for(state="attached")
        return tab

    yield open_tab
    for tab in opened:
        tab.goto("about:blank")  # ends what still runs; another hash alone would load nothing
        for event, listener in listeners.items():
            tab.remove_listener(event, listener)
    assert [url for url in asked if not url.startswith((address, "blob:"))] == []
    assert [text for text in said if "status of 400" not in text] == []  # of refused sources, which the tests type
