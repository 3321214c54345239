"""Renders the report as one self-contained HTML file."""

from pathlib import Path
from typing import Any

import polars as pl
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from fairseq_mh import viewer
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.report.chains import trace_data, viewer_data
from fairseq_mh.evaluation.report.figures import SYMBOLS, Line, colours, cost, curves, legend, styles, symbols
from fairseq_mh.evaluation.report.results import BENCH, Results, has_runs, read_results, same_sentences
from fairseq_mh.evaluation.report.tables import experiment_table, settings_table
from fairseq_mh.evaluation.scores import read_trace
from fairseq_mh.files.chunks import write_whole
from fairseq_mh.masked_lms.dictionaries import target_dictionary

PAPER = Path(__file__).parents[1] / "paper.yaml"


def read_paper() -> dict[str, Any]:
    """Read the figures that the paper reports, by experiment."""
    return yaml.safe_load(PAPER.read_text(encoding="utf-8"))


def render_page(folders: list[Path], data: Path | None, sentences: int, paper: dict[str, Any]) -> str:
    """Render the results of several folders as HTML.

    Args:
        folders: the folders that `fairseq-mh experiments` wrote.
        data: fairseq's data folder, for the chain viewer; None leaves the viewer out.
        sentences: number of first sentences that the viewer shows.
        paper: the paper's figures, as `read_paper` returns them.

    Raises:
        UserError: if a file is missing, or `fairseq-mh experiments` did not write it.
    """
    results = read_results(folders)
    titles = {name: _title(part, paper) for (name,), part in results.runs.group_by("experiment")}
    runs = results.runs.with_columns(title=pl.col("experiment").replace_strict(titles))
    shown = data if any(has_runs(Path(folder)) for folder in results.runs["folder"]) else None
    lines = styles(runs)
    parts = runs.partition_by("experiment", maintain_order=True)
    return _template("page.html").render(
        bench={name: results.runs[name][0] for name in BENCH},
        checkpoints=_values(results.runs, "checkpoint"),
        versions=results.runs["versions"].unique(maintain_order=True).to_list(),
        arguments=[text for text in results.runs["arguments"].unique(maintain_order=True) if text],
        runs=len(results.runs),
        same_sentences=same_sentences(results.runs),
        seeds=results.runs["seed"].n_unique(),
        cost=_html(cost(runs, lines), "cost"),
        decoders={name: {"colour": colour, "dash": "solid"} for name, colour in colours(runs).items()},
        symbols={titles[name]: SYMBOLS[symbol] for name, symbol in symbols(runs).items()},
        experiments=[_experiment(n, part, results, lines, paper) for n, part in enumerate(parts)],
        intervals="bleu_ci" in results.runs.columns,
        paper=paper,
        chains=viewer_data(runs, target_dictionary(shown).symbols, sentences) if shown else None,
        plotly=Markup(get_plotlyjs()),
    )


def render_trace(path: Path, data: Path, sentences: int) -> str:
    """Render the chains of a trace (`--mh-trace`) as HTML.

    Args:
        path: the path of the trace.
        data: fairseq's data folder, whose pieces the viewer shows.
        sentences: number of first sentences that the viewer shows.

    Raises:
        UserError: if a file cannot be read, or is not a trace of these data.
    """
    trace = read_trace(path)
    chains = trace_data(trace, path.name, target_dictionary(data).symbols, sentences)
    return _template("trace.html").render(
        name=path.name,
        shown=len(chains["runs"][0]["sentences"]),
        sentences=trace["id"].n_unique(),
        chains=chains,
    )


def _template(name: str) -> Template:
    loader = PackageLoader("fairseq_mh.evaluation.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.globals |= {
        "viewer_style": Markup(viewer.asset(viewer.STYLE)),
        "viewer_scripts": Markup(viewer.joined_scripts()),
    }
    return environment.get_template(name)


def _title(runs: pl.DataFrame, paper: dict[str, Any]) -> str:
    """Return the title of an experiment: that of its grid, of the paper, or its name."""
    name = runs["experiment"][0]
    return next(iter(_values(runs, "title")), "") or paper["experiments"].get(name, {}).get("title", "") or name


def _experiment(
    number: int, runs: pl.DataFrame, results: Results, lines: dict[tuple[str, str], Line], paper: dict[str, Any]
) -> dict[str, Any]:
    """Return the values that the template shows for one experiment, the `number`-th of the page."""
    name = runs["experiment"][0]
    theirs = paper["experiments"].get(name, {})
    figures = curves(results.curves.filter(pl.col("experiment") == name), lines, results.energy)
    return {
        "title": runs["title"][0],
        "table": experiment_table(runs, lines, theirs),
        "settings": settings_table(runs),
        "curves": _html(figures, f"curves-{number}"),
        "legend": legend(figures),
    }


def _values(runs: pl.DataFrame, name: str) -> list[str]:
    """Return the distinct values of a column, which a table may lack."""
    return runs[name].drop_nulls().unique(maintain_order=True).to_list() if name in runs.columns else []


def _html(figures: dict[str, Figure], name: str) -> dict[str, Markup]:
    """Render figures for a page that already has plotly.js. Plotly escapes what it writes into the script."""
    config = {"responsive": True, "displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
    rendered = [
        figure.to_html(config, include_plotlyjs=False, full_html=False, div_id=f"{name}-{n}")
        for n, figure in enumerate(figures.values())
    ]
    return dict(zip(figures, map(Markup, rendered), strict=True))


def write_page(text: str, path: Path) -> None:
    """Write the whole page, or leave the old file as it is.

    Raises:
        UserError: if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
