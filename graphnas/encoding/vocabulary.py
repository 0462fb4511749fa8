"""The vocabulary of a Space: every (key, value) token that a node of its architectures can carry."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from graphnas.architecture import INPUT, OUTPUT, Node, Params
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Pick, Space

Token = tuple[str, Hashable]
Kind = tuple[str, Params]
"""What a node is, apart from its inputs: op and parameters."""

OP = "op"
PLACE = "#place"
"""Op, and name of the parameter, of the vertices that stand for the places of ordered inputs."""
_MEMO_LIMIT = 100_000


class Vocabulary:
    """The tokens of a Space, in a fixed order: ops first, then parameters, then places of ordered inputs.

    A node carries the token ("op", op) and one token (name, value) for each parameter; its feature is their multi-hot.
    ``input``, ``output``, ``sum`` and ``concat`` come first, all others in the order of their appearance in the
    template. The tokens ("op", "#place") and ("#place", i) belong to the vertices that dense batches put between an op
    with ordered inputs and its i-th input.

    Args:
        space: whose template gives the tokens.

    Attributes:
        tokens: all K tokens; the column of a token is its index.
        ops: the ops among them, in the same order.
        max_nodes: the most vertices that a dense graph of this space has.

    Raises:
        GraphnasError: a parameter of the template is called "op" or "#place".
    """

    def __init__(self, space: Space) -> None:
        found: dict[Token, None] = dict.fromkeys((OP, op) for op in (INPUT, OUTPUT, "sum", "concat"))
        ordered = space.semantics.ordered_ops
        if ordered:  # simplification writes a zero where an ordered input is zero
            found.update(dict.fromkeys((OP, op) for op in (*sorted(space.semantics.zero_ops)[:1], PLACE)))
        parameters: dict[Token, None] = {}
        slots = [0]
        for n in space.template:
            found.update(dict.fromkeys((OP, op) for op in _values(n.op)))
            for name, value in n.params:
                if name in (OP, PLACE):
                    raise GraphnasError(f"space {space.name!r} has a parameter called {name!r}; give it another name")
                parameters.update(dict.fromkeys((name, v) for v in _values(value)))
            if ordered.intersection(_values(n.op)):
                slots.append(len(n.inputs))
        places = dict.fromkeys((PLACE, place) for place in range(max(slots)))
        self.space_name = space.name
        self.ops: tuple[str, ...] = tuple(str(op) for _, op in found)
        self.tokens: tuple[Token, ...] = (*found, *parameters, *places)
        # An ordered input has a vertex for its place, and may have one for a zero written there.
        self.max_nodes = len(space.template) + 2 * sum(slots)
        self._column = {token: i for i, token in enumerate(self.tokens)}
        self._memo: dict[Kind, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({self.space_name!r}, {len(self)} tokens)"

    def columns(self, op: str, params: Params = ()) -> tuple[int, ...]:
        """The columns of a node's tokens, the op's first.

        Raises:
            GraphnasError: naming the first token that the space does not have.
        """
        found = self._memo.get((op, params))
        if found is None:
            tokens: tuple[Token, ...] = ((OP, op), *params)
            for token in tokens:
                if token not in self._column:
                    raise GraphnasError(
                        f"space {self.space_name!r} has no {token[0]} {token[1]!r}; give architectures of this space"
                    )
            found = tuple([self._column[token] for token in tokens])
            if len(self._memo) < _MEMO_LIMIT:
                self._memo[op, params] = found
        return found

    def check(self, nodes: Iterable[Node]) -> None:
        """Raise GraphnasError when a node carries a token that the space does not have."""
        for op, _, params in nodes:
            self.columns(op, params)

    def table(self, kinds: Sequence[Kind]) -> np.ndarray:
        """Multi-hot features ``[len(kinds), K]`` (float32)."""
        table = np.zeros((len(kinds), len(self)), dtype=np.float32)
        for row, (op, params) in enumerate(kinds):
            table[row, list(self.columns(op, params))] = 1.0
        return table

    def kind(self, feature: np.ndarray) -> Kind:
        """Op and parameters of one multi-hot feature ``[K]``: the inverse of ``table`` (parameters sorted by name).

        Raises:
            GraphnasError: the feature does not have exactly one op, or has two values of one parameter.
        """
        tokens = [self.tokens[i] for i in np.flatnonzero(np.asarray(feature) > 0.5)]
        ops = [str(value) for name, value in tokens if name == OP]
        params = sorted([token for token in tokens if token[0] != OP], key=lambda token: token[0])
        if len(ops) != 1 or len({name for name, _ in params}) != len(params):
            raise GraphnasError(
                f"a node feature needs one op and one value for each parameter, not the tokens {tokens}"
            )
        return ops[0], tuple(params)


_vocabularies: WeakKeyDictionary[Space, Vocabulary] = WeakKeyDictionary()


def vocabulary_of(space: Space) -> Vocabulary:
    """The Vocabulary of a Space; made once for each Space object."""
    found = _vocabularies.get(space)
    if found is None:
        found = _vocabularies[space] = Vocabulary(space)
    return found


def _values(place: Any) -> tuple[Hashable, ...]:
    """What can stand at a place of a template."""
    return place.options if isinstance(place, (Choice, Pick)) else (place,)
