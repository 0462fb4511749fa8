"""Colour refinement: vertices that a message passing network cannot tell apart are worked out once.

After l layers the features of a vertex depend on its own features and those of its neighbours after l - 1 layers, and on
nothing else. Vertices that agree in both have one colour (Weisfeiler & Leman, 1968), and the colours of a set of small
architecture graphs are few at first: the 51,339 vertices of NAS-Bench-201 have 6, 256, 13,953, 46,614 and 50,754 colours after
0 to 4 layers. A network that computes colours instead of vertices gives the same numbers, for less work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnas.encoding.dense import DenseBatch

_MOST = 2**62


@dataclass(frozen=True)
class Mixing:
    """A sparse matrix ``[rows, columns]`` whose product with a dense one is differentiable in the dense one.

    Attributes:
        starts: ``[rows + 1]`` int64, where each row begins in ``indices``.
        indices: ``[entries]`` int64, columns; one column may occur several times in a row.
        weights: ``[entries]`` float32.
        columns: how many.
    """

    starts: np.ndarray
    indices: np.ndarray
    weights: np.ndarray
    columns: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, chosen: np.ndarray) -> Mixing:
        """The matrix of these rows."""
        starts, entries = _entries(self.starts, chosen)
        return Mixing(starts, self.indices[entries], self.weights[entries], self.columns)

    def renamed(self, indices: np.ndarray, columns: int) -> Mixing:
        """The same entries in other columns."""
        return Mixing(self.starts, indices, self.weights, columns)

    @cached_property
    def transposed(self) -> Mixing:
        """The transpose, which carries gradients back."""
        from scipy.sparse import csr_array

        shape = len(self), self.columns
        columns = csr_array((self.weights, self.indices, self.starts), shape=shape).tocsc()
        return Mixing(columns.indptr.astype(np.int64), columns.indices.astype(np.int64), columns.data, len(self))

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        arrays = self.indices, self.starts, self.weights
        indices, starts, weights = (torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)
        return indices, starts, weights

    def apply(self, dense: Tensor) -> Tensor:
        """The product with ``[columns, D]``, without a gradient."""
        indices, starts, weights = self._tensors
        weights = weights.to(dense.dtype)
        found = torch.embedding_bag(
            dense, indices, starts, mode=0, per_sample_weights=weights, include_last_offset=True
        )
        return found[0]

    def __matmul__(self, dense: Tensor) -> Tensor:
        product: Tensor = _Product.apply(dense, self)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    """A sparse matrix times a dense one; both ways by ``embedding_bag``, torch's fastest sparse product on the CPU."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: Mixing) -> Tensor:
        ctx.matrix = matrix
        return matrix.apply(dense.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.transposed.apply(gradient.contiguous()), None


@dataclass(frozen=True)
class Layer:
    """One round of colouring: what each of the m new colours is made of.

    Attributes:
        own: ``[m, n]``, the former colour of the same vertex.
        messages: ``[m, S * n]``, the former colours of neighbours (and of the vertex itself); column ``S * c + s`` is colour c
            on side s (0: against the edges, 1: along them, where S = 2).
    """

    own: Mixing
    messages: Mixing


@dataclass(frozen=True)
class ColourGraphs:
    """B graphs as colours.

    Attributes:
        kinds: ``[n]`` int64, the row of ``table`` for every first colour.
        table: ``[T, K]`` float32, the features of the kinds of vertices.
        layers: the rounds; ``layers[l].own.columns`` colours are there after l layers.
        readout: ``[B, n]``, the mean over the vertices of a graph by their last colours.
    """

    kinds: np.ndarray
    table: np.ndarray
    layers: tuple[Layer, ...]
    readout: Mixing

    def __len__(self) -> int:
        return len(self.readout)

    @cached_property
    def features(self) -> Tensor:
        """The features ``[n, K]`` of the first colours."""
        return torch.from_numpy(self.table[self.kinds])

    def __getitem__(self, rows: np.ndarray) -> ColourGraphs:
        """The graphs of these rows, with the colours that they need and no others."""
        readout = self.readout.rows(rows)
        used, names = np.unique(readout.indices, return_inverse=True)
        readout = readout.renamed(names, len(used))
        layers = []
        for layer in reversed(self.layers):
            own, messages = layer.own.rows(used), layer.messages.rows(used)
            sides = layer.messages.columns // layer.own.columns
            every = np.concatenate([own.indices, messages.indices // sides])
            used, names = np.unique(every, return_inverse=True)
            n, m = len(used), len(own.indices)
            side = messages.indices % sides
            layers.append(Layer(own.renamed(names[:m], n), messages.renamed(sides * names[m:] + side, sides * n)))
        return ColourGraphs(self.kinds[used], self.table, tuple(reversed(layers)), readout)


def colour(
    batch: DenseBatch,
    rounds: int,
    both: bool = True,
    normalise: bool = True,
    padding: bool = False,
    loops: bool = True,
) -> ColourGraphs:
    """The colours of a batch after each of ``rounds`` layers.

    Args:
        batch: B graphs.
        rounds: number of layers.
        both: messages from successors too, on a side of their own.
        normalise: the weights of a message (the vertex itself included) sum to 1; otherwise each edge has weight 1.
        padding: padding counts as vertices without edges (the published readout of CTNAS averages over it).
        loops: every vertex sends messages to itself too.
    """
    size = batch.kinds.shape[1]
    present = np.flatnonzero(batch.mask.reshape(-1) | padding)
    place = np.empty(batch.mask.size, dtype=np.int64)
    place[present] = np.arange(len(present))
    graph, target, source = np.nonzero(batch.adjacency)
    repeats = batch.adjacency[graph, target, source].astype(np.int64)
    source, target = (np.repeat(place[graph * size + end], repeats) for end in (source, target))
    ends = [(target, source), (source, target)] if both else [(target, source)]
    neighbours = [_neighbours(at, of, len(present)) for at, of in ends]
    mixing = _messages(neighbours, normalise, loops)

    kinds, colours = np.unique(batch.kinds.reshape(-1)[present], return_inverse=True)
    count, layers = len(kinds), []
    for _ in range(rounds):
        columns = [colours]
        for _, table in neighbours:
            near = np.where(table < 0, -1, colours[table])
            near.sort(axis=1)
            columns += list(near.T)
        first, new = _distinct(columns, count)
        messages = mixing.rows(first)
        sides = len(neighbours)
        indices = sides * colours[messages.indices // sides] + messages.indices % sides
        own = Mixing(np.arange(len(first) + 1), colours[first], np.ones(len(first), dtype=np.float32), count)
        layers.append(Layer(own, messages.renamed(indices, sides * count)))
        colours, count = new, len(first)
    sizes = np.bincount(present // size, minlength=len(batch))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    weights = np.repeat(1 / np.maximum(sizes, 1), sizes).astype(np.float32)
    return ColourGraphs(kinds, batch.table, tuple(layers), Mixing(starts, colours, weights, count))


def _neighbours(at: np.ndarray, of: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Degrees ``[V]`` and neighbours ``[V, widest]``, -1 where there are no more."""
    degrees = np.bincount(at, minlength=count)
    order = np.argsort(at, kind="stable")
    table = np.full((count, int(degrees.max(initial=0))), -1, dtype=np.int64)
    table[np.arange(table.shape[1]) < degrees[:, None]] = of[order]
    return degrees, table


def _messages(neighbours: Sequence[tuple[np.ndarray, np.ndarray]], normalise: bool, loops: bool) -> Mixing:
    """The neighbours on each side, and the vertex itself with ``loops``: ``[V, S * V]``."""
    count, sides = len(neighbours[0][0]), len(neighbours)
    blocks, weights = [], []
    for side, (degrees, table) in enumerate(neighbours):
        vertices = np.concatenate([np.arange(count)[:, None], table], axis=1) if loops else table
        blocks.append(np.where(vertices < 0, -1, sides * vertices + side))
        weight = 1 / np.maximum(degrees + loops, 1) if normalise else np.ones(count)
        weights.append(np.broadcast_to(weight[:, None], vertices.shape))
    indices, values = np.concatenate(blocks, axis=1), np.concatenate(weights, axis=1)
    real = indices >= 0
    starts = np.concatenate([[0], np.cumsum(real.sum(1))])
    return Mixing(starts, indices[real], values[real].astype(np.float32), sides * count)


def _distinct(columns: Sequence[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first of each distinct row, and the number of its own for every row; entries are from -1 to ``count - 1``."""
    base = count + 1
    found, span = columns[0], base
    for column in columns[1:]:
        if span * base > _MOST:
            values, found = np.unique(found, return_inverse=True)
            span = len(values)
        found = found * base + (column + 1)
        span *= base
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    return first, number


def _entries(starts: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts of the chosen rows when they stand alone, and the places of their entries."""
    sizes = starts[chosen + 1] - starts[chosen]
    ends = np.cumsum(sizes)
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts[chosen] - (ends - sizes), sizes)
    return np.concatenate([[0], ends]), places
