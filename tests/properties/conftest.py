"""An independent judge of isomorphism, and random DAGs to judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from graphnas.architecture import Architecture, Node

Certificate = Callable[..., Any]
RandomDag = Callable[..., Architecture]


def nauty_certificate(nodes: Sequence[Any], ordered_ops: frozenset[str] = frozenset()) -> Any:
    """A value that is equal exactly for isomorphic DAGs, by nauty (McKay & Piperno, 2014).

    Every input slot becomes two vertices of different colours on the way from source to target, so that parallel edges
    count and the undirected graph (which nauty refines faster) knows the direction; they are coloured by their place if
    the op has places. Nodes are coloured by op and parameters.
    """
    import pynauty

    colours: list[str] = [repr((op, params)) for op, _, params in nodes]
    arcs: dict[int, list[int]] = {}
    for target, (op, inputs, _) in enumerate(nodes):
        for place, source in enumerate(inputs):
            slot = len(colours)
            kind = place if op in ordered_ops else "any"
            colours += [f"from {kind}", f"to {kind}"]
            arcs[slot] = [source, slot + 1]
            arcs[slot + 1] = [target]
    names = sorted(set(colours))
    classes = [{v for v, colour in enumerate(colours) if colour == name} for name in names]
    graph = pynauty.Graph(len(colours), directed=False, adjacency_dict=arcs, vertex_coloring=classes)
    sizes = tuple((name, len(members)) for name, members in zip(names, classes, strict=True))
    return sizes, pynauty.certificate(graph)


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    pytest.importorskip("pynauty", reason="pynauty, the oracle of these tests, is not installed")
    return nauty_certificate


def make_dag(
    rng: np.random.Generator, inner: int, ops: Sequence[str], widest: int = 3, inputs: int = 1
) -> Architecture:
    """Random inputs for ``inner`` nodes (repeats allowed), then one output that reads up to ``widest`` nodes."""
    nodes = [Node("input", (), (("name", f"x{i}"),)) for i in range(inputs)]
    for i in range(inputs, inputs + inner):
        sources = rng.integers(0, i, size=rng.integers(1, widest + 1)).tolist()
        nodes.append(Node(ops[int(rng.integers(len(ops)))], tuple(sources)))
    last = len(nodes)
    nodes.append(Node("output", tuple(sorted({last - 1, *rng.integers(0, last, size=widest - 1).tolist()}))))
    return Architecture(nodes)


@pytest.fixture(scope="session")
def random_dag() -> RandomDag:
    return make_dag
