"""Padded dense batches of architecture graphs: what small message passing networks read fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphnas.architecture import OUTPUT, Architecture, Node
from graphnas.encoding.forms import classes_of
from graphnas.encoding.vocabulary import PLACE, Kind, vocabulary_of
from graphnas.errors import GraphnasError
from graphnas.space import Space

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_NOTHING: Kind = ("", ())


@dataclass(frozen=True)
class DenseBatch:
    """B architecture graphs, padded to N vertices.

    The vertices of a batch are of few kinds (op with parameters), so their features are kept once, in ``table``: a
    first layer multiplies the T rows of the table by its weights and looks the B*N results up by ``kinds``.

    Attributes:
        kinds: ``[B, N]`` int64, the row of ``table`` for every vertex; 0 is padding.
        table: ``[T, K]`` float32, multi-hot of the tokens of each kind; row 0 is zero.
        adjacency: ``[B, N, N]`` float32, ``adjacency[b, v, u]`` = number of edges u -> v (row = receiver).
        mask: ``[B, N]`` bool, True for vertices, False for padding.
    """

    kinds: np.ndarray
    table: np.ndarray
    adjacency: np.ndarray
    mask: np.ndarray

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> DenseBatch:
        """The batch of these rows (a slice, indices or a boolean mask)."""
        return DenseBatch(self.kinds[rows], self.table, self.adjacency[rows], self.mask[rows])

    @property
    def tokens(self) -> np.ndarray:
        """Multi-hot features ``[B, N, K]`` (float32), zero for padding."""
        return np.asarray(self.table[self.kinds])

    def torch(self, device: torch.device | str | None = None) -> DenseTensors:
        """The same as tensors; on the CPU they share memory with this batch."""
        import torch

        arrays = (self.kinds, self.table, self.adjacency, self.mask)
        return DenseTensors(*[torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays])


@dataclass(frozen=True)
class DenseTensors:
    """A DenseBatch as tensors: ``kinds [B, N]``, ``table [T, K]``, ``adjacency [B, N, N]``, ``mask [B, N]``."""

    kinds: Tensor
    table: Tensor
    adjacency: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, rows: slice | Tensor) -> DenseTensors:
        """The batch of these rows."""
        return DenseTensors(self.kinds[rows], self.table, self.adjacency[rows], self.mask[rows])

    @property
    def tokens(self) -> Tensor:
        """Multi-hot features ``[B, N, K]``, zero for padding."""
        return self.table[self.kinds]


def encode_dense(
    space: Space, architectures: Sequence[Architecture], canonical: bool = True, nodes: int | None = None
) -> DenseBatch:
    """Architectures as one padded batch; vertices in the order of the (canonical) nodes.

    Where the semantics of the space give an op ordered inputs, a vertex "#place" stands on each of its incoming edges,
    so that the batch tells attention(q, k, v) from attention(k, q, v).

    Args:
        space: which tokens there are and what is equal.
        architectures: B architectures of the space.
        canonical: encode the canonical forms, so that equal architectures get equal rows; False keeps what is written.
        nodes: N; by default the greatest number of vertices in the batch.

    Raises:
        GraphnasError: an architecture has a token that the space does not have, or more than ``nodes`` vertices.
    """
    if not canonical:
        return _fill(space, architectures, nodes)
    forms, member = classes_of(space, architectures)
    return _fill(space, forms, nodes)[np.array(member, dtype=np.intp)]


def _fill(space: Space, architectures: Sequence[Architecture], nodes: int | None) -> DenseBatch:
    """Collect flat indices first, then fill each array at once."""
    kind_of: dict[Kind, int] = {_NOTHING: 0}
    kinds: list[int] = []
    sizes: list[int] = []
    edges: list[int] = []  # sources, vertex by vertex
    degrees: list[int] = []
    ordered_ops = space.semantics.ordered_ops
    for architecture in architectures:
        written = architecture.nodes
        if ordered_ops:
            written = _with_places(written, ordered_ops)
        for op, inputs, params in written:
            kind = op, params
            found = kind_of.get(kind)
            if found is None:
                found = kind_of[kind] = len(kind_of)
            kinds.append(found)
            edges += inputs
            degrees.append(len(inputs))
        sizes.append(len(written))
    del kind_of[_NOTHING]
    vocabulary = vocabulary_of(space)
    table = np.concatenate([np.zeros((1, len(vocabulary)), dtype=np.float32), vocabulary.table(list(kind_of))])

    widest = max(sizes, default=0)
    if nodes is None:
        nodes = widest
    elif widest > nodes:
        raise GraphnasError(f"an architecture has {widest} vertices, but nodes is {nodes}; raise nodes to {widest}")
    batch = len(sizes)
    mask = np.arange(nodes) < np.array(sizes, dtype=np.int64)[:, None]
    padded = np.zeros((batch, nodes), dtype=np.int64)
    padded[mask] = kinds
    adjacency = np.zeros((batch, nodes, nodes), dtype=np.float32)
    receiver = np.repeat(np.flatnonzero(mask), degrees)  # row of [B * N, N]
    np.add.at(adjacency.reshape(-1), receiver * nodes + np.array(edges, dtype=np.int64), np.float32(1))
    return DenseBatch(padded, table, adjacency, mask)


def _with_places(nodes: Sequence[Node], ordered_ops: frozenset[str]) -> tuple[Node, ...]:
    """The nodes with a vertex on each incoming edge of an ordered op."""
    made: list[Node] = []
    index: list[int] = []
    for op, inputs, params in nodes:
        sources = tuple([index[j] for j in inputs])
        if op in ordered_ops:
            first = len(made)
            made += [Node(PLACE, (source,), ((PLACE, place),)) for place, source in enumerate(sources)]
            sources = tuple(range(first, len(made)))
        index.append(len(made))
        made.append(Node(op, sources, params))
    return tuple(made)


def _without_places(nodes: Sequence[Node]) -> list[Node]:
    """The inverse of ``_with_places``."""
    made: list[Node] = []
    index: list[int] = []
    for i, (op, inputs, params) in enumerate(nodes):
        index.append(len(made))
        if op == PLACE:
            if len(inputs) != 1 or nodes[inputs[0]].op == PLACE:
                raise GraphnasError(
                    f"vertex {i} of a dense graph is the place of an input and needs exactly one edge to it"
                )
            continue
        places = [nodes[j].get(PLACE) for j in inputs if nodes[j].op == PLACE]
        if places:
            if sorted(places) != list(range(len(inputs))):
                raise GraphnasError(
                    f"vertex {i} ({op}) of a dense graph reads the places {places}; it needs each from 0 once"
                )
            inputs = tuple(nodes[j].inputs[0] for j in sorted(inputs, key=lambda j: nodes[j].get(PLACE)))
        made.append(Node(op, tuple(index[j] for j in inputs), params))
    return made


def decode_dense(batch: DenseBatch, space: Space) -> list[Architecture]:
    """The architectures of a batch: the inverse of ``encode_dense``.

    Inputs of an op without ordered inputs come back in ascending order, which is how canonical forms write them; an
    adjacency matrix cannot tell in which order they were.

    Raises:
        GraphnasError: an edge against the order of the vertices or to padding, a feature that is no node, or no output.
    """
    vocabulary = vocabulary_of(space)
    if batch.table.shape[1:] != (len(vocabulary),):
        raise GraphnasError(
            f"the batch has features of {batch.table.shape[-1]} tokens, but space {space.name!r} has {len(vocabulary)}"
        )
    kinds = [_NOTHING, *[vocabulary.kind(row) for row in batch.table[1:]]]
    counts = np.rint(batch.adjacency).astype(np.int64)
    absent = ~(batch.mask[:, :, None] & batch.mask[:, None, :])
    if np.any(np.triu(counts)) or np.any(counts < 0) or np.any(counts[absent]):
        raise GraphnasError(
            "the adjacency of a dense batch must be strictly lower triangular, with no edges to padding"
        )
    number, target, source = np.nonzero(counts)
    repeats = counts[number, target, source]
    inputs: list[list[list[int]]] = [[[] for _ in row] for row in batch.kinds]
    for b, v, u, count in zip(number.tolist(), target.tolist(), source.tolist(), repeats.tolist(), strict=True):
        inputs[b][v] += [u] * count
    result = []
    for b, row in enumerate(batch.kinds.tolist()):
        size = int(batch.mask[b].sum())
        nodes = [Node(kinds[k][0], tuple(inputs[b][v]), kinds[k][1]) for v, k in enumerate(row[:size])]
        if any(n.op == "" for n in nodes) or batch.mask[b, size:].any():
            raise GraphnasError(f"row {b} of the dense batch has padding among its vertices; put padding last")
        if not any(n.op == OUTPUT for n in nodes):
            raise GraphnasError(f"row {b} of the dense batch has no output vertex")
        result.append(Architecture(_without_places(nodes)))
    return result
