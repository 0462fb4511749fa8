"""What a Space's operations mean, and the removal of everything that cannot matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from graphnas.architecture import INPUT, OUTPUT, Node, Params

_ZERO = -1

Plain = tuple[str, tuple[int, ...], Params]
"""A node while it is being simplified: op, inputs, params (a bare tuple is made faster than a Node)."""


@dataclass(frozen=True)
class Semantics:
    """What a Space's operations mean, as far as equality of architectures is concerned.

    Attributes:
        zero_ops: ops whose result is zero (NAS-Bench-201's ``none``). Zeros vanish from sums and
            concatenations, and an op that reads only zeros is zero itself.
        identity_ops: ops with one input that return it (``skip_connect``); with parameters, such as a stride, they do not.
        merge_ops: ops that combine any number of inputs in any order; with one input they are the identity.
        ordered_ops: ops whose inputs have places, such as attention(query, key, value).
        prune: drop the nodes that no output depends on.
        flatten: additionally replace a sum inside a sum by its terms (``flatten_ops`` names those sums).
        share: merge nodes with equal op, parameters and inputs. Equal weights are then assumed, so this
            compares expressions, as NAS-Bench-201's official unique string does.
        drop_input_ops: merge ops that ignore a raw input as long as they have another one.
        loose_ops: merge ops that ignore what another node before them reads (ENAS's recurrent cells average loose ends).
    """

    zero_ops: frozenset[str] = frozenset()
    identity_ops: frozenset[str] = frozenset()
    merge_ops: frozenset[str] = frozenset({"sum", "concat"})
    ordered_ops: frozenset[str] = frozenset()
    prune: bool = True
    flatten: frozenset[str] = frozenset()
    share: bool = False
    drop_input_ops: frozenset[str] = frozenset()
    loose_ops: frozenset[str] = frozenset()

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
    zero = _ZERO
    for op, inputs, params in nodes:
        role = roles.get(op, 0)
        if not inputs:
            if role == _ZERO_OP or role == _MERGE:
                alias.append(_ZERO)
                continue
        elif role == _ZERO_OP:
            alias.append(_ZERO)
            continue
        elif role == _IDENTITY and not params:
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
                    if zero == _ZERO:  # a place cannot be left out, so a zero is written there
                        zero = len(made)
                        made.append((min(semantics.zero_ops, default="zero"), (), ()))
                    sources = [zero if s == _ZERO else s for s in sources]
                else:
                    sources = [s for s in sources if s != _ZERO]
                    if not sources and role != _OUTPUT:
                        alias.append(_ZERO)
                        continue
            if role == _MERGE:
                if op in semantics.drop_input_ops:
                    sources = [s for s in sources if made[s][0] != INPUT] or sources[:1]
                if op in semantics.loose_ops:
                    read = {t for _, others, _ in made for t in others}
                    sources = [s for s in sources if s not in read] or sources
                if op in semantics.flatten:
                    sources = [
                        t for s in sources for t in (made[s][1] if made[s][0] == op and made[s][2] == params else (s,))
                    ]
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
