"""Canonical labelling of labelled DAGs by colour refinement with individualisation (McKay & Piperno, 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphnas.semantics import Plain

_labels: dict[tuple[Any, ...], str] = {}


def label_of(op: str, params: tuple[Any, ...]) -> str:
    """A text for an op with its parameters; equal texts mean equal pairs."""
    if not params:
        return op
    found = _labels.get((op, params))
    if found is None:
        found = op + repr(_plain(params))
        if len(_labels) < 100_000:
            _labels[op, params] = found
    return found


def _plain(value: Any) -> Any:
    """The value with 1.0 and True written as 1: they are equal, so their text must be equal too."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return value


class Leaf:
    """A discrete colouring: the rank of every vertex, how it was reached, and the graph written in its order."""

    __slots__ = ("code", "path", "rank")

    def __init__(self, rank: list[int], path: tuple[int, ...], code: Any) -> None:
        self.rank = rank
        self.path = path
        self.code = code


class Graph:
    """A labelled DAG prepared for canonical labelling.

    Twins (same label, same inputs, same consumers) are merged into one vertex with a multiplicity first:
    they are interchangeable, and without them most cells need no search at all. An ordered input becomes
    a vertex of its own that carries the place.
    """

    def __init__(self, nodes: Sequence[Plain], ordered_ops: frozenset[str]) -> None:
        labels: list[str] = []
        sources: list[list[int]] = []
        targets: list[list[int]] = []
        self.original: list[int] = []
        vertex: list[int] = []
        for i, (op, inputs, params) in enumerate(nodes):
            if ordered_ops and op in ordered_ops:
                slots = []
                for place, j in enumerate(inputs):
                    slots.append(len(labels))
                    targets[vertex[j]].append(len(labels))
                    labels.append(f"#{place}")
                    sources.append([vertex[j]])
                    targets.append([])
                    self.original.append(-1)
                inner = slots
            else:
                inner = sorted([vertex[j] for j in inputs])
            me = len(labels)
            vertex.append(me)
            for s in inner:
                targets[s].append(me)
            labels.append(label_of(op, params) if params else op)
            sources.append(inner)
            targets.append([])
            self.original.append(i)
        self._merge_twins(labels, sources, targets)

    def _merge_twins(self, labels: list[str], sources: list[list[int]], targets: list[list[int]]) -> None:
        classes: dict[tuple[Any, ...], int] = {}
        first: list[int] = []
        count: list[int] = []
        where: list[int] = []
        for v, label in enumerate(labels):
            signature = (label, tuple(sources[v]), tuple(targets[v]))
            found = classes.setdefault(signature, len(first))
            if found == len(first):
                first.append(v)
                count.append(0)
            count[found] += 1
            where.append(found)
        self.members: list[list[int]] = [[v] for v in first]
        if len(first) == len(labels):
            self.labels = labels
            self.sources = sources
            self.targets = targets
            return
        self.members = [[] for _ in first]
        for v, c in enumerate(where):
            self.members[c].append(v)
        self.labels = [labels[v] if count[c] == 1 else f"{labels[v]}*{count[c]}" for c, v in enumerate(first)]
        # Each class is listed once among its neighbours: its multiplicity stands in its label.
        chosen = set(first)
        self.sources = [[where[u] for u in sources[v] if u in chosen] for v in first]
        self.targets = [[where[u] for u in targets[v] if u in chosen] for v in first]

    def canonical_leaf(self) -> Leaf:
        """The discrete colouring whose code is least, found by refinement and individualisation."""
        n = len(self.labels)
        depth = [0] * n
        for v, sources in enumerate(self.sources):
            if sources:
                depth[v] = 1 + max([depth[u] for u in sources])
        height = [0] * n
        for v in range(n - 1, -1, -1):
            targets = self.targets[v]
            if targets:
                height[v] = 1 + max([height[u] for u in targets])
        start = list(zip(depth, self.labels, height, strict=True))
        rank, cells = self._ranks(start)
        rank, cells = self._refine(rank, cells)
        if cells == n:
            return Leaf(rank, (), None)
        return self._search(rank)

    @staticmethod
    def _ranks(signatures: list[Any]) -> tuple[list[int], int]:
        distinct = sorted(set(signatures))
        table = {s: i for i, s in enumerate(distinct)}
        return [table[s] for s in signatures], len(distinct)

    def _refine(self, rank: list[int], cells: int) -> tuple[list[int], int]:
        """Colour refinement over both edge directions until nothing splits any more."""
        n = len(rank)
        sources, targets = self.sources, self.targets
        while cells < n:
            signatures = [
                (rank[v], sorted([rank[u] for u in sources[v]]), sorted([rank[u] for u in targets[v]]))
                for v in range(n)
            ]
            distinct: list[Any] = []
            for s in sorted(signatures):
                if not distinct or distinct[-1] != s:
                    distinct.append(s)
            if len(distinct) == cells:
                return rank, cells
            cells = len(distinct)
            table = {(s[0], tuple(s[1]), tuple(s[2])): i for i, s in enumerate(distinct)}
            rank = [table[s[0], tuple(s[1]), tuple(s[2])] for s in signatures]
        return rank, cells

    def _search(self, rank: list[int]) -> Leaf:
        """Depth-first search for the least leaf; subtrees that an automorphism maps to an earlier one are left."""
        n = len(rank)
        first: Leaf | None = None
        best: Leaf | None = None

        def explore(rank: list[int], path: tuple[int, ...]) -> int:
            """Visit the subtree; returns the level to jump back to (len(path) when finished normally)."""
            nonlocal first, best
            groups: dict[int, list[int]] = {}
            for v, r in enumerate(rank):
                groups.setdefault(r, []).append(v)
            if len(groups) == n:
                leaf = Leaf(rank, path, self._code(rank))
                if first is None or best is None:
                    first = best = leaf
                    return len(path)
                for known in (first, best):
                    if known.code == leaf.code:
                        common = 0
                        while known.path[common] == path[common]:
                            common += 1
                        return common
                if leaf.code < best.code:
                    best = leaf
                return len(path)
            _, cell = min((len(g), r) for r, g in groups.items() if len(g) > 1)
            for v in groups[cell]:
                split = [2 * r + 1 for r in rank]
                split[v] -= 1
                child, cells = self._ranks(split)
                child, _ = self._refine(child, cells)
                back = explore(child, (*path, v))
                if back < len(path):
                    return back
            return len(path)

        explore(rank, ())
        assert best is not None
        return best

    def _code(self, rank: list[int]) -> list[Any]:
        """The graph written in the order of a discrete colouring; comparable among leaves of one graph."""
        order = sorted(range(len(rank)), key=rank.__getitem__)
        return [sorted([rank[u] for u in self.sources[v]]) for v in order]

    def certificate(self, leaf: Leaf) -> str:
        """The labelled graph as text, in the order of the leaf."""
        rank = leaf.rank
        parts = []
        for v in sorted(range(len(rank)), key=rank.__getitem__):
            parts.append(self.labels[v])
            parts.append(",".join([str(r) for r in sorted([rank[u] for u in self.sources[v]])]))
        return "\x00".join(parts)

    def topological(self, leaf: Leaf) -> list[int]:
        """Original nodes in the order of the leaf, which sorts by depth first and so is topological."""
        order: list[int] = []
        for v in sorted(range(len(leaf.rank)), key=leaf.rank.__getitem__):
            order.extend(self.original[m] for m in self.members[v] if self.original[m] >= 0)
        return order
