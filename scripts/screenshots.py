#!/usr/bin/env python3
"""Take the documentation's pictures of the page and of the chain viewer, in headless Chromium.

    python -m scripts.screenshots models/libreoffice-de-en --output docs/images      # extras `page`, `report` and `dev`

The program translates one sentence on the page, and a few test segments for a report, which takes about a minute. It
writes OUTPUT/page.png, OUTPUT/page_words.png and OUTPUT/chain_viewer.png. Chromium must be on the path.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

SOURCE, WORD = "Gibt an, dass die Felder keine Umrandung haben.", "fields"
WAIT = 120_000  # milliseconds
WIDTH = 1280  # pixels of the window
SEGMENT, SWEEP = 19, 2  # of the chain viewer's picture
GRID = """
title: Two samplers
options: {mh-energy: two-stream}
runs:
  - {decoder: annealed MH}
  - {decoder: degenerate Gibbs, options: {mh-decoding: gibbs, mh-chains: 1}}
"""


@contextmanager
def served(model: Path) -> Iterator[str]:
    """Serve the page of a model, and yield its address."""
    command = ["fairseq-mh", "page", str(model), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            if not (address := re.search(r"http://\S+", server.stdout.readline())):
                raise SystemExit("fairseq-mh page has not started")
            yield address[0]
        finally:
            server.terminate()


def take(tab: Page, file: Path, bottom: str) -> None:
    """Write the tab's content down to an element's lower edge."""
    box = tab.locator(bottom).first.bounding_box()
    assert box
    height = box["y"] + box["height"] + tab.evaluate("scrollY") + 24
    tab.screenshot(path=file, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})


def picture_page(browser: Browser, address: str, output: Path) -> None:
    """Picture a translation by two decoders, and then the alternatives at one of its words."""
    tab = browser.new_page(viewport={"width": WIDTH, "height": 900})
    tab.goto(address)
    tab.get_by_label("Source sentence").fill(SOURCE)
    tab.get_by_role("button", name="Translate").click()
    tab.locator("#status", has_text="Translated in").wait_for(timeout=WAIT)
    tab.locator("#player input[type=range]").fill("1")
    tab.evaluate("document.activeElement.blur()")
    take(tab, output / "page.png", ".chain")
    words = tab.locator(".found ol").first.locator("button")
    words.filter(has_text=WORD).first.click()
    tab.get_by_text("Alternatives to").wait_for(timeout=WAIT)
    tab.locator(".found").first.screenshot(path=output / "page_words.png")


def picture_viewer(browser: Browser, model: Path, output: Path) -> None:
    """Picture the chains of two samplers on a test segment, in a report that is made for it."""
    with tempfile.TemporaryDirectory() as folder:
        grid, runs, report = (Path(folder, name) for name in ("grid.yaml", "runs", "report.html"))
        grid.write_text(GRID, encoding="utf-8")
        data = [str(model), "--reference", str(model / "test.en"), "--limit", str(SEGMENT + 1)]
        decoding = ["--", "--post-process", "sentencepiece", "--num-workers", "0"]
        program("experiments", str(grid), *data, "--output", str(runs), *decoding)
        program("report", str(runs), "--data", str(model), "--output", str(report))
        tab = browser.new_page(viewport={"width": WIDTH, "height": 900})
        tab.goto(report.as_uri())
        for menu, text in (("#run", "annealed MH"), ("#other", "degenerate Gibbs"), ("#sentence", f"{SEGMENT} ")):
            names = tab.locator(f"{menu} option").all_text_contents()
            tab.locator(menu).select_option(label=next(name for name in names if name.startswith(text)))
        tab.locator("#player input[type=range]").fill(str(SWEEP))
        tab.evaluate("document.activeElement.blur()")
        tab.locator("#chains").screenshot(path=output / "chain_viewer.png")


def program(*arguments: str) -> None:
    """Run `fairseq-mh`."""
    subprocess.run(["fairseq-mh", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the data folder of the embedded model")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    args = parser.parse_args()
    with sync_playwright() as running, served(args.model) as address:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"))
        picture_page(browser, address, args.output)
        picture_viewer(browser, args.model, args.output)
        browser.close()


if __name__ == "__main__":
    main()
