"""The canonical form of an architecture: what cannot matter is removed, and isomorphic DAGs become equal.

Two steps. ``simplify`` applies a Space's Semantics (zero operations, identities, dead ends); the remaining labelled DAG is
then labelled canonically, so equality is exact and not only up to the Weisfeiler-Lehman test.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphnas.architecture import Architecture, Node
from graphnas.expressions import Expressions, digest
from graphnas.labelling import Graph
from graphnas.semantics import WRITTEN, Semantics, simplify

__all__ = ["WRITTEN", "Semantics", "canonical", "clear_expressions", "key", "simplify"]

_expressions = Expressions()
clear_expressions = _expressions.clear


def canonical(architecture: Architecture, semantics: Semantics) -> Architecture:
    """The canonical form: equal for architectures that are isomorphic after simplification."""
    nodes = simplify(architecture.nodes, semantics)
    graph = Graph(nodes, semantics.ordered_ops)
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
    graph = Graph(simple, semantics.ordered_ops)
    return digest(graph.certificate(graph.canonical_leaf()).encode())
