"""Counts of local structure: Weisfeiler-Lehman colours and a few scalars of a DAG."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.space import Space

_numbers: dict[Any, int] = {}
_MEMO_LIMIT = 500_000
MAX_PATHS = 1 << 53


def _number(signature: tuple[Any, ...]) -> int:
    """A 64-bit number for a signature, the same in every process."""
    found = _numbers.get(signature)
    if found is None:
        if len(_numbers) >= _MEMO_LIMIT:
            _numbers.clear()
        digest = hashlib.blake2b(repr(signature).encode(), digest_size=8).digest()
        found = _numbers[signature] = int.from_bytes(digest, "little", signed=True)
    return found


def colours(nodes: Sequence[Node], rounds: int, ordered_ops: frozenset[str] = frozenset()) -> list[list[int]]:
    """Weisfeiler-Lehman colours ``[rounds + 1][nodes]``: round 0 is the op with its parameters.

    A round hashes a node's colour with the colours of its inputs and of its readers (multisets; a sequence for
    the inputs of ``ordered_ops``), so edges keep their direction (Shervashidze et al., JMLR 2011, section 2, here for
    directed graphs). Colours are 64-bit integers that do not depend on the process.
    """
    readers: list[list[int]] = [[] for _ in nodes]
    for i, (_, inputs, _) in enumerate(nodes):
        for j in inputs:
            readers[j].append(i)
    # 1, 1.0 and True are equal as parameters, so they must look the same.
    current = [
        _number((op, tuple([(k, float(v) if isinstance(v, (bool, int)) else v) for k, v in params])))
        for op, _, params in nodes
    ]
    result = [current]
    for _ in range(rounds):
        after = []
        for i, (op, inputs, _) in enumerate(nodes):
            above = [current[j] for j in inputs]
            if op not in ordered_ops:
                above.sort()
            below = sorted([current[j] for j in readers[i]])
            after.append(_number((current[i], tuple(above), tuple(below))))
        current = after
        result.append(current)
    return result


def statistics_names(space: Space) -> tuple[str, ...]:
    """Names of the columns of ``statistics``."""
    ops = [op for op in vocabulary_of(space).ops if op != OUTPUT]
    return ("nodes", "edges", "paths", "longest_path", *(f"count:{op}" for op in ops), *(f"longest:{op}" for op in ops))


def statistics(space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """Scalars of each DAG as it is given, ``[n, S]`` (float64).

    Number of nodes, edges and input-output paths (at most 2^53), ops on the longest path (merge ops not counted);
    then for every op its count, and the most occurrences on one path to an output.
    """
    vocabulary = vocabulary_of(space)
    ops = [op for op in vocabulary.ops if op != OUTPUT]
    column = {op: i for i, op in enumerate(ops)}
    silent = space.semantics.merge_ops | {INPUT, OUTPUT}
    rows = np.zeros((len(architectures), 4 + 2 * len(ops)))
    for row, architecture in enumerate(architectures):
        nodes = architecture.nodes
        paths: list[int] = []
        depth: list[int] = []
        most: list[list[int]] = []
        count = [0] * len(ops)
        edges = 0
        for op, inputs, _ in nodes:
            edges += len(inputs)
            paths.append(1 if op == INPUT else sum([paths[j] for j in inputs]))
            depth.append(max([depth[j] for j in inputs], default=0) + (op not in silent))
            best = [max(values) for values in zip(*[most[j] for j in inputs], strict=True)] or [0] * len(ops)
            if op in column:
                count[column[op]] += 1
                best[column[op]] += 1
            most.append(best)
        ends = architecture.outputs
        total = min(sum(paths[i] for i in ends), MAX_PATHS)  # Python integers: it may exceed any float
        rows[row, :4] = len(nodes), edges, total, max(depth[i] for i in ends)
        rows[row, 4 : 4 + len(ops)] = count
        rows[row, 4 + len(ops) :] = np.max([most[i] for i in ends], axis=0)
    return rows
