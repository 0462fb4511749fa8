"""Path lengths and means over paths, by dynamic programming along the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from graphnas.architecture import INPUT, Architecture, Node

MAX_OPS = 24


def path_count(nodes: Sequence[Node]) -> int:
    """Number of paths from an input to an output; parallel edges are different paths."""
    return sum(paths for (op, _, _), paths in zip(nodes, _paths(nodes), strict=True) if op == "output")


def _paths(nodes: Sequence[Node]) -> list[int]:
    """For every node the number of paths from an input to it."""
    counts: list[int] = []
    for op, inputs, _ in nodes:
        counts.append(1 if op == INPUT else sum([counts[j] for j in inputs]))
    return counts


def distances(nodes: Sequence[Node], silent: frozenset[str]) -> tuple[list[int], list[int]]:
    """For every node the most nodes that are not ``silent`` on a path that ends in it, and that begins after it."""
    depths: list[int] = []
    for op, inputs, _ in nodes:
        depths.append(max([depths[j] for j in inputs], default=0) + (op not in silent))
    heights = [0] * len(nodes)
    for i in range(len(nodes) - 1, -1, -1):
        op, inputs, _ = nodes[i]
        for j in inputs:
            heights[j] = max(heights[j], heights[i] + (op not in silent))
    return depths, heights


def longest_by_pairs(architectures: Sequence[Architecture], ops: Sequence[str]) -> np.ndarray:
    """Longest, then shortest path to the last output when only some ops count, ``[n, 2 * (pairs + 1)]`` (float64).

    A column for each pair of ops, and one for all of them; no pairs where there are more than 24 ops.
    """
    pairs = list(combinations(range(len(ops)), 2)) if len(ops) <= MAX_OPS else []
    steps = {op: np.array([i in pair for pair in pairs] + [True], dtype=np.float64) for i, op in enumerate(ops)}
    width = len(pairs) + 1
    nothing = np.zeros((2, width))
    signs = np.array([[1.0], [-1.0]])  # the shortest path is the longest one with signs changed
    rows = np.zeros((len(architectures), 2, width))
    for row, architecture in enumerate(architectures):
        reached: list[np.ndarray] = []
        for op, inputs, _ in architecture.nodes:
            if not inputs:
                best = nothing
            else:
                best = reached[inputs[0]]
                for j in inputs[1:]:
                    best = np.maximum(best, reached[j])
            reached.append(best + signs * steps[op] if op in steps else best)
        rows[row] = reached[architecture.outputs[-1]]
    return np.reshape(rows * signs, (len(architectures), 2 * width))


def occurrences(
    architectures: Sequence[Architecture], width: int, columns: Callable[[Node], Sequence[int]]
) -> np.ndarray:
    """How often each of ``width`` columns occurs on an input-output path to the last output, in the mean over paths.

    ``columns(node)`` says which columns a node counts for; the result is ``[n, width]`` (float64).
    """
    rows = np.zeros((len(architectures), width))
    for row, architecture in enumerate(architectures):
        nodes = architecture.nodes
        counts = _paths(nodes)
        means: list[dict[int, float]] = []
        for i, n in enumerate(nodes):
            mean: dict[int, float] = {}
            if counts[i]:
                for j in n.inputs:
                    share = counts[j] / counts[i]
                    for column, value in means[j].items():
                        mean[column] = mean.get(column, 0.0) + share * value
            for column in columns(n):
                mean[column] = mean.get(column, 0.0) + 1.0
            means.append(mean)
        found = means[architecture.outputs[-1]]
        rows[row, list(found)] = list(found.values())
    return rows
