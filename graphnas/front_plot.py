"""The Pareto front of trials, as a figure: one objective against another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphnas.errors import GraphnasError
from graphnas.plots import COLOURS, _figure, _finish, _legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pair = tuple[float, float]


def pareto_plot(
    points: Mapping[str, Sequence[Pair]],
    front: Sequence[Pair],
    *,
    xlabel: str,
    ylabel: str,
    right_is_better: bool = False,
    stairs: bool = True,
    size: tuple[float, float] = (5.4, 3.2),
) -> Figure:
    """All trials as pale marks, those on the front in black.

    Args:
        points: for every name, pairs (x, y) as measured; pairs that are not finite are left out.
        front: the pairs on the front.
        xlabel, ylabel: names of the two figures.
        right_is_better: the direction of x, which says on which side of its points the front runs.
        stairs: join the front by what is attainable; False where further objectives take part.
        size: inches.

    Raises:
        GraphnasError: no finite pair.
    """
    finite = {name: [p for p in pairs if all(map(math.isfinite, p))] for name, pairs in points.items()}
    if not any(finite.values()):
        raise GraphnasError("there are no points to plot: no trial has both figures")
    figure, axes = _figure(size)
    handles: list[Any] = []
    for i, pairs in enumerate(finite.values()):
        x, y = [p[0] for p in pairs], [p[1] for p in pairs]
        handles.append(axes.scatter(x, y, s=16, color=COLOURS[i % len(COLOURS)], alpha=0.45, linewidths=0))
    names = list(finite)
    ends = sorted(p for p in front if all(map(math.isfinite, p)))
    if ends:
        look: dict[str, Any] = {
            "color": "#0f172a",
            "linewidth": 1.2 if stairs else 0.0,
            "marker": "o",
            "markersize": 3.5,
        }
        drawn = "steps-pre" if right_is_better else "steps-post"
        (line,) = axes.plot([p[0] for p in ends], [p[1] for p in ends], drawstyle=drawn, **look)
        handles.append(line)
        names.append("Pareto front")
    xs = [p[0] for pairs in finite.values() for p in pairs]
    if min(xs) > 0 and max(xs) > 30 * min(xs):
        axes.set_xscale("log")
    elif max(map(abs, xs)) >= 1e4:
        from matplotlib.ticker import EngFormatter

        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.2M
    _finish(axes, xlabel, ylabel)
    _legend(axes, handles, names, "best")
    return figure
