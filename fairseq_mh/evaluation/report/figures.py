"""Draws the report's figures. A decoder has the same colour in all figures; its settings are shades of that colour."""

import math
from html import escape
from typing import NamedTuple

import plotly.graph_objects as go
import polars as pl
from plotly.colors import hex_to_rgb
from plotly.subplots import make_subplots

from fairseq_mh.evaluation.report.results import BY_SWEEP
from fairseq_mh.evaluation.tables import mean_and_sd

# Okabe and Ito's colours, which readers with any colour vision can tell apart, without yellow (too pale for a line).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#4D4D4D")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
PANELS = {
    "energy": "Energy per token (nats)",
    "bleu": "BLEU",
    "acceptance_rate": "Acceptance rate",
    "novel_rate": "Novel rate",
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
    "hoverlabel": {"bgcolor": "white", "bordercolor": "#c9d0d8", "font_size": 12},
}


class Line(NamedTuple):
    """The look of a sampler's line."""

    colour: str
    dash: str


def styles(runs: pl.DataFrame) -> dict[tuple[str, str], Line]:
    """Return the line of every (experiment, sampler): the decoder's colour, paler for each further setting."""
    decoders = runs["decoder"].unique(maintain_order=True).to_list()
    found = {}
    samplers = runs.unique(["experiment", "sampler"], maintain_order=True)
    for (experiment, decoder), part in samplers.group_by("experiment", "decoder", maintain_order=True):
        colour = PALETTE[decoders.index(decoder) % len(PALETTE)]
        for n, sampler in enumerate(part["sampler"]):
            found[experiment, sampler] = Line(_paler(colour, n / len(part) * 0.75), DASHES[n % len(DASHES)])
    return found


def curves(by_sweep: pl.DataFrame, lines: dict[tuple[str, str], Line]) -> go.Figure | None:
    """Draw one experiment by sweep, with a line for each sampler.

    A line is the mean over the seeds, in a band of one standard deviation. A decoder without sweeps, such as
    mask-predict, is a horizontal line.

    Args:
        by_sweep: the experiment's rows of `Results.curves`.
        lines: the look of each sampler.

    Returns:
        The figure, or None if no decoder has sweeps.
    """
    last = max(by_sweep["sweep"].to_list())
    if not last:
        return None
    figure = make_subplots(2, 2, subplot_titles=list(PANELS.values()), horizontal_spacing=0.09, vertical_spacing=0.14)
    listed: set[str] = set()  # samplers that are in the legend, which takes the first line of each
    groups = by_sweep.group_by("experiment", "sampler", "sweep", maintain_order=True).agg(*mean_and_sd(BY_SWEEP))
    for (experiment, sampler), part in groups.sort("sweep").group_by("experiment", "sampler", maintain_order=True):
        line, level = lines[str(experiment), str(sampler)], len(part) == 1
        for n, name in enumerate(PANELS):
            known = part.drop_nulls(name).select("sweep", name, pl.col(f"{name}_sd").fill_null(0))
            x, mean, sd = (known[column].to_list() for column in known.columns)
            if level:
                x, mean, sd = [0, last], mean * 2, sd * 2
            panel = {"row": n // 2 + 1, "col": n % 2 + 1}
            if any(sd):
                figure.add_trace(_band(x, mean, sd, str(sampler), line.colour), **panel)
            legend = bool(mean) and str(sampler) not in listed
            figure.add_trace(_line(x, mean, str(sampler), line, level, legend), **panel)
            if mean:
                listed.add(str(sampler))
    figure.update_xaxes(range=[-0.02 * last, 1.02 * last], tick0=0, dtick=max(1, math.ceil(last / 8)))
    figure.update_xaxes(title_text="sweep", row=2)
    figure.update_yaxes(rangemode="tozero", row=2)
    _finish(figure, 660, legend=-0.12)
    return figure


def _line(x: list, y: list, sampler: str, line: Line, level: bool, legend: bool) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        name=_escaped(sampler),
        legendgroup=sampler,
        showlegend=legend,
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
        showlegend=False,
        hoverinfo="skip",
    )


def cost(runs: pl.DataFrame, lines: dict[tuple[str, str], Line]) -> go.Figure:
    """Draw BLEU and chrF over decoder rows: a point for each sampler, with one standard deviation over its seeds."""
    measures = {"bleu": "BLEU", "chrf": "chrF"}
    keys = ("experiment", "decoder", "sampler")
    table = runs.group_by(*keys, maintain_order=True).agg(*mean_and_sd((*measures, "rows")))
    experiments = table["experiment"].unique(maintain_order=True).to_list()
    shapes = {name: SYMBOLS[n % len(SYMBOLS)] for n, name in enumerate(experiments)}
    figure = make_subplots(1, 2, subplot_titles=list(measures.values()), horizontal_spacing=0.09)
    for row in table.iter_rows(named=True):
        colour = lines[row["experiment"], row["sampler"]].colour
        for column, name in enumerate(measures, 1):
            point = go.Scatter(
                x=[row["rows"]],
                y=[row[name]],
                error_x={"array": [row["rows_sd"]], "thickness": 1, "width": 0},
                error_y={"array": [row[f"{name}_sd"]], "thickness": 1, "width": 0},
                mode="markers",
                marker={"size": 10, "symbol": shapes[row["experiment"]], "color": colour},
                marker_line={"color": "white", "width": 1},
                legendgroup=row["decoder"],
                showlegend=False,
                hovertemplate=f"{_escaped(row['sampler'])}<br>{_escaped(row['experiment'])}: "
                f"%{{y:.2f}} {measures[name]}, %{{x:,.0f}} rows<extra></extra>",
            )
            figure.add_trace(point, 1, column)
    for decoder, part in runs.group_by("decoder", maintain_order=True):
        line = lines[part["experiment"][0], part["sampler"][0]]
        figure.add_trace(_key(decoder[0], mode="lines", line={"color": line.colour, "width": 9}), 1, 1)
    for experiment, shape in shapes.items() if len(shapes) > 1 else ():
        figure.add_trace(
            _key(experiment, mode="markers", marker={"symbol": shape, "color": "#7a8591", "size": 10}), 1, 1
        )
    figure.update_xaxes(type="log", title_text="decoder rows", tickvals=_ticks(table["rows"].to_list()), tickformat=",")
    _finish(figure, 450, legend=-0.2)
    return figure


def _key(name: object, **look: object) -> go.Scatter:
    """Return an entry of the legend that explains the colour or the shape of many points."""
    return go.Scatter(x=[None], y=[None], name=_escaped(str(name)), legendgroup=name, showlegend=True, **look)


def _ticks(values: list[float]) -> list[int]:
    """Return the ticks of a log axis: powers of ten, and also 2 and 5 times them if there are few."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [step * 10**power for power in range(low, high + 1) for step in ((1, 2, 5) if high - low < 3 else (1,))]


def _finish(figure: go.Figure, height: int, legend: float) -> None:
    figure.update_layout(LAYOUT, height=height, margin={"l": 48, "r": 12, "t": 36, "b": 48})
    figure.update_layout(legend={"orientation": "h", "yanchor": "top", "y": legend, "x": 0})
    figure.update_annotations(font_size=14, font_weight=600)
    figure.update_xaxes(showline=True, linecolor="#c9d0d8", ticks="outside", tickcolor="#c9d0d8", gridcolor="#eef1f4")
    figure.update_xaxes(zeroline=False, title_font_size=13, title_standoff=8)
    figure.update_yaxes(gridcolor="#e6eaee", zeroline=False)


def _escaped(text: str) -> str:
    """Escape a text, because Plotly interprets some HTML in its texts."""
    return escape(text, quote=False)


def _paler(colour: str, share: float) -> str:
    """Mix a colour with this share of white."""
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in hex_to_rgb(colour))
