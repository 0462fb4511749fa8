"""Speed and exactness of the graph core: canonical keys, dense encodings, and the known sizes of two benchmark spaces.

    python benchmarks/graphs.py                  # seconds
    python benchmarks/graphs.py --nasbench101    # additionally counts all 423,624 cells of NAS-Bench-101: minutes

Times are CPU seconds of one core, the median of five runs in one process, each with fresh memos.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import graphnas.canonical
import graphnas.encoding.forms
from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics, key
from graphnas.encoding import encode_dense
from spaces import nasbench101, nasbench201

RUNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nasbench101", action="store_true", help="count all cells of NAS-Bench-101 (minutes)")
    arguments = parser.parse_args()
    print(f"{'NAS-Bench-201, all 15,625 cells':<52}{'CPU s':>9}{'target':>9}")
    for name, target, run in timings():
        print(f"{name:<52}{median_seconds(run):>9.3f}{target:>9}", flush=True)
    print(f"\n{'NAS-Bench-201, classes of cells':<52}{'counted':>9}{'known':>9}")
    for name, known, count in counts():
        row(name, count(), known)
    if arguments.nasbench101:
        print(f"\n{'NAS-Bench-101, cells by vertices':<52}{'counted':>9}{'known':>9}{'CPU s':>9}")
        total, start = 0, time.process_time()
        for vertices, known in enumerate((1, 6, 84, 2_441, 62_010, 359_082), start=2):
            begin = time.process_time()
            counted = count_cells(vertices)
            total += counted
            row(f"{vertices} vertices", counted, known, f"{time.process_time() - begin:>9.1f}")
        row("all", total, nasbench101.COUNT, f"{time.process_time() - start:>9.1f}")


def row(name: str, counted: int, known: int, rest: str = "") -> None:
    print(f"{name:<52}{counted:>9}{known:>9}{rest}{'' if counted == known else '  DIFFERENT'}", flush=True)


def cells() -> list[Architecture]:
    """All cells of NAS-Bench-201, of a Space without memos; the nodes are not built yet."""
    nasbench201.space.cache_clear()
    graphnas.canonical.clear_expressions()
    graphnas.encoding.forms._forms.clear()
    return list(nasbench201.space().enumerate())


def timings() -> Iterator[tuple[str, str, Callable[[list[Architecture]], object]]]:
    yield "canonical keys", "< 0.8", lambda a: [nasbench201.space().key(x) for x in a]
    yield "dense batch as written", "< 0.3", lambda a: encode_dense(nasbench201.space(), a, canonical=False)
    yield "dense batch of canonical forms", "< 1.5", lambda a: encode_dense(nasbench201.space(), a)


def median_seconds(run: Callable[[list[Architecture]], object]) -> float:
    seconds = []
    for _ in range(RUNS):
        fresh = cells()
        start = time.process_time()
        run(fresh)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def counts() -> Iterator[tuple[str, int, Callable[[], int]]]:
    space = nasbench201.space()
    expressions = Semantics(space.semantics.zero_ops, space.semantics.identity_ops, share=True)

    def classes(name: Callable[[Architecture], object]) -> Callable[[], int]:
        return lambda: len({name(a) for a in space.enumerate()})

    yield "as written", 15_625, classes(lambda a: a)
    yield (
        "unique_string(keep_zero=False)",
        12_751,
        classes(lambda a: nasbench201.unique_string(a, keep_zero=False)),
    )
    yield "unique_string(keep_zero=True)", 6_466, classes(lambda a: nasbench201.unique_string(a, keep_zero=True))
    yield "the space's own key", 6_334, classes(space.key)
    yield "Semantics(zeros, identities, share=True)", 5_773, classes(lambda a: key(a.nodes, expressions))


def count_cells(vertices: int) -> int:
    """Number of NAS-Bench-101 cells with exactly this many vertices, all of them on a path from input to output.

    Graphs are enumerated without labels first; one of each isomorphism class then gets all labels.
    """
    distinct: dict[str, np.ndarray] = {}
    for matrix in full_matrices(vertices):
        distinct.setdefault(cell_key(matrix, nasbench101.OPS[:1] * (vertices - 2)), matrix)
    labels = list(product(nasbench101.OPS, repeat=vertices - 2))
    return sum(len({cell_key(matrix, ops) for ops in labels}) for matrix in distinct.values())


def full_matrices(vertices: int) -> Iterator[np.ndarray]:
    """All upper triangular 0/1 matrices ``[v, v]`` of at most nine edges with every vertex on an input-output path."""
    pairs = [(i, j) for j in range(1, vertices) for i in range(j)]
    codes = np.arange(1 << len(pairs), dtype=np.int64)
    bits = (codes[:, None] >> np.arange(len(pairs))) & 1
    keep = bits.sum(axis=1) <= nasbench101.MAX_EDGES
    # Sorted vertices: reading something means being reached from vertex 0, being read means reaching the last.
    for v in range(vertices):
        if v > 0:
            keep &= bits[:, [k for k, (_, j) in enumerate(pairs) if j == v]].any(axis=1)
        if v < vertices - 1:
            keep &= bits[:, [k for k, (i, _) in enumerate(pairs) if i == v]].any(axis=1)
    source, target = np.array(pairs).T
    for chosen in bits[keep]:
        matrix = np.zeros((vertices, vertices), dtype=np.int8)
        matrix[source, target] = chosen
        yield matrix


def cell_key(matrix: np.ndarray, ops: tuple[str, ...]) -> str:
    """The key of ``spaces.nasbench101.from_matrix(matrix, ("input", *ops, "output"))``, without the space's checks."""
    nodes: list[Node] = [node("input")]
    value = [0]
    for v, column in enumerate(matrix.T.tolist()[1:], start=1):
        last = v == len(matrix) - 1
        nodes.append(Node("concat" if last else "sum", tuple([value[u] for u in range(v) if column[u]])))
        nodes.append(Node("output" if last else ops[v - 1], (len(nodes) - 1,)))
        value.append(len(nodes) - 1)
    return key(nodes, nasbench101.SEMANTICS)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
