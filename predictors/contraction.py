"""Graphs without the merge nodes that a Space gives no choice about: shorter ways for messages."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node
from graphnas.space import Choice, Pick, Space

_MEMO_LIMIT = 50_000
_memos: WeakKeyDictionary[Space, dict[Architecture, Architecture]] = WeakKeyDictionary()


def contractible(space: Space) -> frozenset[str]:
    """The merge ops that stand in the template as they are; one that is an option of a Choice tells architectures apart."""
    chosen: set[object] = set()
    for n in space.template:
        if isinstance(n.op, (Choice, Pick)):
            chosen.update(n.op.options)
    return frozenset(space.semantics.merge_ops - chosen)


def contract_merges(space: Space, forms: Sequence[Architecture]) -> list[Architecture]:
    """Each architecture with its contractible merge nodes replaced by edges from their inputs to their readers.

    A merge node stays where it has parameters, and where an op with ordered inputs reads it, since a place holds one edge.
    What became of an architecture is remembered.
    """
    memo = _memos.setdefault(space, {})
    merges, made = contractible(space), []
    for form in forms:
        short = memo.get(form)
        if short is None:
            if len(memo) >= _MEMO_LIMIT:
                memo.clear()
            short = memo[form] = _contract(form, merges, space.semantics.ordered_ops)
        made.append(short)
    return made


def _contract(form: Architecture, merges: frozenset[str], ordered_ops: frozenset[str]) -> Architecture:
    nodes = form.nodes
    kept = {j for op, inputs, _ in nodes if op in ordered_ops for j in inputs}
    made: list[Node] = []
    sources: list[tuple[int, ...]] = []  # for every old node the new nodes that stand for it
    for i, (op, inputs, params) in enumerate(nodes):
        mine = [new for j in inputs for new in sources[j]]
        if op in merges and op not in (INPUT, OUTPUT) and inputs and not params and i not in kept:
            sources.append(tuple(mine))
            continue
        sources.append((len(made),))
        made.append(Node(op, tuple(mine if op in ordered_ops else sorted(mine)), params))
    return form if len(made) == len(nodes) else Architecture(made)
