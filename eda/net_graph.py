"""The netlist of a placement on its tiles: what a network on cells, nets and tiles needs, and a few bytes for each.

Lengths are hundredths of a tile from the lower left corner of the grid, so that int16 reaches over 327 tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from eda.grid import Grid
from eda.placement import Placement
from eda.technology import Technology
from graphnas.errors import GraphnasError

Short = NDArray[np.int16]
UNIT = 100
"""Steps in a tile."""


@dataclass(frozen=True, eq=False)
class NetGraph:
    """n cells and ports, m nets and p pins.

    Args:
        cells: int16[n, 3], x and y of the middle and width; ports come last and have no width.
        ports: how many of them are ports.
        degree: uint16[m], pins of every net.
        pins: uint16[p], the cell or port of every pin, net after net.
        boxes: int16[m, 4], (x1, y1, x2, y2) around the pins of every net, within the grid.

    Raises:
        GraphnasError: arrays that do not fit together.
    """

    cells: Short
    ports: int
    degree: NDArray[np.uint16]
    pins: NDArray[np.uint16]
    boxes: Short

    def __post_init__(self) -> None:
        n, m = len(self.cells), len(self.degree)
        fits = (
            self.cells.shape == (n, 3)
            and self.boxes.shape == (m, 4)
            and 0 <= self.ports <= n
            and len(self.pins) == int(self.degree.sum(dtype=np.int64))
            and int(self.pins.max(initial=0)) < max(n, 1)
            and bool((self.boxes[:, 2:] >= self.boxes[:, :2]).all())
        )
        if not fits:
            raise GraphnasError("the cells, nets and pins of a placement's graph do not fit together")


def net_graph(placement: Placement, technology: Technology, grid: Grid) -> NetGraph:
    """The graph of a placement on a grid of tiles of equal edge; what lies beyond the grid is moved to its border.

    Args:
        placement: at most 65,535 cells and ports, all placed.
        technology: its library.
        grid: of at most 327 x 327 tiles, such as ``eda.grid.tile_grid`` makes.

    Raises:
        GraphnasError: an unplaced cell, or numbers beyond these.
    """
    cells, nets = placement.cells, placement.nets
    n = len(cells) + len(placement.ports)
    if n > np.iinfo(np.uint16).max or max(grid.shape) * UNIT > np.iinfo(np.int16).max:
        raise GraphnasError(
            f"{n:,} cells and ports on {grid.shape[0]} x {grid.shape[1]} tiles are too many for a graph; "
            "at most 65,535 and 327 x 327"
        )
    tile = max(float(np.diff(grid.x).max()), float(np.diff(grid.y).max()))
    boxes = placement.cell_boxes(technology)
    ports = placement.port_positions()
    middles = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, ports])
    around = placement.net_boxes(technology)
    if np.isnan(middles).any() or np.isnan(around).any():
        raise GraphnasError(f"design {placement.design!r} has unplaced cells or nets without pins; place it first")
    origin = np.array([grid.x[0], grid.y[0]])
    top = np.array([grid.x[-1], grid.y[-1]])
    middles = np.clip(middles, origin, top) - origin
    around = grid.clip(around) - np.tile(origin, 2)
    width = np.append(boxes[:, 2] - boxes[:, 0], np.zeros(len(ports)))
    return NetGraph(
        cells=_steps(np.column_stack([middles, width]), tile),
        ports=len(ports),
        degree=np.diff(nets.start).astype(np.uint16),
        pins=np.where(nets.pin_cell < 0, len(cells) + nets.pin_index, nets.pin_cell).astype(np.uint16),
        boxes=_steps(around, tile),
    )


def _steps(lengths: NDArray[np.float64], tile: float) -> Short:
    return np.rint(lengths * (UNIT / tile)).astype(np.int16)


def packed(graphs: Sequence[NetGraph | None]) -> dict[str, np.ndarray]:
    """Graphs as arrays, one after the other; ``sizes`` int32[samples, 4] counts cells with ports, ports, nets and pins.

    A sample without a graph has the size 0.
    """
    none = NetGraph(*_nothing())
    some = [graph if graph is not None else none for graph in graphs]
    sizes = [[len(g.cells), g.ports, len(g.degree), len(g.pins)] for g in some]
    return {
        "cells": np.concatenate([none.cells, *(g.cells for g in some)]),
        "degree": np.concatenate([none.degree, *(g.degree for g in some)]),
        "pins": np.concatenate([none.pins, *(g.pins for g in some)]),
        "boxes": np.concatenate([none.boxes, *(g.boxes for g in some)]),
        "sizes": np.array(sizes, np.int32).reshape(-1, 4),
    }


def unpacked(arrays: dict[str, np.ndarray]) -> list[NetGraph | None]:
    """The inverse of ``packed``.

    Raises:
        ValueError: the arrays do not fit together.
    """
    sizes = arrays["sizes"].astype(np.int64)
    columns = {"cells": 0, "degree": 2, "pins": 3, "boxes": 2}
    if sizes.ndim != 2 or sizes.shape[1] != 4 or sizes.min(initial=0) < 0:
        raise ValueError("the sizes of its graphs are out of range")
    cut = {}
    for name, column in columns.items():
        ends = [0, *accumulate(sizes[:, column].tolist())]
        if len(arrays[name]) != ends[-1]:
            raise ValueError("its graphs do not fit their sizes")
        cut[name] = [arrays[name][a:b] for a, b in pairwise(ends)]
    return [
        NetGraph(cut["cells"][i], int(sizes[i, 1]), cut["degree"][i], cut["pins"][i], cut["boxes"][i])
        if sizes[i, 0]
        else None
        for i in range(len(sizes))
    ]


def _nothing() -> tuple[Short, int, NDArray[np.uint16], NDArray[np.uint16], Short]:
    empty = np.zeros(0, np.uint16)
    return np.zeros((0, 3), np.int16), 0, empty, empty, np.zeros((0, 4), np.int16)
