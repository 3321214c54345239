"""Draws the report's figures. A decoder has the same colour in all figures; its settings are shades of that colour."""

import math
from html import escape
from typing import NamedTuple

import plotly.graph_objects as go
import polars as pl
from plotly.colors import hex_to_rgb

from fairseq_mh.evaluation.report.results import BY_SWEEP
from fairseq_mh.evaluation.tables import mean_and_sd

# Okabe and Ito's colours, which readers with any colour vision can tell apart, without yellow (too pale for a line).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#4D4D4D")
DASHES = ("solid", "9px,6px", "3px,4px", "9px,4px,3px,4px", "18px,6px")  # plotly's names have no form in SVG
SYMBOLS = {"circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "triangle-down": "▼", "cross": "✚"}
PANELS = {
    "BLEU": "bleu",
    "Acceptance rate": "acceptance_rate",
    "Novel rate": "novel_rate",
}
LAYOUT = {
    "template": "plotly_white",
    "font": {
        "family": "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
        "size": 13,
        "color": "#3a4450",
    },
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "showlegend": False,
    "height": 320,
    "margin": {"l": 48, "r": 12, "t": 8, "b": 48},
    "hoverlabel": {"bgcolor": "white", "bordercolor": "#c9d0d8", "font_size": 12},
}


class Line(NamedTuple):
    """The look of a sampler's line."""

    colour: str
    dash: str


def colours(runs: pl.DataFrame) -> dict[str, str]:
    """Return the colour of each decoder."""
    return {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(runs["decoder"].unique(maintain_order=True))}


def styles(runs: pl.DataFrame) -> dict[tuple[str, str], Line]:
    """Return the line of every (experiment, sampler): the decoder's colour, paler for each further setting."""
    found, decoders = {}, colours(runs)
    samplers = runs.unique(["experiment", "sampler"], maintain_order=True)
    for (experiment, decoder), part in samplers.group_by("experiment", "decoder", maintain_order=True):
        for n, sampler in enumerate(part["sampler"]):
            found[experiment, sampler] = Line(_paler(decoders[decoder], n / len(part) * 0.75), DASHES[n % len(DASHES)])
    return found


def curves(by_sweep: pl.DataFrame, lines: dict[tuple[str, str], Line], energy: str) -> dict[str, go.Figure]:
    """Draw one experiment by sweep, with a line for each sampler.

    A line is the mean over the seeds, in a band of one standard deviation. A decoder without sweeps, such as
    mask-predict, is a horizontal line.

    Args:
        by_sweep: the experiment's rows of `Results.curves`.
        lines: the look of each sampler.
        energy: the name of the energy.

    Returns:
        A figure for each measure that has values, by its title; none if no decoder has sweeps.
    """
    last = max(by_sweep["sweep"].to_list())
    if not last:
        return {}
    panels = {f"Energy per token, {energy} (nats)": "energy", **PANELS}
    known = {title: name for title, name in panels.items() if not by_sweep[name].is_null().all()}
    groups = by_sweep.group_by("experiment", "sampler", "sweep", maintain_order=True).agg(*mean_and_sd(BY_SWEEP))
    return {title: _curve(groups.sort("sweep"), name, lines, last) for title, name in known.items()}


def _curve(groups: pl.DataFrame, name: str, lines: dict[tuple[str, str], Line], last: int) -> go.Figure:
    """Draw a measure by sweep from its mean and standard deviation for each sampler and sweep."""
    figure = go.Figure()
    for (experiment, sampler), part in groups.group_by("experiment", "sampler", maintain_order=True):
        line, level = lines[str(experiment), str(sampler)], len(part) == 1
        known = part.drop_nulls(name).select("sweep", name, pl.col(f"{name}_sd").fill_null(0))
        x, mean, sd = (known[column].to_list() for column in known.columns)
        if level:
            x, mean, sd = [0, last], mean * 2, sd * 2
        if any(sd):
            figure.add_trace(_band(x, mean, sd, str(sampler), line.colour))
        figure.add_trace(_line(x, mean, str(sampler), line, level))
    figure.update_xaxes(range=[-0.02 * last, 1.02 * last], tick0=0, dtick=max(1, math.ceil(last / 8)))
    figure.update_xaxes(title_text="sweep")
    if name.endswith("rate"):
        figure.update_yaxes(rangemode="tozero")
    _finish(figure)
    return figure


def legend(figures: dict[str, go.Figure]) -> dict[str, dict[str, str]]:
    """Return the colour and the dash of each line of an experiment's figures, by the sampler's name."""
    drawn = [trace for figure in figures.values() for trace in figure.data if trace.name]
    return {trace.legendgroup: {"colour": trace.line.color, "dash": trace.line.dash} for trace in drawn}


def _line(x: list, y: list, sampler: str, line: Line, level: bool) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        name=_escaped(sampler),
        legendgroup=sampler,
        mode="lines" if level or len(x) > 12 else "lines+markers",
        marker={"size": 5},
        line={"color": line.colour, "dash": "2px,3px" if level else line.dash, "width": 1.5 if level else 2},
        hovertemplate="%{y:.3f} at sweep %{x}",
    )


def _band(x: list, mean: list, sd: list, sampler: str, colour: str) -> go.Scatter:
    above = [m + s for m, s in zip(mean, sd, strict=True)]
    below = [m - s for m, s in zip(mean, sd, strict=True)]
    return go.Scatter(
        x=x + x[::-1],
        y=above + below[::-1],
        mode="lines",
        fill="toself",
        fillcolor=f"rgba{(*hex_to_rgb(colour), 0.15)}",
        line={"width": 0},
        legendgroup=sampler,
        hoverinfo="skip",
    )


def symbols(runs: pl.DataFrame) -> dict[str, str]:
    """Return the name of the symbol of each experiment; `SYMBOLS` has the symbols."""
    names = runs["experiment"].unique(maintain_order=True)
    return {name: list(SYMBOLS)[n % len(SYMBOLS)] for n, name in enumerate(names)}


def cost(runs: pl.DataFrame, lines: dict[tuple[str, str], Line]) -> dict[str, go.Figure]:
    """Draw BLEU and chrF over decoder rows: a point for each sampler, with one standard deviation over its seeds.

    Args:
        runs: `Results.runs`, with the titles of the experiments.
        lines: the look of each sampler.

    Returns:
        A figure for each measure by its title.
    """
    keys = ("experiment", "title", "decoder", "sampler")
    table = runs.group_by(*keys, maintain_order=True).agg(*mean_and_sd(("bleu", "chrf", "rows")))
    return {title: _points(table, name, title, lines) for name, title in (("bleu", "BLEU"), ("chrf", "chrF"))}


def _points(table: pl.DataFrame, name: str, title: str, lines: dict[tuple[str, str], Line]) -> go.Figure:
    """Draw a measure over decoder rows."""
    shapes, figure = symbols(table), go.Figure()
    for row in table.iter_rows(named=True):
        point = go.Scatter(
            x=[row["rows"]],
            y=[row[name]],
            error_x={"array": [row["rows_sd"]], "thickness": 1, "width": 0},
            error_y={"array": [row[f"{name}_sd"]], "thickness": 1, "width": 0},
            mode="markers",
            marker={"size": 10, "symbol": shapes[row["experiment"]]},
            marker_color=lines[row["experiment"], row["sampler"]].colour,
            marker_line={"color": "white", "width": 1},
            legendgroup=row["decoder"],
            hovertemplate=f"{_escaped(row['sampler'])}<br>{_escaped(row['title'])}: "
            f"%{{y:.2f}} {title}, %{{x:,.0f}} rows<extra></extra>",
        )
        figure.add_trace(point)
    figure.update_xaxes(type="log", title_text="decoder rows", tickvals=_ticks(table["rows"].to_list()), tickformat=",")
    _finish(figure)
    return figure


def _ticks(values: list[float]) -> list[int]:
    """Return the ticks of a log axis: powers of ten, and also 2 and 5 times them if there are few."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [step * 10**power for power in range(low, high + 1) for step in ((1, 2, 5) if high - low < 3 else (1,))]


def _finish(figure: go.Figure) -> None:
    figure.update_layout(LAYOUT)
    figure.update_xaxes(showline=True, linecolor="#c9d0d8", ticks="outside", tickcolor="#c9d0d8", gridcolor="#eef1f4")
    figure.update_xaxes(zeroline=False, title_font_size=13, title_standoff=8)
    figure.update_yaxes(gridcolor="#e6eaee", zeroline=False)


def _escaped(text: str) -> str:
    """Escape a text, because Plotly interprets some HTML in its texts."""
    return escape(text, quote=False)


def _paler(colour: str, share: float) -> str:
    """Mix a colour with this share of white."""
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in hex_to_rgb(colour))
