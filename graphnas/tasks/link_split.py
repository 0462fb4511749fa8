"""Links of a graph as pairs of nodes: splits, and pairs that are no links, drawn uniformly without rejection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnas.errors import GraphnasError

Ranks = NDArray[np.int64]
"""Unordered pairs i < j of nodes as numbers, j (j - 1) / 2 + i, which runs from 0 to n (n - 1) / 2 - 1 for n nodes."""


def ranks_of(pairs: Tensor) -> Ranks:
    """Numbers of the distinct unordered pairs ``[2, E]``, sorted; pairs of a node with itself are left out."""
    ends = pairs.numpy()
    ends = ends[:, ends[0] != ends[1]]
    low, high = ends.min(axis=0), ends.max(axis=0)
    return np.unique(high * (high - 1) // 2 + low)


def pairs_of(ranks: Ranks) -> Tensor:
    """The pairs i < j of these numbers, ``[2, E]``."""
    high = ((1 + np.sqrt(1 + 8 * ranks.astype(np.float64))) // 2).astype(np.int64)
    high -= high * (high - 1) // 2 > ranks  # the root may be off by one
    high += high * (high + 1) // 2 <= ranks
    return torch.from_numpy(np.stack([ranks - high * (high - 1) // 2, high]))


def both_ways(ranks: Ranks) -> Tensor:
    """An ``edge_index[2, 2E]`` with either direction of every pair."""
    pairs = pairs_of(ranks)
    return torch.cat([pairs, pairs.flip(0)], dim=1)


def split_links(links: Ranks, shares: Sequence[float], rng: np.random.Generator) -> list[Ranks]:
    """Disjoint train, validation and test links; the last two have their share of all, rounded down.

    These are the sizes of PyG's ``RandomLinkSplit`` and of Kipf & Welling (2016, section 3).

    Raises:
        GraphnasError: a share is not positive, they do not add up to 1, or a part would be empty.
    """
    if len(shares) != 3 or any(share <= 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise GraphnasError(f"the shares of a split must be three, positive, and add up to 1, not {list(shares)}")
    validation, test = (int(share * len(links)) for share in shares[1:])
    train = len(links) - validation - test
    if min(train, validation, test) < 1:
        raise GraphnasError(f"{len(links)} links are too few to be split into shares of {list(shares)}")
    order = rng.permutation(links)
    return [np.sort(part) for part in np.split(order, [train, train + validation])]


def draw_non_links(links: Ranks, nodes: int, count: int, rng: np.random.Generator) -> Ranks:
    """Distinct pairs that are not among ``links`` (sorted), in random order, each set of ``count`` equally likely.

    The k-th pair that is no link is k plus the number of links before it, so none has to be rejected, however dense
    the graph is.

    Raises:
        GraphnasError: there are fewer than ``count``.
    """
    free = nodes * (nodes - 1) // 2 - len(links)
    if count > free:
        raise GraphnasError(f"{count} pairs without a link are needed, but the graph has only {free}; use fewer links")
    chosen = rng.choice(free, count, replace=False)
    return chosen + np.searchsorted(links - np.arange(len(links)), chosen, side="right")
