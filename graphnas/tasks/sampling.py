"""Neighbour sampling: small parts of a graph on which some of its nodes can be trained (Hamilton et al., 2017).

Written for numpy, as PyG's sampler needs a compiled extension (pyg-lib or torch-sparse) that is not on the package index.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array
from torch import Tensor

from graphnas.errors import GraphnasError

Nodes = NDArray[np.int64]
ALL = -1


class NeighbourSampler:
    """The incoming edges of a graph by their target (CSR), and samples of them.

    Args:
        edge_index: ``[2, E]``, messages go from row 0 to row 1; duplicates count as often as they are there.
        nodes: number of nodes.
    """

    def __init__(self, edge_index: Tensor, nodes: int) -> None:
        sources, targets = edge_index.numpy()
        ones = np.ones(len(targets), dtype=np.int8)
        by_target = csc_array((ones, targets, np.arange(len(targets) + 1)), shape=(nodes, len(targets))).tocsr()
        self.sources = sources[by_target.indices]  # scipy sorts by counting
        self.starts = by_target.indptr.astype(np.int64)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def sample(
        self, seeds: Tensor, neighbours: Sequence[int], rng: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """The nodes around ``seeds`` in as many hops as there are numbers, and the edges that were followed.

        In hop k, each node that hop k - 1 reached first takes ``neighbours[k]`` of its incoming edges, drawn without
        replacement, or all of them where it has no more or the number is -1. A network of as many layers as hops
        computes the seeds from the edges alone that were taken. With all neighbours its rows of the seeds, and their
        gradients, are those of the whole graph, if a layer reads the features of its neighbours only. Layers that
        also read the degrees of the neighbours need more hops for that, as the nodes of the last hop come without their
        incoming edges: GCN and ARMA one, ChebNet, which counts outgoing edges, two.

        Args:
            seeds: distinct nodes, ``[B]``.
            neighbours: for each hop, how many; -1 for all.
            rng: draws; may be None when every number is -1.

        Returns:
            the nodes ``[n]``, seeds first, and ``edge_index[2, e]``, counted within them.
        """
        frontier: Nodes = seeds.numpy()
        place = np.full(len(self), -1)  # of a node among those found
        place[frontier] = np.arange(len(frontier))
        found, edges, count = [frontier], [], len(frontier)
        for number in neighbours:
            columns, targets = self._incoming(frontier, number, rng)
            sources = self.sources[columns]
            edges.append(np.stack([sources, targets]))
            new = sources[place[sources] < 0]
            place[new] = np.arange(len(new))  # of several equal ones, the last is written
            frontier = new[place[new] == np.arange(len(new))]
            place[frontier] = np.arange(count, count + len(frontier))
            count += len(frontier)
            found.append(frontier)
        local = place[np.concatenate(edges, axis=1)]
        return torch.from_numpy(np.concatenate(found)), torch.from_numpy(local)

    def _incoming(self, nodes: Nodes, count: int, rng: np.random.Generator | None) -> tuple[Nodes, Nodes]:
        """Places of the edges that are taken, and their targets."""
        first = self.starts[nodes]
        degree = self.starts[nodes + 1] - first
        if count == ALL or not bool((degree > count).any()):
            return _ranges(first, degree), np.repeat(nodes, degree)
        assert rng is not None, "numbers of neighbours other than -1 need a generator"
        few = degree <= count
        drawn = first[~few, None] + _subsets(degree[~few], count, rng)
        columns = np.concatenate([_ranges(first[few], degree[few]), drawn.ravel()])
        return columns, np.concatenate([np.repeat(nodes[few], degree[few]), np.repeat(nodes[~few], count)])


def _ranges(starts: Nodes, counts: Nodes) -> Nodes:
    skipped = starts - (np.cumsum(counts) - counts)
    numbers: Nodes = np.arange(int(counts.sum())) + np.repeat(skipped, counts)
    return numbers


def _subsets(sizes: Nodes, count: int, rng: np.random.Generator) -> Nodes:
    """For each size n > count a uniform subset of {0, ..., n - 1} with ``count`` members, ``[len(sizes), count]``.

    Floyd's algorithm for all rows at once: member j is a random number up to n - count + j, or that number itself
    if the random one is taken (Bentley & Floyd, 1987).
    """
    chosen = np.empty((len(sizes), count), dtype=np.int64)
    for j in range(count):
        last = sizes - count + j
        candidate = rng.integers(last + 1)
        taken = (chosen[:, :j] == candidate[:, None]).any(axis=1)
        chosen[:, j] = np.where(taken, last, candidate)
    return chosen


def check_neighbours(neighbours: Sequence[int], *batches: int | None) -> tuple[int, ...]:
    """Numbers of neighbours, if they and the sizes of batches make sense.

    Raises:
        GraphnasError: they do not.
    """
    for batch in batches:
        if batch is not None and batch < 1:
            raise GraphnasError(f"a batch has {batch} nodes; it must have at least 1, or be None for the whole graph")
    if not neighbours or any(count != ALL and count < 1 for count in neighbours):
        raise GraphnasError(f"the neighbours are {list(neighbours)}; give at least 1, or -1 for all, for each hop")
    return tuple(neighbours)
