"""Flat encodings: one fixed-length vector for each architecture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.dense import encode_dense
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.space import Space


def one_hot(space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """One-hot decisions ``[n, sum(radices)]`` (float32), one block for each Choice in the order of ``space.choices``.

    Raises:
        GraphnasError: an architecture that is no member of the space.
    """
    decisions = np.array([space.encode(a) for a in architectures], dtype=np.int64).reshape(-1, len(space.radices))
    first = np.concatenate([[0], np.cumsum(space.radices)]).astype(np.int64)
    encoded = np.zeros((len(decisions), first[-1]), dtype=np.float32)
    np.put_along_axis(encoded, decisions + first[:-1], 1.0, axis=1)
    return encoded


def adjacency_encoding(
    space: Space, architectures: Sequence[Architecture], canonical: bool = True, nodes: int | None = None
) -> np.ndarray:
    """Edges and ops as one vector ``[n, N(N-1)/2 + N*K]`` (float32).

    First the number of edges u -> v for v = 1..N-1 and u = 0..v-1, then the multi-hot tokens of each vertex
    (White et al., NeurIPS 2020, section 3: the one-hot adjacency matrix encoding, over the vertices in their order).

    Args:
        space: which tokens there are and what is equal.
        architectures: n architectures.
        canonical: encode the canonical forms.
        nodes: N; by default the same for all architectures of the space (the vocabulary's ``max_nodes``).

    Raises:
        GraphnasError: a token that the space does not have, or more than ``nodes`` vertices.
    """
    batch = encode_dense(space, architectures, canonical, vocabulary_of(space).max_nodes if nodes is None else nodes)
    size = batch.adjacency.shape[1]
    target, source = np.tril_indices(size, -1)
    edges = batch.adjacency[:, target, source]
    return np.concatenate([edges, batch.tokens.reshape(len(batch), -1)], axis=1)
