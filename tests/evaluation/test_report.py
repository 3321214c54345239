"""Tests of the content of the HTML report, and of its scripts in a browser, on made-up results without a model."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from fairseq_mh.evaluation.report.results import read_results
from tests.cli.in_process import called
from tests.evaluation.report_results import HOSTILE, SOURCES, write_data, write_results

ROOT = Path(__file__).parents[2]
WAIT = 120_000  # ms, enough for a busy machine: the page holds 5 MB of script


def report(*arguments) -> subprocess.CompletedProcess:
    return called("report", *arguments)


class Text(HTMLParser):
    """Collects from a page, without scripts and styles, the words of each table row, all other words, and the tags."""

    def __init__(self, page: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("tr", "script", "style"):
            self.inside.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data):
        if data.strip() and not {"script", "style"} & set(self.inside):
            (self.rows[-1] if self.inside else self.words).append(data.strip())


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    results, data = write_results(folder / "results"), write_data(folder / "data")
    done = report(results, "--data", data, "--output", folder / "report.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{folder / 'report.html'} is written\n", "")
    assert not list(folder.glob("*.part"))
    return folder / "report.html"


@pytest.fixture(scope="module")
def content(made) -> str:
    return made.read_text(encoding="utf-8")


def test_the_tables_hold_means_spreads_and_the_papers_figures(content):
    rows = {tuple(cells[:3]): cells[3:] for cells in Text(content).rows}
    row = rows["MH norm", "1", "2"]
    assert row[:3] == ["21.50", "±0.71", "24.74"]  # BLEU of seeds 1 and 2, and of the paper's Table 1
    assert row[3:7] == ["±1.25", "40.00", "±0.00", "±0.75"]  # the intervals follow their scores
    assert row[7:12] == ["0.125", "±0.000", "0.11", "0.900", "±0.000"]
    assert row[12:15] == ["1.50", "±0.00", "11.13"]
    assert rows["MH norm", "0.5", "2"][2] == "27.23"
    assert rows[HOSTILE, "0.5", "2"][2] == "\u2013"


def test_the_header_says_what_was_decoded_and_how(content):
    words = Text(content).words
    for expected in ("tiny-de-en, test, 2 sentences", "nrefs:1|tok:13a", "nrefs:1|nc:6", "fairseq-mh=0.1.0"):
        assert expected in words
    assert "best.pt 0123456789abcdef" in words


def test_options_that_were_not_given_are_no_settings(tmp_path):
    """Before, the report said that all samplers have the energy None and the phrases None."""
    folder = write_results(tmp_path / "results")
    table = pl.read_csv(folder / "results.csv", infer_schema=False).with_columns(mh_phrases=pl.lit("None"))
    table.write_csv(folder / "results.csv")
    assert set(read_results([folder]).runs["mh_phrases"]) == {"-"}


def test_all_settings_are_listed_once(content):
    """The settings that all samplers share are in one line, and the others are in a table of samplers."""
    found = Text(content)
    shared = " ".join(found.words[found.words.index("Settings") :][:9])
    assert shared.startswith("Settings All samplers: energy norm , iter decode max iter 10 .")
    assert ["sampler", "τ_q"] in found.rows
    assert [f"{HOSTILE}", "0.5"] in found.rows


def test_nothing_from_outside_and_nothing_unescaped(content):
    tags = Text(content).tags
    assert not [tag for tag, found in tags if "src" in found or tag in ("link", "iframe", "img")]
    assert HOSTILE not in content
    assert "Proposal temperature (the paper&#39;s Table 1)" in content
    assert content.count("* plotly.js v") == 1


def test_one_line_a_sampler_with_its_spread(content):
    groups = [trace["legendgroup"] for trace in traces(content, "curves-0-0") if "name" in trace]
    assert groups == legend(content) == ["MH norm, τ_q 1", "MH norm, τ_q 0.5", HOSTILE]
    assert HOSTILE not in {trace.get("name") for trace in traces(content, "curves-0-0")}  # plotly would read its tags


def traces(content: str, figure: str) -> list[dict]:
    """Return what a figure draws."""
    found = re.search(rf'Plotly\.newPlot\(\s*"{figure}",\s*(\[.*?\]),\s*\{{"', content, re.DOTALL)
    return json.loads(found[1])


def legend(content: str) -> list[str]:
    """Return the entries of the last legend."""
    last = content[content.rindex('<p class="legend">') :]
    return [found["data-group"] for _, found in Text(last).tags if "data-group" in found]


@pytest.mark.parametrize(
    ("energies", "title"),
    [
        ({"energy_two-stream": [0.5] * 6}, "Energy per token, two-stream (nats)"),
        ({"energy_norm": [0.5] * 4 + [None] * 2}, "Energy per token, each sampler's own (nats)"),
    ],
)
def test_the_first_figure_by_sweep_is_of_the_energy_that_the_runs_have(tmp_path, energies, title):
    results = write_results(tmp_path / "results")
    for name, value in energies.items():
        columns = [pl.Series(column, value) for column in (name, f"best_{name}")]
        table = pl.read_csv(results / "results.csv").drop("corpus_energy_norm").with_columns(columns)
        table.write_csv(results / "results.csv")
        curves = pl.read_csv(results / "curves.csv").with_columns(pl.col("energy").alias(name))
        curves.write_csv(results / "curves.csv")
    report(results, "--output", tmp_path / "report.html")
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert Text(content).words.count(title) == 1
    drawn = [trace for trace in traces(content, "curves-0-0") if "name" in trace]
    assert len(drawn) == 3
    assert all(trace["y"] for trace in drawn)


def test_a_measure_without_values_has_no_figure(tmp_path):
    results = write_results(tmp_path / "results")
    curves = pl.read_csv(results / "curves.csv")
    curves.with_columns(energy=pl.lit(None, pl.Float64)).write_csv(results / "curves.csv")
    report(results, "--output", tmp_path / "report.html")
    words = Text((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert words.count("BLEU") == 3  # two figures and a signature
    assert not [text for text in words if text.startswith("Energy per token")]


def test_without_data_there_is_no_viewer(tmp_path):
    results = write_results(tmp_path / "results", "mine")
    done = report(results, "--output", tmp_path / "report.html")
    assert done.stdout.splitlines() == [
        "without --data the page has no chain viewer: its pieces are in the data's dictionary",
        f"{tmp_path / 'report.html'} is written",
    ]
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "chain-data" not in content
    assert "paper" not in Text(content).rows[0]


def test_a_run_in_two_folders_counts_once(tmp_path):
    results = write_results(tmp_path / "results")
    report(results, results, "--output", tmp_path / "report.html")
    assert "6 runs" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_warning_is_shown_for_runs_of_different_sentences(tmp_path, content):
    results = write_results(tmp_path / "results")
    output = results / "runs" / "run1" / "output.txt"
    output.write_text(output.read_text(encoding="utf-8").replace("-4\t", "-5\t"), encoding="utf-8")
    report(results, "--output", tmp_path / "report.html")
    warning = "The runs are not of the same sentences."
    assert warning in Text((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert warning not in content


def without(name: str):
    return lambda folder: pl.read_csv(folder / "results.csv").drop(name).write_csv(folder / "results.csv")


def without_value(name: str):
    none = pl.Series(name, [None] * 6, pl.Float64)
    return lambda folder: pl.read_csv(folder / "results.csv").with_columns(none).write_csv(folder / "results.csv")


def other_data(folder: Path) -> None:
    changed = pl.read_csv(folder / "results.csv").with_columns(subset=pl.Series(["test"] * 5 + ["valid"]))
    changed.write_csv(folder / "results.csv")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "results.csv").unlink(), "results.csv cannot be read"),
        (lambda folder: (folder / "curves.csv").write_text("", encoding="utf-8"), "curves.csv cannot be read"),
        (without("chrf"), "results.csv lacks chrf"),
        (without_value("bleu"), "results.csv has a run without bleu"),
        (other_data, "the results differ in subset (test, valid)"),
        (lambda folder: (folder / "runs" / "run0" / "trace.jsonl").unlink(), "trace.jsonl cannot be read"),
        (lambda folder: (folder.parent / "data" / "dict.en.txt").write_text("a 1\n", encoding="utf-8"), "token 8"),
        (lambda folder: (folder.parent / "data" / "dict.en.txt").unlink(), "dict.en.txt: No such file"),
        (lambda folder: (folder.parent / "report.html").mkdir(), "report.html cannot be written"),
    ],
)
def test_broken_input_gives_one_line_and_no_page(tmp_path, damage, message):
    results, data = write_results(tmp_path / "results"), write_data(tmp_path / "data")
    damage(results)
    done = report(results, "--data", data, "--output", tmp_path / "report.html")
    assert done.returncode == 1
    assert done.stderr.startswith("fairseq-mh: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.part"))
    assert not (tmp_path / "report.html").is_file()


@pytest.fixture
def opened(browser, made):
    """Yield the page, offline. The test fails if the page requests anything from outside or writes to the console."""
    context = browser.new_context(offline=True)
    context.set_default_timeout(WAIT)
    tab = context.new_page()
    requested, messages = [], []
    tab.on("request", lambda request: requested.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("dialog", lambda dialog: messages.append(dialog.message))
    tab.goto(made.as_uri())
    yield tab
    assert [url for url in requested if not url.startswith(("file:", "data:", "blob:"))] == []
    assert messages == []
    context.close()


def test_figures_are_drawn(opened):
    assert opened.locator(".js-plotly-plot").count() == 6
    for width in (420, 1400):
        opened.set_viewport_size({"width": width, "height": 900})
        opened.reload()
        for figure in opened.locator(".plots > div").all():
            assert figure.locator(".main-svg").first.is_visible()
            assert figure.evaluate("node => node.scrollWidth <= node.clientWidth")
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_button_of_the_legend_hides_a_sampler(opened):
    figures = opened.locator("figure").last
    lines, button = figures.locator(".js-line"), figures.locator(".legend button").last
    shown = lines.count()
    assert button.inner_text().strip() == HOSTILE
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert lines.count() < shown
    button.click()
    assert lines.count() == shown


@pytest.mark.parametrize("width", [420, 1400])
def test_it_fits_and_can_be_read_by_everybody(opened, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    opened.set_viewport_size({"width": width, "height": 900})
    opened.reload()  # plotly redraws its figures a moment after the window has changed
    opened.locator("summary").click()
    opened.get_by_label("Compare with").select_option(index=3)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = axe.run(opened)
    assert found.response["violations"] == [], found.generate_report()


def changed(tab) -> list[list[str]]:
    """Return the old and the new texts of the pieces that a step changed."""
    return [tab.locator(f".state {kind}").all_text_contents() for kind in ("del", "ins")]


def test_the_slider_moves_through_the_states(opened):
    slider = opened.get_by_label("Step", exact=True)
    assert changed(opened) == [["house"], ["<b>cat</b>"]]
    assert "sweep 1 of 2" in opened.locator(".counts").first.inner_text()
    assert "3 proposals, 2 accepted, 1 changed the sentence" in opened.locator(".counts").first.inner_text()
    assert opened.locator(".ends span").all_text_contents() == ["energy 3.25", "1.25 nats"]
    slider.press("ArrowRight")
    assert opened.locator("#step-number").text_content() == "2 of 2"
    assert changed(opened) == [["a"], ["über"]]
    assert opened.locator(".chain line").get_attribute("x1") == "2.5"
    assert len(re.findall("M", opened.locator(".chain path").get_attribute("d"))) == 2  # the positions changed
    slider.press("Home")
    assert opened.locator("#step-number").text_content() == "start"
    assert changed(opened) == [[], []]
    assert opened.locator(".piece").all_text_contents() == ["a", "house"]
    opened.get_by_role("button", name="Play").click()
    opened.locator("#step-number", has_text="2 of 2").wait_for()


def test_another_sentence_and_another_sampler(opened):
    """The step is kept, and two samplers are shown side by side."""
    assert opened.locator("#source").text_content() == SOURCES[0]
    opened.get_by_label("Step", exact=True).press("Home")
    opened.get_by_label("Sentence").select_option(index=1)
    assert opened.locator("#step-number").text_content() == "start"
    assert opened.locator("#source").text_content() == SOURCES[4]
    assert opened.locator("#reference").text_content() == "a house 4"
    assert opened.locator(".output").text_content() == "my output 4"
    opened.get_by_label("Compare with").select_option(index=3)
    assert opened.locator(".result h3").all_text_contents()[::2] == ["MH norm, τ_q 1 (seed 1)", f"{HOSTILE} (seed 1)"]
    assert opened.locator(".chain").count() == 2
    opened.get_by_label("Sampler").select_option(index=2)
    assert opened.locator("#run option:checked").text_content() == f"{HOSTILE} (seed 1)"
    assert opened.locator("#source").text_content() == SOURCES[4]


def test_published_tables_are_shown_without_their_runs(tmp_path):
    results, data = write_results(tmp_path / "results"), write_data(tmp_path / "data")
    shutil.rmtree(results / "runs")
    table = pl.read_csv(results / "results.csv").drop("bleu_ci", "chrf_ci", "checkpoint")
    table.write_csv(results / "results.csv")
    done = report(results, "--data", data, "--output", tmp_path / "report.html")
    assert (done.returncode, done.stderr) == (0, "")
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "curves-0-0" in content
    assert "chain-data" not in content
    assert "The runs are not of the same sentences." not in Text(content).words


def test_a_sampler_that_only_later_panels_show_is_in_the_legend(tmp_path):
    results = write_results(tmp_path / "results")
    curves = pl.read_csv(results / "curves.csv")
    unknown = pl.col("run").is_in(["run0", "run1"])  # the runs of MH norm, τ_q 1, have no energies
    energy = pl.when(unknown).then(None).otherwise(pl.col("energy"))
    curves.with_columns(energy=energy).write_csv(results / "curves.csv")
    report(results, "--output", tmp_path / "report.html")
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert sorted(legend(content))[1:] == ["MH norm, τ_q 0.5", "MH norm, τ_q 1"]


def test_the_title_of_the_grid_is_shown(tmp_path):
    results = write_results(tmp_path / "results", "mine")
    table = pl.read_csv(results / "results.csv").with_columns(title=pl.lit("How many sweeps & why"))
    table.write_csv(results / "results.csv")
    report(results, "--output", tmp_path / "report.html", "--data", write_data(tmp_path / "data"))
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "mine" not in Text(content).words
    viewed = json.loads(re.search(r'id="chain-data">(.*?)</script>', content)[1])
    assert {run["experiment"] for run in viewed["runs"]} == {"How many sweeps & why"}


def test_menu_and_headings_say_the_same(opened):
    menu = opened.get_by_role("navigation").get_by_role("link").all_inner_texts()
    assert menu == opened.locator("main > section > h2").all_inner_texts()


def test_tables_of_older_versions_are_read(tmp_path):
    """Their energy is E_norm."""
    results = write_results(tmp_path / "results")
    new = {"energy": "energy_norm", "best_energy": "best_energy_norm"}
    for name in ("results.csv", "curves.csv"):
        pl.read_csv(results / name).rename(new, strict=False).write_csv(results / name)
    report(results, "--output", tmp_path / "report.html")
    rows = Text((tmp_path / "report.html").read_text(encoding="utf-8")).rows
    assert "0.500" in rows[2]


def test_energies_of_few_sentences_are_in_nats(tmp_path):
    results = write_results(tmp_path / "results", "mine")
    table = pl.read_csv(results / "results.csv").with_columns(corpus_energy_norm=pl.lit(71.26))
    table.write_csv(results / "results.csv")
    report(results, "--output", tmp_path / "report.html")
    rows = Text((tmp_path / "report.html").read_text(encoding="utf-8")).rows
    assert "E_norm, nats" in rows[0]
    assert "71.3" in rows[1]


@pytest.fixture(params=["sentencepiece"])
def trace_page(browser, tmp_path, request):
    """Yield the page of a single trace, whose pieces have the marks of sentencepiece or of subword-nmt."""
    results, data = write_results(tmp_path / "results"), write_data(tmp_path / "data")
    if request.param == "subword_nmt":
        (data / "dict.en.txt").write_text("a 1\nhouse@@ 1\nüber 1\ns 1\n<b>cat</b> 1\n", encoding="utf-8")
    trace = results / "runs" / "run0" / "trace.jsonl"
    done = report("--trace", trace, "--data", data, "--output", tmp_path / "trace.html")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'trace.html'} is written\n")
    tab = browser.new_page()
    messages = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto((tmp_path / "trace.html").as_uri())
    yield tab
    assert messages == []
    tab.close()


def test_a_single_trace_is_shown_in_words(trace_page):
    listed = trace_page.get_by_label("Sentence").locator("option").all_text_contents()
    assert listed == ["0  über <b>cat</b>", "4  a house house"]
    assert trace_page.locator(".output").inner_text() == "über <b>cat</b>"
    assert trace_page.locator("#source").is_hidden()
    assert trace_page.get_by_label("Compare with").is_hidden()
    assert changed(trace_page) == [["house"], ["<b>cat</b>"]]


@pytest.mark.parametrize("trace_page", ["subword_nmt"], indirect=True)
def test_pieces_of_subword_nmt_are_joined_to_words(trace_page):
    listed = trace_page.get_by_label("Sentence").locator("option").all_text_contents()
    assert listed == ["0  über <b>cat</b>", "4  a househouse"]
    trace_page.get_by_label("Sentence").select_option("4")
    assert trace_page.locator(".state").first.locator("> *").all_text_contents() == ["a", "houses"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of them"),
        (("results", "--trace", "trace"), "one of them"),
        (("--trace", "trace"), "--trace needs --data"),
        (("--trace", "nothing.jsonl", "--data", "."), "nothing.jsonl cannot be read as a trace"),
    ],
)
def test_a_trace_or_results_and_not_both(tmp_path, arguments, message):
    done = report(*arguments, "--output", tmp_path / "report.html")
    assert done.returncode == 1
    assert message in done.stderr
