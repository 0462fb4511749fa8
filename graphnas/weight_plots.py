"""Architecture weights over the epochs of a gradient-based search, one small panel for each decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphnas.drawing import plain
from graphnas.errors import GraphnasError
from graphnas.plots import COLOURS, DASHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
MOST_ROWS = 36


def weights_over_time(
    history: Sequence[Mapping[str, Any]], group: str, rows: Sequence[str], options: Sequence[str]
) -> Figure:
    """The mixing weights of one group after every epoch; an option has one colour in all panels.

    Args:
        history: for each epoch ``epoch`` and ``weights``, matrices ``[R][K]`` by group.
        group: which matrix.
        rows: names of the R decisions; at most 36 are drawn.
        options: names of the K options.

    Raises:
        GraphnasError: no epochs, or matrices of another shape.
    """
    from matplotlib.figure import Figure

    if not history:
        raise GraphnasError("there are no architecture weights to draw: the search has no epoch yet")
    matrices = [entry["weights"][group] for entry in history]
    if any(len(m) != len(rows) or any(len(row) != len(options) for row in m) for m in matrices):
        raise GraphnasError(f"the weights of group {plain(group, 60)!r} are not {len(rows)} rows of {len(options)}")
    shown = list(rows)[:MOST_ROWS]
    columns = min(COLUMNS, len(shown))
    height = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(5.4, 0.5 + 1.2 * height), layout="constrained")
    panels = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False)
    epochs = [entry["epoch"] for entry in history]
    top = max(max(row) for m in matrices for row in m)
    lines: list[Any] = []
    for place, panel in enumerate(panels.flat):
        if place >= len(shown):
            panel.set_visible(False)
            continue
        made = []
        for k in range(len(options)):
            look = COLOURS[k % len(COLOURS)], DASHES[k // len(COLOURS) % len(DASHES)]
            values = [m[place][k] for m in matrices]
            mark = "." if len(epochs) == 1 else ""
            made += panel.plot(epochs, values, color=look[0], linestyle=look[1], linewidth=1.2, marker=mark)
        lines = made
        panel.set_title("", fontsize=7)
        panel.title.set_parse_math(False)
        panel.title.set_text(plain(shown[place], 24))
        panel.set_ylim(0, max(top * 1.05, 1e-9))
        panel.tick_params(labelsize=6)
        panel.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(lines, ["name"] * len(lines), loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    for text, option in zip(legend.get_texts(), options, strict=True):
        text.set_parse_math(False)
        text.set_text(plain(str(option), 24))
    return figure
