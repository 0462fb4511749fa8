"""Boxes, points and segments on a grid of tiles, at a cost of boxes + tiles instead of boxes x tiles.

A box is four corners: what a corner adds to all tiles above and to the right of it is written into a difference array,
with the covered fractions of the corner's own column and row; one cumulative sum in each direction then gives the map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eda.grid import Floats, Grid, Places


def covered(boxes: Floats, grid: Grid, weights: Floats) -> Floats:
    """Weighted covered fractions of tiles: sum over boxes of weight * |box ∩ tile| / |tile|.

    Args:
        boxes: float64[n, 4], (x1, y1, x2, y2); parts beyond the grid count nowhere.
        grid: the tiles.
        weights: float64[m, n], m weights of every box.

    Returns:
        float64[m, ny, nx].
    """
    boxes = grid.clip(boxes)
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
    across = _steps(grid.x, grid.columns(x1), x1, grid.columns(x2), x2)
    up = _steps(grid.y, grid.rows(y1), y1, grid.rows(y2), y2)
    rows, columns = grid.shape
    sums = np.zeros((len(weights), (rows + 1) * (columns + 1)))
    for row, in_row in up:
        base = row * (columns + 1)
        amounts = in_row * weights
        for column, in_column in across:
            place = base + column
            for total, amount in zip(sums, amounts, strict=True):
                total += np.bincount(place, amount * in_column, minlength=len(total))
    maps: Floats = sums.reshape(len(weights), rows + 1, columns + 1).cumsum(1).cumsum(2)[:, :-1, :-1]
    return _without_noise(maps, weights)


def _steps(lines: Floats, first: Places, low: Floats, last: Places, high: Floats) -> list[tuple[Places, Floats]]:
    """The four entries of the difference array of one direction: (places, amounts)."""
    size = np.diff(lines)
    entering = (lines[first + 1] - low) / size[first]
    leaving = (lines[last + 1] - high) / size[last]
    return [(first, entering), (first + 1, 1 - entering), (last, -leaving), (last + 1, leaving - 1)]


def _without_noise(maps: Floats, weights: Floats) -> Floats:
    """Cumulative sums leave some 1e-16 of the total where nothing is: such entries are zero."""
    noise = 4e-16 * np.abs(weights).sum(1)
    maps[np.abs(maps) <= noise[:, None, None]] = 0.0
    return maps


def touched(spans: NDArray[np.int64], grid: Grid, weights: Floats | None = None) -> Floats:
    """For every tile, the number (or the weight) of the ranges of tiles that hold it.

    Args:
        spans: int64[n, 4], first and last column and row, (i1, j1, i2, j2), inclusive.
        grid: the tiles.
        weights: float64[n], 1 by default.

    Returns:
        float64[ny, nx].
    """
    rows, columns = grid.shape
    total = np.zeros((rows + 1) * (columns + 1))
    i1, j1, i2, j2 = spans.T
    for row, row_sign in ((j1, 1.0), (j2 + 1, -1.0)):
        for column, column_sign in ((i1, 1.0), (i2 + 1, -1.0)):
            total += row_sign * column_sign * np.bincount(row * (columns + 1) + column, weights, len(total))
    result: Floats = total.reshape(rows + 1, columns + 1).cumsum(0).cumsum(1)[:-1, :-1]
    return np.round(result) if weights is None else _without_noise(result[None], weights[None])[0]


def spans_of(boxes: Floats, grid: Grid) -> NDArray[np.int64]:
    """int64[n, 4]: (i1, j1, i2, j2), the first and last column and row that a closed box touches."""
    columns, rows = grid.columns, grid.rows
    return np.stack([columns(boxes[:, 0]), rows(boxes[:, 1]), columns(boxes[:, 2]), rows(boxes[:, 3])], 1)


def counted(points: Floats, grid: Grid, weights: Floats | None = None) -> Floats:
    """float64[ny, nx]: the number (or the weight) of the points in every tile; a point beyond counts in the nearest."""
    place = grid.rows(points[:, 1]) * grid.shape[1] + grid.columns(points[:, 0])
    size = grid.shape[0] * grid.shape[1]
    return np.bincount(place, weights, size).reshape(grid.shape).astype(np.float64)
