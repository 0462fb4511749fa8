"""Seeded, stratified splits of labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnas.errors import GraphnasError

Rows = NDArray[np.int64]


def stratified_order(labels: NDArray[Any], rng: np.random.Generator) -> Rows:
    """A random order of all rows in which every prefix has nearly the class shares of the whole.

    The k-th of the n rows of a class gets the place (k + 1/2) / n; rows are sorted by place and ties are broken at
    random. A prefix that holds the share s of all rows therefore holds s * n of a class, rounded.

    Args:
        labels: class of each row, ``[N]``.
        rng: the source of the order.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((rng.random(len(labels)), place)).astype(np.int64)


def stratified_split(labels: NDArray[Any], shares: Sequence[float], rng: np.random.Generator) -> list[Rows]:
    """Disjoint sorted row indices, one array a share; together they are all rows.

    Args:
        labels: class of each row, ``[N]``.
        shares: parts of the whole, which add up to 1.
        rng: the source of the split.

    Raises:
        GraphnasError: a share is not positive, they do not add up to 1, or a part would be empty.
    """
    if any(share <= 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise GraphnasError(f"the shares of a split must be positive and add up to 1, but {list(shares)} are given")
    cuts = np.round(np.cumsum(shares)[:-1] * len(labels)).astype(int)
    parts = [np.sort(part) for part in np.split(stratified_order(labels, rng), cuts)]
    if any(len(part) == 0 for part in parts):
        raise GraphnasError(f"{len(labels)} rows are too few to be split into shares of {list(shares)}")
    return parts


def split_per_class(labels: NDArray[Any], counts: Sequence[int], rng: np.random.Generator) -> list[Rows]:
    """Fixed numbers of rows of every class, and the rest: sorted row indices, one array a count and one for the rest.

    The usual split of the Amazon and Coauthor graphs is ``counts=(20, 30)`` (Shchur et al., 2018, section 3).

    Args:
        labels: class of each row, ``[N]``.
        counts: rows of every class for the parts before the last.
        rng: the source of the split.

    Raises:
        GraphnasError: a class has too few rows to leave one for the rest.
    """
    parts: list[list[Rows]] = [[] for _ in range(len(counts) + 1)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label)).astype(np.int64)
        if len(members) <= sum(counts):
            raise GraphnasError(
                f"class {label} has {len(members)} rows, but a split of {list(counts)} a class and a rest needs more"
            )
        for part, piece in zip(parts, np.split(members, np.cumsum(counts)), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
