"""The canonical form of an architecture: what cannot matter is removed, and isomorphic DAGs become equal.

Two steps. ``simplify`` applies a Space's Semantics (zero operations, identities, dead ends);
``_Graph`` then labels the remaining DAG canonically by colour refinement with
individualisation, the scheme of McKay's nauty (McKay & Piperno, 2014), so equality is exact and not only
up to the Weisfeiler-Lehman test. Most cells need no search: their expression tells what they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, Params

_ZERO = -1

Plain = tuple[str, tuple[int, ...], Params]
"""A node while it is being simplified: op, inputs, params (a bare tuple is made faster than a Node)."""


@dataclass(frozen=True)
class Semantics:
    """What a Space's operations mean, as far as equality of architectures is concerned.

    Attributes:
        zero_ops: ops whose result is zero (NAS-Bench-201's ``none``). Zeros vanish from sums and
            concatenations, and an op that reads only zeros is zero itself.
        identity_ops: ops with one input that return it (``skip_connect``).
        merge_ops: ops that combine any number of inputs in any order; with one input they are the identity.
        ordered_ops: ops whose inputs have places, such as attention(query, key, value).
        prune: drop the nodes that no output depends on.
        flatten: additionally replace a sum inside a sum by its terms (``flatten_ops`` names those sums).
        share: merge nodes with equal op, parameters and inputs. Equal weights are then assumed, so this
            compares expressions, as NAS-Bench-201's official unique string does.
        drop_input_ops: merge ops that ignore a raw input as long as they have another one.
    """

    zero_ops: frozenset[str] = frozenset()
    identity_ops: frozenset[str] = frozenset()
    merge_ops: frozenset[str] = frozenset({"sum", "concat"})
    ordered_ops: frozenset[str] = frozenset()
    prune: bool = True
    flatten: frozenset[str] = frozenset()
    share: bool = False
    drop_input_ops: frozenset[str] = frozenset()

    @cached_property
    def roles(self) -> dict[str, int]:
        """What ``simplify`` does with each op that is not an ordinary one."""
        roles = dict.fromkeys(self.merge_ops, _MERGE)
        roles.update(dict.fromkeys(self.identity_ops, _IDENTITY))
        roles.update(dict.fromkeys(self.ordered_ops, _ORDERED))
        roles.update(dict.fromkeys(self.zero_ops, _ZERO_OP))
        return {**roles, OUTPUT: _OUTPUT}


_MERGE, _IDENTITY, _ORDERED, _ZERO_OP, _OUTPUT = range(1, 6)

WRITTEN = Semantics(merge_ops=frozenset(), prune=False)
"""Nothing is simplified: plain isomorphism of the DAG as written (inputs of a node unordered)."""


def simplify(nodes: Sequence[Node], semantics: Semantics) -> list[Plain]:
    """The nodes that can affect an output, in topological order, with identities and zeros removed."""
    roles = semantics.roles
    alias: list[int] = []  # for every node what stands for it in ``made``, or _ZERO
    made: list[Plain] = []
    known: dict[Plain, int] = {}
    for op, inputs, params in nodes:
        role = roles.get(op, 0)
        if not inputs:
            if role == _ZERO_OP or role == _MERGE:
                alias.append(_ZERO)
                continue
        elif role == _ZERO_OP:
            alias.append(_ZERO)
            continue
        elif role == _IDENTITY:
            alias.append(alias[inputs[0]])
            continue
        elif len(inputs) == 1:
            source = alias[inputs[0]]
            if source == _ZERO:
                if role != _OUTPUT:
                    alias.append(_ZERO)
                    continue
                inputs = ()
            elif role == _MERGE:
                alias.append(source)
                continue
            else:
                inputs = (source,)
        else:
            sources = [alias[j] for j in inputs]
            if _ZERO in sources:
                if role == _ORDERED and any(s != _ZERO for s in sources):
                    zero = len(made)  # a place cannot be left out, so a zero is written there
                    made.append((min(semantics.zero_ops), (), ()))
                    sources = [zero if s == _ZERO else s for s in sources]
                else:
                    sources = [s for s in sources if s != _ZERO]
                    if not sources and role != _OUTPUT:
                        alias.append(_ZERO)
                        continue
            if role == _MERGE:
                if op in semantics.drop_input_ops:
                    sources = [s for s in sources if made[s][0] != INPUT] or sources[:1]
                if op in semantics.flatten:
                    sources = [t for s in sources for t in (made[s][1] if made[s][0] == op else (s,))]
                if len(sources) == 1:
                    alias.append(sources[0])
                    continue
            if role != _ORDERED:
                sources.sort()
            inputs = tuple(sources)
        new = (op, inputs, params)
        if semantics.share and op != INPUT:
            if new in known:
                alias.append(known[new])
                continue
            known[new] = len(made)
        alias.append(len(made))
        made.append(new)
    return _live(made) if semantics.prune else made


def _live(nodes: list[Plain]) -> list[Plain]:
    """The nodes that an output depends on; all inputs stay, so that signatures do not change."""
    live = [op == OUTPUT or op == INPUT for op, _, _ in nodes]
    for i in range(len(nodes) - 1, -1, -1):
        if live[i]:
            for j in nodes[i][1]:
                live[j] = True
    if all(live):
        return nodes
    index: list[int] = []
    kept: list[Plain] = []
    for i, (op, inputs, params) in enumerate(nodes):
        index.append(len(kept))
        if live[i]:
            kept.append((op, tuple([index[j] for j in inputs]), params))
    return kept


_labels: dict[tuple[Any, ...], str] = {}


def _label(op: str, params: tuple[Any, ...]) -> str:
    """A text for an op with its parameters; equal texts mean equal pairs."""
    if not params:
        return op
    found = _labels.get((op, params))
    if found is None:
        # 1, 1.0 and True are equal as dictionary keys, so their text must be equal too.
        found = op + repr(tuple((k, float(v) if isinstance(v, (bool, int)) else v) for k, v in params))
        if len(_labels) < 100_000:
            _labels[op, params] = found
    return found


def canonical(architecture: Architecture, semantics: Semantics) -> Architecture:
    """The canonical form: equal for architectures that are isomorphic after simplification."""
    nodes = simplify(architecture.nodes, semantics)
    graph = _Graph(nodes, semantics.ordered_ops)
    order = graph.topological(graph.canonical_leaf())
    place = {old: new for new, old in enumerate(order)}
    result = []
    for old in order:
        op, inputs, params = nodes[old]
        moved = [place[j] for j in inputs]
        result.append(Node(op, tuple(moved if op in semantics.ordered_ops else sorted(moved)), params))
    return Architecture(result)


def key(nodes: Sequence[Node], semantics: Semantics) -> str:
    """32 hexadecimal digits, equal exactly for architectures with equal canonical forms (128-bit digest)."""
    simple = simplify(nodes, semantics)
    found = _expressions.key(simple, semantics.ordered_ops)
    if found is not None:
        return found
    graph = _Graph(simple, semantics.ordered_ops)
    return _digest(graph.certificate(graph.canonical_leaf()).encode())


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16).hexdigest()


class _Expressions:
    """The short way to a key, for DAGs that their expression determines.

    A node's expression is its label with the expressions of its inputs. If every node that is read more than once is the
    only one with its expression, then the expressions of the sinks, with the note which of them are shared, say what the
    DAG is: a shared expression stands for one node, every other occurrence for a node of its own. Both the condition and
    the key are the same for isomorphic DAGs. Expressions are numbered once and looked up ever after.
    """

    LIMIT = 200_000

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all expressions; numbers given before mean nothing any more."""
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._digests: list[bytes] = []
        self._keys: dict[tuple[Any, ...], str] = {}

    def key(self, nodes: Sequence[Plain], ordered_ops: frozenset[str]) -> str | None:
        """The key, or None when the DAG is not determined by its expressions."""
        if len(self._digests) > self.LIMIT or len(self._keys) > self.LIMIT:
            self.clear()
        numbers = self._numbers
        mine: list[int] = []
        readers = [0] * len(nodes)
        for op, inputs, params in nodes:
            if len(inputs) == 1:
                readers[inputs[0]] += 1
                signature: tuple[Any, ...] = (op, params, mine[inputs[0]])
            else:
                children = []
                for j in inputs:
                    readers[j] += 1
                    children.append(mine[j])
                ordered = op in ordered_ops
                if not ordered:
                    children.sort()
                signature = (op, params, -2 if ordered else -1, *children)  # no number is negative
            found = numbers.get(signature)
            if found is None:
                found = self._number(signature, op, params, len(inputs), op in ordered_ops)
            mine.append(found)
        sinks = []
        shared = []
        for number, count in zip(mine, readers, strict=True):
            if count == 0:
                sinks.append(number)
            elif count > 1:
                shared.append(number)
        for number in shared:
            if mine.count(number) > 1:
                return None
        if len(sinks) > 1:
            sinks.sort()
        shared.sort()
        whole = (*sinks, -1, *shared)
        result = self._keys.get(whole)
        if result is None:
            digests = self._digests
            text = b"".join(sorted([digests[n] for n in sinks])) + b";" + b"".join(sorted([digests[n] for n in shared]))
            result = self._keys[whole] = _digest(text)
        return result

    def _number(self, signature: tuple[Any, ...], op: str, params: Params, inputs: int, ordered: bool) -> int:
        """A new number for an expression; its digest does not depend on this process."""
        children = [self._digests[n] for n in signature[len(signature) - inputs :]]
        if not ordered:
            children.sort()
        number = self._numbers[signature] = len(self._digests)
        # The label ends with a byte that it cannot contain; the digests behind it have a fixed length.
        label = _label(op, params).encode() + (b"\x01" if ordered else b"\x00")
        self._digests.append(hashlib.blake2b(label + b"".join(children), digest_size=16).digest())
        return number


_expressions = _Expressions()
clear_expressions = _expressions.clear


class _Leaf:
    __slots__ = ("code", "path", "rank")

    def __init__(self, rank: list[int], path: tuple[int, ...], code: Any) -> None:
        self.rank = rank
        self.path = path
        self.code = code


class _Graph:
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
            labels.append(_label(op, params) if params else op)
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

    def canonical_leaf(self) -> _Leaf:
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
            return _Leaf(rank, (), None)
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

    def _search(self, rank: list[int]) -> _Leaf:
        """Depth-first search for the least leaf; subtrees that an automorphism maps to an earlier one are left."""
        n = len(rank)
        first: _Leaf | None = None
        best: _Leaf | None = None

        def explore(rank: list[int], path: tuple[int, ...]) -> int:
            """Visit the subtree; returns the level to jump back to (len(path) when finished normally)."""
            nonlocal first, best
            groups: dict[int, list[int]] = {}
            for v, r in enumerate(rank):
                groups.setdefault(r, []).append(v)
            if len(groups) == n:
                leaf = _Leaf(rank, path, self._code(rank))
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

    def certificate(self, leaf: _Leaf) -> str:
        """The labelled graph as text, in the order of the leaf."""
        rank = leaf.rank
        parts = []
        for v in sorted(range(len(rank)), key=rank.__getitem__):
            parts.append(self.labels[v])
            parts.append(",".join([str(r) for r in sorted([rank[u] for u in self.sources[v]])]))
        return "\x00".join(parts)

    def topological(self, leaf: _Leaf) -> list[int]:
        """Original nodes in the order of the leaf, which sorts by depth first and so is topological."""
        order: list[int] = []
        for v in sorted(range(len(leaf.rank)), key=leaf.rank.__getitem__):
            order.extend(self.original[m] for m in self.members[v] if self.original[m] >= 0)
        return order
