"""Grids of tiles over a die. Coordinates are database units; tile (i, j) is [x_i, x_{i+1}) x [y_j, y_{j+1})."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eda.placement import Placement
from graphnas.errors import GraphnasError

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

MAX_TILES = 40_000_000
AREAS = ("die", "rows")


@dataclass(frozen=True, eq=False)
class Grid:
    """Tiles between lines.

    Args:
        x: float64[nx + 1], increasing: the vertical lines in database units.
        y: float64[ny + 1]: the horizontal lines.

    Raises:
        GraphnasError: fewer than two lines, lines that do not increase, or more than MAX_TILES tiles.
    """

    x: Floats
    y: Floats

    def __post_init__(self) -> None:
        for lines in (self.x, self.y):
            if len(lines) < 2 or not (np.diff(lines) > 0).all():
                raise GraphnasError("the lines of a grid must increase, and be two at least in each direction")
        if (len(self.x) - 1) * (len(self.y) - 1) > MAX_TILES:
            raise GraphnasError(
                f"{len(self.x) - 1} x {len(self.y) - 1} tiles are more than {MAX_TILES}; choose larger tiles"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a map."""
        return len(self.y) - 1, len(self.x) - 1

    @property
    def areas(self) -> Floats:
        """float64[ny, nx]: the area of every tile in square database units."""
        return np.diff(self.y)[:, None] * np.diff(self.x)

    def columns(self, x: Floats) -> Places:
        """int64[n]: the column of every x; beyond the grid, the nearest one."""
        return _slot(self.x, x)

    def rows(self, y: Floats) -> Places:
        """int64[n]: the row of every y; beyond the grid, the nearest one."""
        return _slot(self.y, y)

    def clip(self, boxes: Floats) -> Floats:
        """float64[n, 4]: (x1, y1, x2, y2) cut at the border of the grid; the array itself when all lie within."""
        least, most = boxes.T.min(1, initial=np.inf), boxes.T.max(1, initial=-np.inf)
        if min(least[0], least[2]) >= self.x[0] and min(least[1], least[3]) >= self.y[0]:
            if max(most[0], most[2]) <= self.x[-1] and max(most[1], most[3]) <= self.y[-1]:
                return boxes
        low = [self.x[0], self.y[0], self.x[0], self.y[0]]
        high = [self.x[-1], self.y[-1], self.x[-1], self.y[-1]]
        return np.clip(boxes, low, high)


def _slot(lines: Floats, values: Floats) -> Places:
    steps = np.diff(lines)
    last = len(lines) - 2
    if last == 0 or ((steps[:-1] == steps[0]).all() and steps[-1] <= steps[0]):
        # Equal steps (the last tile may be smaller): a division is several times faster than a search.
        found = np.floor((values - lines[0]) / steps[0]).astype(np.int64)
    else:
        found = np.searchsorted(lines, values, side="right") - 1
    result: Places = np.clip(found, 0, last)
    return result


def tile_grid(placement: Placement, tile: float, area: str = "die") -> Grid:
    """Square tiles from the lower left corner; the last column and row may be smaller.

    Args:
        placement: whose die is divided.
        tile: edge of a tile in microns.
        area: "die" (the box around the die), or "rows" (the box around the rows of sites, without the border for pins).

    Raises:
        GraphnasError: a tile of no size, an unknown area, no rows, or too many tiles.
    """
    if area not in AREAS:
        raise GraphnasError(f"unknown area {area!r}; known: die, rows")
    x1, y1, x2, y2 = placement.die_box if area == "die" else rows_box(placement)
    return Grid(*square(x1, y1, x2, y2, tile * placement.units))


def square(x1: float, y1: float, x2: float, y2: float, step: float) -> tuple[Floats, Floats]:
    """Lines of square tiles of edge ``step`` over a box.

    Raises:
        GraphnasError: a step that is not positive, an empty box, or too many tiles.
    """
    if not (step > 0 and x2 > x1 and y2 > y1):
        raise GraphnasError(f"tiles of {step:g} on a box of {x2 - x1:g} by {y2 - y1:g} database units cannot be made")
    if (x2 - x1) / step * ((y2 - y1) / step) > MAX_TILES:
        raise GraphnasError(f"tiles of {step:g} database units are more than {MAX_TILES}; choose larger tiles")
    lines = []
    for low, high in ((x1, x2), (y1, y2)):
        # A sliver that is nothing but rounding is no tile.
        count = max(1, int(np.ceil((high - low) / step - 1e-9)))
        lines.append(np.append(low + step * np.arange(count), high).astype(np.float64))
    return lines[0], lines[1]


def rows_box(placement: Placement) -> tuple[float, float, float, float]:
    """The box around all rows of sites, in database units.

    The height of a row is the distance to the next; that of the topmost row is taken as the smallest such distance.

    Raises:
        GraphnasError: there are no rows.
    """
    rows = placement.rows
    if not rows:
        raise GraphnasError("the DEF has no ROW statements; divide the die instead (area 'die')")
    x1 = min(row.x for row in rows)
    x2 = max(row.x + max(row.count_x * row.step_x, row.step_x) for row in rows)
    levels = sorted({row.y for row in rows})
    pitch = min((b - a for a, b in itertools.pairwise(levels)), default=max(row.step_y for row in rows))
    top = max(row.y + max(pitch, row.count_y * row.step_y) for row in rows)
    return x1, levels[0], x2, top


def gcell_grid(placement: Placement) -> Grid:
    """The tiles of the global router: lines of GCELLGRID, together with the edges of the die.

    Raises:
        GraphnasError: the DEF has no GCELLGRID in both directions.
    """
    x1, y1, x2, y2 = placement.die_box
    edges = {"X": (x1, x2), "Y": (y1, y2)}
    lines = {}
    for axis, (low, high) in edges.items():
        parts = [g for g in placement.gcells if g.axis == axis]
        if not parts:
            raise GraphnasError(f"the DEF has no GCELLGRID {axis}; give the size of the tiles instead")
        if sum(part.count for part in parts) > MAX_TILES:
            raise GraphnasError(f"GCELLGRID {axis} has more than {MAX_TILES} lines")
        drawn: Iterable[Places] = (part.start + part.step * np.arange(part.count) for part in parts)
        found = np.unique(np.concatenate([*drawn, [low, high]]))
        lines[axis] = found[(found >= low) & (found <= high)].astype(np.float64)
    return Grid(lines["X"], lines["Y"])
