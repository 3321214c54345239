"""Every command and every piece of Python in the documentation runs, or says why it does not."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_mh.translation.options.presets import PRESETS
from tests.docs.markdown import COMMANDS, FENCE, PAGES, ROOT, SHOWN, Block, blocks, links, sessions
from tests.docs.stage import set_stage
from tests.programs import programs

BLOCKS = [block for page in PAGES for block in blocks(page)]
README, CONTRIBUTING, OPTIONS = ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "options.md"
BYTES = {README: 10_000, CONTRIBUTING: 12_000}


def name(part) -> str:
    return str(part.relative_to(ROOT)) if isinstance(part, Path) else str(part)


def run(block: Block, folder: Path) -> None:
    """Run a block; what a `console` block shows must be what is printed."""
    text = block.replaced()
    if block.kind == "python":
        text = f"python -c {shlex.quote(text)}"
    for command, shown in sessions(text) if block.kind == "console" else [(text, "")]:
        done = programs().run(command, folder)
        assert done.returncode == 0, f"{block}\n{command}\n{done.stdout}{done.stderr}"
        if shown and not (block.comment and block.comment["differs"]):
            assert done.stdout.strip() == shown.strip(), f"{block}\n{command}\n{done.stderr}"


def blocks_to_run(page: Path, heavy: bool) -> list[Block]:
    found = [block for block in BLOCKS if block.page == page and block.kind in COMMANDS and not block.skipped]
    return [block for block in found if heavy or not block.heavy]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_to_run(page, heavy=False)], ids=name)
def test_a_page_runs(page, tmp_path):
    """The blocks of a page one after the other, in one folder."""
    set_stage(tmp_path)
    for block in blocks_to_run(page, heavy=False):
        run(block, tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("page", [page for page in PAGES if any(b.heavy for b in blocks_to_run(page, True))], ids=name)
def test_a_page_runs_with_what_takes_long(page, tmp_path):
    set_stage(tmp_path)
    for block in blocks_to_run(page, heavy=True):
        run(block, tmp_path)


@pytest.mark.parametrize("block", BLOCKS, ids=name)
def test_a_block_is_run_or_says_why_not(block):
    kinds = (*COMMANDS, *SHOWN)
    assert block.kind in kinds or block.kind.startswith("{"), f"{block}: a block is one of {kinds}, or a directive"
    if block.skipped:
        assert block.comment["rest"], f"{block}: say why it is not run"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in links(page):
        if not re.match("[a-z]+:|#", target):
            path = page.parent / target.partition("#")[0]
            assert path.exists(), f"{target} is not there"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_are_short(page):
    """But for what programs print, and the tables of the documentation, which cannot be wrapped."""
    prose = re.sub(r"^```text\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for line in prose.splitlines():
        assert len(line) <= 120 or (page not in BYTES and line.startswith("|")), line


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_heading_begins_with_a_hash(page):
    """A line of equals signs or hyphens alone would make a heading of the line before it."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert not re.findall(r"^.*\n *(?:=+|-+) *$", prose, flags=re.M)


def test_the_page_of_options_lists_what_presets_stand_for():
    found = dict(
        re.findall(r"^\| `(\w+)` \| (?:`(--.*)`|none: .*) \|$", OPTIONS.read_text(encoding="utf-8"), flags=re.M)
    )
    assert found == {preset: " ".join(options) for preset, options in PRESETS.items()}


@pytest.mark.parametrize("page", BYTES, ids=name)
def test_pages_for_a_first_look_are_short(page):
    assert page.stat().st_size <= BYTES[page]


@pytest.mark.heavy
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("furo", reason="needs the extra `docs`")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scripts = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)', (tmp_path / "api.html").read_text())
    assert not scripts, "a page must open without network"
    archive = (tmp_path / "archive.html").read_text(encoding="utf-8")
    assert "τ<sub>q</sub>\u00a0.5" in archive, "typography.py sets subscripts, and keeps figures in one line"
    assert "τ_q" not in archive


def test_nothing_of_another_machine_is_in_the_documentation():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(?m)(^|[\s\"'`(=])/[a-z]+/|--(extra-)?index-url", text), page
