"""Tests that a report of damaged results is refused in one line or shows the readable part, without a traceback."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.report.page import read_paper, render_page
from tests.evaluation.report_results import write_data, write_results
from tests.files.damage import damaged

PAPER = read_paper()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("report")
    return write_results(folder / "results"), write_data(folder / "data")


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["results.csv", "curves.csv", "runs/run0/output.txt", "runs/run0/trace.jsonl"])
def test_damaged_results(whole, name):
    path = whole[0] / name
    content = path.read_bytes()

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(damaged(content))
    def check(other):
        path.write_bytes(other)
        with suppress(UserError):
            render_page([whole[0]], whole[1], 5, PAPER)

    try:
        check()
    finally:
        path.write_bytes(content)


def test_a_run_outside_the_folder_is_refused(whole):
    path = whole[0] / "results.csv"
    content = path.read_text(encoding="utf-8")
    path.write_text(content.replace("run0", "../../run0"), encoding="utf-8")
    try:
        with pytest.raises(UserError, match="not a folder name"):
            render_page([whole[0]], None, 5, PAPER)
    finally:
        path.write_text(content, encoding="utf-8")
