"""Cheapest paths on a routing grid: A* in the form of Dijkstra's algorithm on reduced costs, in a growing window."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from eda.routing_grid import Nodes, RoutingGrid

STEP, WRONG_WAY, VIA = 1.0, 4.0, 5.0
"""Cost of a step along a layer's direction, of one across it, and of a via."""
_FIRST_SLACK = 48.0  # what a path may cost beyond the distance at first; doubled until it suffices
_QUANTUM = 32  # lengths of windows are multiples of it

Costs = NDArray[np.float64]
_Window = tuple[int, int, int, int]


class Maze:
    """Finds cheapest paths above the lowest layer of a grid.

    A step costs ``STEP``, across a layer's direction ``WRONG_WAY``, a via ``VIA``; every node of a path, its first one too,
    costs its own price on top. Layers with a stride have nodes only on their own tracks.

    With h(v) the number of steps from v to the box around the targets, a path costs h(source) plus the sum of its reduced
    costs w(u, v) + h(v) - h(u), none of which is negative (P. Hart, N. Nilsson and B. Raphael, "A Formal Basis for the
    Heuristic Determination of Minimum Cost Paths", 1968). A path of cost c stays within (c - h) / 2 steps of the box around
    both ends, so the search on that window, stopped at c, is exact as soon as it reaches a target.

    Args:
        grid: the routing grid.
    """

    def __init__(self, grid: RoutingGrid) -> None:
        self.grid = grid

    def path(self, sources: Nodes, targets: Nodes, price: Costs) -> Nodes | None:
        """The cheapest path from one of the sources to one of the targets, both included; None when there is none.

        Args:
            sources: nodes above the lowest layer.
            targets: the same.
            price: float64[nodes of the grid], at least zero.
        """
        near, far = self._box(sources), self._box(targets)
        apart = sum(max(0, far[low] - near[low + 1] + 1, near[low] - far[low + 1] + 1) for low in (0, 2))
        box = (min(near[0], far[0]), max(near[1], far[1]), min(near[2], far[2]), max(near[3], far[3]))
        slack = _FIRST_SLACK
        whole = (0, self.grid.rows, 0, self.grid.columns)
        while True:
            # The smaller of two bounds: what a path that returns to the box can leave it by, and what it can go at all.
            around, reach = int(slack / 2) + 1, int(apart + slack) + 1
            window = (
                *_span(max(box[0] - around, near[0] - reach), min(box[1] + around, near[1] + reach), self.grid.rows),
                *_span(max(box[2] - around, near[2] - reach), min(box[3] + around, near[3] + reach), self.grid.columns),
            )
            found = self._search(window, sources, targets, price, far, apart + slack)
            if found is not None:
                return found
            if window == whole:
                return self._search(whole, sources, targets, price, far, np.inf)
            slack *= 2

    def _box(self, nodes: Nodes) -> _Window:
        """First and end of the rows and columns of nodes."""
        column = nodes % self.grid.columns
        row = nodes // self.grid.columns % self.grid.rows
        return int(row.min()), int(row.max()) + 1, int(column.min()), int(column.max()) + 1

    def _search(
        self, window: _Window, sources: Nodes, targets: Nodes, price: Costs, far: _Window, limit: float
    ) -> Nodes | None:
        row, row_end, column, column_end = window
        shape = (len(self.grid.layers) - 1, row_end - row, column_end - column)
        strides = tuple(
            (1, stride, column % stride) if way else (stride, 1, row % stride)
            for way, stride in zip(self.grid.vertical[1:], self.grid.strides[1:], strict=True)
        )
        start, neighbours, steps, owners = _structure(shape, self.grid.vertical[1:], strides)
        inside = price.reshape(self.grid.shape)[1:, row:row_end, column:column_end]
        origin, goal = _inside(sources, self.grid, window), _inside(targets, self.grid, window)
        if not len(goal) or not len(origin):
            return None
        to_row, to_column = (
            np.maximum(0, np.maximum(low - places, places - end + 1)).astype(np.float64)
            for low, end, places in (
                (far[0], far[1], np.arange(row, row_end)),
                (far[2], far[3], np.arange(column, column_end)),
            )
        )
        plane = to_row[:, None] + to_column
        ahead = np.broadcast_to(plane, shape).ravel()
        entry = (inside + plane).ravel()
        # One more node before the sources, so that a source which is used by another net is paid for.
        count = len(entry)
        graph = csr_array(
            (
                np.concatenate([steps + entry[neighbours] - ahead[owners], STEP + entry[origin]]),
                np.concatenate([neighbours, origin.astype(np.int32)]),
                np.concatenate([start, [start[-1] + len(origin)]]).astype(np.int32),
            ),
            shape=(count + 1, count + 1),
        )
        distances, predecessors = dijkstra(
            graph, indices=np.array([count]), return_predecessors=True, limit=limit + STEP
        )
        distance, before = distances[0], predecessors[0]
        best = goal[np.argmin(distance[goal])]
        if not np.isfinite(distance[best]):
            return None
        nodes = []
        node = int(best)
        while node != count:
            nodes.append(node)
            node = int(before[node])
        layer, r, c = np.unravel_index(np.array(nodes[::-1]), shape)
        result: Nodes = ((layer + 1) * self.grid.rows + r + row) * self.grid.columns + c + column
        return result


def _span(first: int, end: int, count: int) -> tuple[int, int]:
    """A span that holds ``first`` .. ``end`` as far as it is within ``count``, of one of few lengths.

    Few lengths let the structures of windows be used again; beginnings at multiples of 16 keep strided tracks in phase.
    """
    first, end = max(0, first) // 16 * 16, min(count, end)
    length = -(-(end - first) // _QUANTUM) * _QUANTUM
    if length >= count:
        return 0, count
    if first + length > count:
        first = (count - length) // 16 * 16
        length += _QUANTUM
    return first, min(count, first + length)


def _inside(nodes: Nodes, grid: RoutingGrid, window: tuple[int, int, int, int]) -> Nodes:
    """Numbers within the window (lowest layer left out) of those nodes that lie in it."""
    row, row_end, column, column_end = window
    layer, r, c = np.unravel_index(nodes, grid.shape)
    kept = (layer > 0) & (r >= row) & (r < row_end) & (c >= column) & (c < column_end)
    result: Nodes = (((layer - 1) * (row_end - row) + r - row) * (column_end - column) + c - column)[kept]
    return result


@lru_cache(maxsize=64)
def _structure(
    shape: tuple[int, int, int], vertical: tuple[bool, ...], strides: tuple[tuple[int, int, int], ...]
) -> tuple[NDArray[np.int64], NDArray[np.int32], Costs, NDArray[np.int32]]:
    """Compressed rows of a window's graph: start of each row; neighbour, cost of the step and node of each entry."""
    layers, rows, columns = shape
    count = layers * rows * columns
    number = np.arange(count, dtype=np.int32).reshape(shape)
    there = np.zeros(shape, np.bool_)
    across, up = np.empty(shape), np.empty(shape)
    for layer, (way, (row_stride, column_stride, phase)) in enumerate(zip(vertical, strides, strict=True)):
        if column_stride > 1:
            there[layer, :, (-phase) % column_stride :: column_stride] = True
        else:
            there[layer, (-phase) % row_stride :: row_stride] = True
        across[layer], up[layer] = (WRONG_WAY, STEP) if way else (STEP, WRONG_WAY)
    neighbours = np.full((count, 6), -1, np.int32)
    costs = np.zeros((count, 6))
    whole = slice(None)
    for place, (axis, sign) in enumerate((axis, sign) for axis in range(3) for sign in (-1, 1)):
        here, other = [whole] * 3, [whole] * 3
        here[axis] = slice(1, None) if sign < 0 else slice(None, -1)
        other[axis] = slice(None, -1) if sign < 0 else slice(1, None)
        a, b = tuple(here), tuple(other)
        both = there[a] & there[b]
        mine = number[a][both]
        neighbours[mine, place] = number[b][both]
        costs[mine, place] = VIA if axis == 0 else (up if axis == 1 else across)[a][both]
    kept = neighbours >= 0
    start = np.concatenate([[0], np.cumsum(kept.sum(1))])
    owners = np.repeat(np.arange(count, dtype=np.int32), kept.sum(1))
    return start, neighbours[kept], costs[kept], owners
