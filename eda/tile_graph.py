"""The graph of a placement as tensors: cells, nets and tiles for a network that passes messages between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eda.net_graph import UNIT, NetGraph
from graphnas.tasks.base import Extra

Index = NDArray[np.int64]
Floats = NDArray[np.float32]
CELL_FEATURES = 3
NET_FEATURES = 4
EXTRA = (
    Extra("cells", (2_000, CELL_FEATURES)),
    Extra("nets", (1_900, NET_FEATURES)),
    Extra("pins", (2, 6_200), ("cells", "nets")),
    Extra("places", (2_000,), ("x",)),
    Extra("covers", (2, 22_500), ("nets", "x")),
)
"""What ``joined`` returns, as a Signature announces it; the sizes are usual for 32 x 32 tiles of the data set of the package."""
_LEAST = 0.1
"""Width or height of a net's box in tiles below which it is not told apart."""


@dataclass(frozen=True, eq=False)
class TileGraph:
    """One placement of ``shape`` (rows, columns) of tiles.

    Args:
        shape: (rows, columns).
        cells: float32[n, 3]: width in tiles, log(1 + pins), whether it is a port.
        nets: float32[m, 4]: width and height of the box in tiles, log(1 + pins), 1/width + 1/height.
        places: int64[2, n]: row and column of the tile of every cell's middle.
        pins: int64[2, p]: cell and net of every pin.
        covers: int64[3, e]: net, row and column, for every tile that the net's box touches.
    """

    shape: tuple[int, int]
    cells: Floats
    nets: Floats
    places: Index
    pins: Index
    covers: Index


def tile_graph(graph: NetGraph, shape: tuple[int, int]) -> TileGraph:
    """The tensors' parts of a placement on ``shape`` (rows, columns) of tiles."""
    rows, columns = shape
    x, y = graph.cells[:, 0].astype(np.int64), graph.cells[:, 1].astype(np.int64)
    places = np.stack([np.clip(y // UNIT, 0, rows - 1), np.clip(x // UNIT, 0, columns - 1)])
    degree = graph.degree.astype(np.int64)
    pins = np.stack([graph.pins.astype(np.int64), np.repeat(np.arange(len(degree)), degree)])
    count = np.bincount(pins[0], minlength=len(graph.cells))
    port = np.arange(len(graph.cells)) >= len(graph.cells) - graph.ports
    cells = np.column_stack([graph.cells[:, 2] / UNIT, np.log1p(count), port]).astype(np.float32)
    box = graph.boxes.astype(np.int64)
    size = np.maximum((box[:, 2:] - box[:, :2]) / UNIT, _LEAST)
    nets = np.column_stack([size, np.log1p(degree), (1 / size).sum(1)]).astype(np.float32)
    return TileGraph(shape, cells, nets, places, pins, _covers(box, shape))


def _covers(box: Index, shape: tuple[int, int]) -> Index:
    """(net, row, column) of every tile that a box (x1, y1, x2, y2) touches."""
    last = np.array([shape[1] - 1, shape[0] - 1])
    low, high = np.clip(box[:, :2] // UNIT, 0, last), np.clip(box[:, 2:] // UNIT, 0, last)
    wide, high_ = (high - low + 1).T
    area = wide * high_
    net = np.repeat(np.arange(len(box)), area)
    inside = np.arange(int(area.sum())) - np.repeat(np.cumsum(area) - area, area)
    return np.stack([net, low[net, 1] + inside // wide[net], low[net, 0] + inside % wide[net]])


def joined(
    graphs: Sequence[TileGraph], canvas: tuple[int, int], flips: tuple[bool, bool] = (False, False)
) -> tuple[Tensor, ...]:
    """Graphs of a batch as one, beside maps ``x[B, C, H, W]``: what ``eda.models.lattice`` reads after x.

    Tiles are numbered ``(placement * H + row) * W + column``; cells and nets go through the batch.

    Args:
        graphs: B placements.
        canvas: (H, W).
        flips: whether the maps are mirrored, padding included, along rows and along columns.

    Returns:
        ``cells`` [n, 3], ``nets`` [m, 4], ``pins`` [2, p] (cell, net), ``places`` [n] (tile of every cell), ``covers`` [2, e]
        (net, tile).
    """
    height, width = canvas
    cells = np.cumsum([0, *(len(g.cells) for g in graphs)])
    nets = np.cumsum([0, *(len(g.nets) for g in graphs)])

    def tiles(number: int, row: Index, column: Index) -> Index:
        row = height - 1 - row if flips[0] else row
        column = width - 1 - column if flips[1] else column
        made: Index = (number * height + row) * width + column
        return made

    def joint(parts: Sequence[np.ndarray], axis: int) -> Tensor:
        return torch.from_numpy(np.concatenate(parts, axis=axis))

    return (
        joint([g.cells for g in graphs], 0),
        joint([g.nets for g in graphs], 0),
        joint([g.pins + np.array([[cells[i]], [nets[i]]]) for i, g in enumerate(graphs)], 1),
        joint([tiles(i, *g.places) for i, g in enumerate(graphs)], 0),
        joint([np.stack([g.covers[0] + nets[i], tiles(i, *g.covers[1:])]) for i, g in enumerate(graphs)], 1),
    )
