"""The network around a NAS-Bench-101 cell (Ying et al., ICML 2019, section 2 and figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphnas.architecture import INPUT, Architecture
from graphnas.tasks.base import Signature
from spaces.skeletons import Builder


def vertex_channels(inputs: int, outputs: int, matrix: np.ndarray) -> list[int]:
    """Channels of every vertex of a pruned cell ``matrix[v, v]``.

    The vertices that feed the output share its channels (the first ones take the remainder); every other vertex has the
    maximum of its successors, to which it is cut.
    """
    last = len(matrix) - 1
    channels = [0] * (last + 1)
    channels[0], channels[last] = inputs, outputs
    feeding = [v for v in range(1, last) if matrix[v, last]]
    for rank, v in enumerate(feeding):
        channels[v] = outputs // len(feeding) + (rank < outputs % len(feeding))
    for v in range(last - 1, 0, -1):
        if not matrix[v, last]:
            channels[v] = max(channels[t] for t in range(v + 1, last) if matrix[v, t])
    return channels


def build(matrix: np.ndarray, ops: Sequence[str], signature: Signature, *, channels: int, cells: int) -> Architecture:
    """Stem, three stacks of ``cells`` cells with max pooling and doubled channels between them, mean, classifier."""
    b = Builder()
    x = b.add(INPUT, name="x", shape=signature.input)
    x = b.add("conv_bn_relu", [x], channels=channels, kernel=3, name="stem")
    current = width = channels
    for stack in range(3):
        if stack:
            x = b.add("max_pool_2x2", [x], name=f"stack{stack + 1}.pool")
            width *= 2
        for cell in range(cells):
            x = _cell(b, matrix, ops, x, current, width, f"stack{stack + 1}.cell{cell + 1}")
            current = width
    x = b.add("global_average", [x], name="head.pool")
    return b.finish(b.add("linear", [x], features=signature.outputs, name="head.classifier"))


def _cell(b: Builder, matrix: np.ndarray, ops: Sequence[str], x: int, inputs: int, outputs: int, name: str) -> int:
    last = len(matrix) - 1
    channels = vertex_channels(inputs, outputs, matrix)
    value: dict[int, int] = {0: x}

    def projection(v: int) -> int:
        return b.add("conv_bn_relu", [x], channels=channels[v], kernel=1, name=f"{name}.projection{v}")

    for v in range(1, last):
        terms = []
        for u in range(1, v):
            if matrix[u, v]:
                cut = channels[u] > channels[v]
                terms.append(b.add("channel_slice", [value[u]], channels=channels[v]) if cut else value[u])
        if matrix[0, v]:
            terms.append(projection(v))
        total = terms[0] if len(terms) == 1 else b.add("sum", terms)
        value[v] = b.add(ops[v], [total], name=f"{name}.vertex{v}")
    joined = [value[v] for v in range(1, last) if matrix[v, last]]
    if not joined:
        return projection(last)
    result = joined[0] if len(joined) == 1 else b.add("concat", joined)
    return b.add("sum", [result, projection(last)]) if matrix[0, last] else result
