"""Straight segments on a grid of tiles: how much of them lies in every tile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eda.grid import Floats, Grid, Places

_CHUNK = 1_000_000  # pieces at a time, so that memory stays bounded


def stars(pins: Floats, start: Places) -> tuple[Floats, Floats]:
    """Segments from every pin to the mean of its net's pins: (from, to), float64[p, 2] each.

    Args:
        pins: float64[p, 2], without NaN.
        start: int64[n + 1], the pins of net k are start[k] .. start[k + 1]; every net has one at least.
    """
    count = np.diff(start)
    centre = np.add.reduceat(pins, start[:-1], axis=0) / count[:, None]
    return pins, np.repeat(centre, count, axis=0)


def trees(pins: Floats, start: Places) -> tuple[Floats, Floats]:
    """The edges of every net's minimum spanning tree (rectilinear distance): (from, to), float64[p - n, 2] each.

    Prim's algorithm (1957), all nets with the same number of pins at once; of equally long edges the one to the pin of
    smaller index is taken.
    """
    count = np.diff(start)
    ends: list[Places] = [np.zeros(0, np.int64)]
    begins: list[Places] = [np.zeros(0, np.int64)]
    for degree in np.unique(count[count > 1]).tolist():
        nets = np.flatnonzero(count == degree)
        for few in np.array_split(nets, max(1, len(nets) * degree // _CHUNK)):
            where = start[few][:, None] + np.arange(degree)
            x, y = pins[where, 0], pins[where, 1]
            row = np.arange(len(few))
            newest = np.zeros(len(few), np.int64)
            distance = np.full(x.shape, np.inf)
            parent = np.zeros(x.shape, np.int64)
            for _ in range(degree - 1):
                here = x[row, newest][:, None], y[row, newest][:, None]
                # A pin of the tree is infinitely far away, so that it is not reached again.
                x[row, newest] = np.inf
                distance[row, newest] = np.inf
                reach = np.abs(x - here[0]) + np.abs(y - here[1])
                nearer = reach < distance
                np.copyto(distance, reach, where=nearer)
                np.copyto(parent, newest[:, None], where=nearer)
                newest = distance.argmin(1)
                begins.append(where[row, parent[row, newest]])
                ends.append(where[row, newest])
    return pins[np.concatenate(begins)], pins[np.concatenate(ends)]


def lengths(begin: Floats, end: Floats, grid: Grid) -> Floats:
    """Length of segments within every tile.

    A segment is cut where it crosses the lines of the direction in which it crosses fewer; a piece then lies in one
    column (or row), over which its length is spread evenly.

    Args:
        begin: float64[n, 2], in database units, within the grid.
        end: float64[n, 2].
        grid: the tiles.

    Returns:
        float64[ny, nx], in database units.
    """
    crossed_x = np.abs(grid.columns(end[:, 0]) - grid.columns(begin[:, 0]))
    crossed_y = np.abs(grid.rows(end[:, 1]) - grid.rows(begin[:, 1]))
    by_column = crossed_x <= crossed_y
    upright: Floats = _spread(begin[by_column], end[by_column], crossed_x[by_column], grid)
    swapped = Grid(grid.y, grid.x)
    other = ~by_column
    flat = _spread(begin[other][:, ::-1], end[other][:, ::-1], crossed_y[other], swapped)
    upright += flat.T
    return upright


def _spread(begin: Floats, end: Floats, crossed: Places, grid: Grid) -> Floats:
    total = np.zeros((grid.shape[0] + 1, grid.shape[1]))
    cuts = np.cumsum(crossed + 1)
    first = 0
    while first < len(begin):
        done = int(cuts[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(cuts, done + _CHUNK, side="right")))
        _add(begin[first:last], end[first:last], crossed[first:last], grid, total)
        first = last
    within: Floats = total.cumsum(0)[:-1]
    noise = 4e-16 * np.abs(end - begin).sum()
    within[np.abs(within) <= noise] = 0.0
    return within


def _add(begin: Floats, end: Floats, crossed: Places, grid: Grid, total: Floats) -> None:
    """Cut segments at vertical lines, and add the pieces to a difference array along y."""
    turned = begin[:, 0] > end[:, 0]
    left, right = np.where(turned[:, None], end, begin), np.where(turned[:, None], begin, end)
    column = grid.columns(left[:, 0])
    pieces = crossed + 1
    whose = np.repeat(np.arange(len(begin)), pieces)
    order = np.arange(len(whose)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    column = column[whose] + order
    x1, y1, x2, y2 = left[whose, 0], left[whose, 1], right[whose, 0], right[whose, 1]
    run = np.where(x2 > x1, x2 - x1, 1.0)
    from_ = np.where(order == 0, 0.0, (grid.x[column] - x1) / run)
    to = np.where(order == crossed[whose], 1.0, (grid.x[column + 1] - x1) / run)
    length = np.hypot(x2 - x1, y2 - y1) * (to - from_)
    low, high = y1 + from_ * (y2 - y1), y1 + to * (y2 - y1)
    low, high = np.minimum(low, high), np.maximum(low, high)
    below, above = grid.rows(low), grid.rows(high)
    _direct(total, below, column, length, below == above)
    tall = below != above
    _along(total, grid, below[tall], above[tall], column[tall], low[tall], high[tall], length[tall])


def _direct(total: Floats, row: Places, column: Places, length: Floats, where: NDArray[np.bool_]) -> None:
    place = row[where] * total.shape[1] + column[where]
    _tally(total, place, length[where])
    _tally(total, place + total.shape[1], -length[where])


def _along(
    total: Floats,
    grid: Grid,
    below: Places,
    above: Places,
    column: Places,
    low: Floats,
    high: Floats,
    length: Floats,
) -> None:
    """Pieces over several rows: full rows get density * height, the first and the last what is covered."""
    density = length / (high - low)
    size = np.diff(grid.y)
    width = total.shape[1]
    first, last = density * (grid.y[below + 1] - low), density * (high - grid.y[above])
    # Full rows may differ in height only where the grid is uneven: their share is added row by row of the grid then.
    if (size[:-1] == size[0]).all():
        full = density * size[0]
        for row, amount in ((below, first), (below + 1, full - first), (above, last - full), (above + 1, -last)):
            _tally(total, row * width + column, amount)
        return
    heights = np.zeros_like(total)
    for row, amount in ((below + 1, density), (above, -density)):
        _tally(heights, row * width + column, amount)
    inner = heights.cumsum(0)[:-1] * size[:, None]
    total[:-1] += inner
    total[1:] -= inner
    for row, amount in ((below, first), (below + 1, -first), (above, last), (above + 1, -last)):
        _tally(total, row * width + column, amount)


def _tally(total: Floats, place: Places, amount: Floats) -> None:
    total += np.bincount(place, amount, total.size).reshape(total.shape)
