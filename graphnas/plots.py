"""Figures of searches: best score so far, score against cost. Made without pyplot, so no backend is touched."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from graphnas.drawing import plain
from graphnas.errors import GraphnasError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): eight colours that stay apart for colour-blind readers; the grey is for baselines
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_GREY = "#6b7280"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))
_SETTINGS: Any = {
    "font.size": 9.5,
    "axes.edgecolor": "#94a3b8",
    "axes.labelcolor": "#0f172a",
    "xtick.color": "#475569",
    "ytick.color": "#475569",
    "svg.fonttype": "none",
    "text.usetex": False,
}


_INSIDE = 6


def search_curves(
    curves: Mapping[str, Sequence[Sequence[float]]],
    ylabel: str,
    *,
    baseline: Mapping[str, Sequence[Sequence[float]]] | None = None,
    maximise: bool = True,
    size: tuple[float, float] = (7.0, 3.6),
) -> Figure:
    """Best score so far against the number of evaluations.

    Each line is the mean over the repeats, up to the end of the shortest, and its band runs from the 10th to the 90th
    percentile (linear interpolation); a single repeat has no band. The line begins where all repeats have a score.
    The vertical axis starts at the worst mean after 5 % of the evaluations, so that a poor first draw does not
    flatten everything else.

    Args:
        curves: for every name, repeats of best-so-far values; entry i is the best of the first i + 1 evaluations, NaN
            while there is none.
        ylabel: what the score is.
        baseline: further curves, drawn in grey behind the others.
        maximise: whether larger is better.
        size: inches.

    Raises:
        GraphnasError: no curves, or a name without a repeat or with an empty one.
    """
    everything = {**(baseline or {}), **curves}
    if not everything:
        raise GraphnasError("there are no curves to plot: give at least one name with one sequence of scores")
    if len(everything) < len(curves) + len(baseline or {}):
        raise GraphnasError("a curve and a baseline have the same name; rename one of them")
    figure, axes = _figure(size)
    handles: list[Any] = []
    starts: list[float] = []
    tops: list[float] = []
    length = max(len(r) for repeats in everything.values() for r in repeats) if any(everything.values()) else 0
    for name, repeats in everything.items():
        if not repeats or not all(len(r) for r in repeats):
            raise GraphnasError(f"curve {plain(name, 60)!r} needs at least one evaluation in every repeat")
        shared = min(map(len, repeats))
        values = np.array([list(r)[:shared] for r in repeats], dtype=float)
        x, mean = np.arange(1, shared + 1), values.mean(axis=0)
        place = list(curves).index(name) if name in curves else -1
        colour = _GREY if place < 0 else COLOURS[place % len(COLOURS)]
        style = DASHES[max(place, 0) // len(COLOURS) % len(DASHES)]
        (line,) = axes.plot(x, mean, color=colour, linestyle=style, linewidth=1.8, drawstyle="steps-post")
        if len(repeats) > 1 and np.isfinite(mean).any():
            low, high = np.percentile(values, (10, 90), axis=0)
            tops.append(float(np.nanmax(high) if maximise else np.nanmin(low)))
            axes.fill_between(x, low, high, step="post", color=colour, alpha=0.16, linewidth=0)
        handles.append(line)
        late = mean[min(shared - 1, length // 20) :]
        late = late[np.isfinite(late)]
        starts += [float(late[0]), float(late[-1])] if len(late) else []
    axes.set_xlim(1, max(length, 2))
    if starts and max(starts) > min(starts):
        margin = 0.08 * (max(starts) - min(starts))
        reach = [*starts, *tops]
        axes.set_ylim(
            (min(starts) if maximise else min(reach)) - margin, (max(reach) if maximise else max(starts)) + margin
        )
    _finish(axes, "evaluations", ylabel)
    _legend(axes, handles, list(everything), "lower right" if maximise else "upper right")
    return figure


def score_against_cost(
    points: Mapping[str, Sequence[tuple[float, float]]],
    *,
    xlabel: str = "cost",
    ylabel: str = "score",
    pareto: bool = True,
    maximise: bool = True,
    size: tuple[float, float] = (7.0, 3.6),
) -> Figure:
    """Score against cost, one mark for each architecture, with the Pareto front of all series together.

    Args:
        points: for every name, pairs (cost, score); pairs with NaN or infinity are left out.
        xlabel, ylabel: what cost and score are.
        pareto: draw the front (smaller cost, better score) as a staircase.
        maximise: whether a larger score is better.
        size: inches.

    Raises:
        GraphnasError: no finite pair.
    """
    finite = {
        name: [(c, s) for c, s in pairs if math.isfinite(c) and math.isfinite(s)] for name, pairs in points.items()
    }
    every = [pair for pairs in finite.values() for pair in pairs]
    if not every:
        raise GraphnasError("there are no points to plot: no pair of cost and score is finite")
    figure, axes = _figure(size)
    handles: list[Any] = []
    for i, pairs in enumerate(finite.values()):
        colour = COLOURS[i % len(COLOURS)]
        cost, score = [c for c, _ in pairs], [s for _, s in pairs]
        handles.append(axes.scatter(cost, score, s=16, color=colour, alpha=0.55, linewidths=0))
    names = list(finite)
    if pareto:
        front = pareto_front(every, maximise=maximise)
        x, y = [c for c, _ in front], [s for _, s in front]
        (line,) = axes.plot(x, y, color="#0f172a", linewidth=1.2, drawstyle="steps-post", marker="o", markersize=3)
        handles.append(line)
        names.append("Pareto front")
    costs = [c for c, _ in every]
    if min(costs) > 0 and max(costs) > 30 * min(costs):
        axes.set_xscale("log")
    elif max(map(abs, costs)) >= 1e4:
        from matplotlib.ticker import EngFormatter

        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.2M
    _finish(axes, xlabel, ylabel)
    _legend(axes, handles, names, "lower right" if maximise else "upper right")
    return figure


def pareto_front(points: Iterable[tuple[float, float]], *, maximise: bool = True) -> list[tuple[float, float]]:
    """The distinct pairs (cost, score) that no other pair matches or beats in both, by rising cost."""
    sign = 1.0 if maximise else -1.0
    front: list[tuple[float, float]] = []
    for cost, score in sorted(set(points), key=lambda p: (p[0], -sign * p[1])):
        if not front or sign * score > sign * front[-1][1]:
            front.append((cost, score))
    return front


def figure_svg(figure: Figure, name: str) -> str:
    """A Figure as SVG text to stand inside an HTML page: no XML header, no metadata, no date; same figure, same bytes.

    Args:
        figure: what to draw.
        name: letters, digits and ``-``; distinct for the figures of one page, because it keeps their ids apart.

    Raises:
        GraphnasError: another kind of name.
    """
    import matplotlib

    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,60}", name):
        raise GraphnasError(f"a figure needs a name of letters, digits and '-', not {plain(name, 60)!r}")
    target = io.StringIO()
    with matplotlib.rc_context(_SETTINGS | {"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # text stays text: the reader's font has it
        figure.savefig(target, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Matplotlib's <style> would apply to the whole page that the picture stands in
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    text = text.replace("<svg ", '<svg style="stroke-linejoin: round; stroke-linecap: butt" role="img" ', 1)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(href="|url\()#', rf"\1#{name}-", text)


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.add_subplot()


def _finish(axes: Axes, xlabel: str, ylabel: str) -> None:
    for text, label in ((axes.xaxis.label, xlabel), (axes.yaxis.label, ylabel)):
        text.set_parse_math(False)  # a name with a dollar sign is a name, not a formula
        text.set_text(plain(label, 80))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(axes: Axes, handles: list[Any], names: list[str], place: str) -> None:
    look: dict[str, Any] = {"loc": place, "fontsize": 8.5, "framealpha": 0.9, "edgecolor": "#e2e8f0"}
    if len(names) > _INSIDE:  # beside the plot, or it would cover what it names
        look |= {"loc": "upper left", "bbox_to_anchor": (1.03, 1.0), "borderaxespad": 0.0}
        figure = cast("Figure", axes.figure)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width + 2.0, max(height, 0.19 * len(names) + 0.6))
    legend = axes.legend(handles, ["name"] * len(names), **look)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(plain(name, 60))  # set afterwards: a leading underscore would hide it
