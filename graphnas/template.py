"""The template of a Space: nodes in which some ops, inputs and parameters are still open."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphnas.architecture import Node
from graphnas.errors import GraphnasError

Decisions = tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """An open decision of a Space.

    Attributes:
        name: unique in its Space.
        options: what can be chosen; a decision is an index into it.
        group: decisions of one kind share a group ("op", "edge"); AGNN's component classes are groups.
    """

    name: str
    options: tuple[Hashable, ...]
    group: str = ""

    def at(self, *values: Hashable) -> Pick:
        """What to write at one place of the template for each option, when it is not the option itself."""
        return Pick(self, values)


@dataclass(frozen=True)
class Pick:
    """A place in a template: ``values[i]`` stands there when option ``i`` of ``choice`` is decided.

    As an input, the value None means that there is no edge; as a parameter, that the node does not have it.
    """

    choice: Choice
    values: tuple[Hashable, ...]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.choice.options):
            raise GraphnasError(
                f"choice {self.choice.name!r} has {len(self.choice.options)} options, but {len(self.values)} values are given"
            )

    @property
    def options(self) -> tuple[Hashable, ...]:
        """The values, one for each option of the choice."""
        return self.values


def choices_of(template: Sequence[Node]) -> tuple[Choice, ...]:
    """All choices of a template, in the order of first appearance."""
    found: dict[Choice, None] = {}
    for n in template:
        for place in (n.op, *n.inputs, *(value for _, value in n.params)):
            if isinstance(place, Pick):
                found[place.choice] = None
            elif isinstance(place, Choice):
                found[place] = None
    return tuple(found)


class NodePlan:
    """One template node: which decisions it depends on, and the Node for each of their values."""

    LIMIT = 10_000

    def __init__(self, template: Node, position: Mapping[Choice, int]) -> None:
        self.op = _place(template.op, position)
        self.inputs = [_place(place, position) for place in template.inputs]
        self.params = [(name, _place(value, position)) for name, value in template.params]
        places = [self.op, *self.inputs, *(value for _, value in self.params)]
        self.depends = tuple(dict.fromkeys(p for p, _ in places if p >= 0))
        self.radices = [len(next(options for p, options in places if p == i)) for i in self.depends]
        self.memo: dict[Decisions, Node] = {}

    def table(self) -> tuple[int, int, int, list[Node]]:
        """(first decision, stride, second decision, nodes) for a node of at most two decisions; stride 0: too many.

        Decision -1 means that there is none. Looking a node up is much faster than making it.
        """
        if len(self.depends) > 2 or math.prod(self.radices) > self.LIMIT:
            return -1, 0, -1, []
        nodes = [
            self._make(dict(zip(self.depends, made, strict=True)))
            for made in itertools.product(*map(range, self.radices))
        ]
        first, second = (*self.depends, -1, -1)[:2]
        return first, self.radices[1] if second >= 0 else 1, second, nodes

    def build(self, decisions: Decisions) -> Node:
        """The node for decisions of the whole space; the last ones made are remembered."""
        at = tuple([decisions[i] for i in self.depends])
        found = self.memo.get(at)
        if found is None:
            if len(self.memo) > self.LIMIT:
                self.memo.clear()
            found = self.memo[at] = self._make(decisions)
        return found

    def _make(self, decisions: Decisions | Mapping[int, int]) -> Node:
        def value(place: tuple[int, tuple[Any, ...]]) -> Any:
            index, values = place
            return values[decisions[index]] if index >= 0 else values[0]

        inputs = tuple(v for v in map(value, self.inputs) if v is not None)
        params = ((name, value(p)) for name, p in self.params)
        return Node(value(self.op), inputs, tuple(pair for pair in params if pair[1] is not None))

    def match(self, n: Node, possible: dict[int, list[int]]) -> bool:
        """Narrow the options of each decision to those under which this plan writes ``n``; False if none is left."""
        values = dict(n.params)
        if not values.keys() <= {name for name, _ in self.params}:
            return False
        narrowed = dict(possible)
        for (index, options), seen in [(self.op, n.op), *((place, values.get(name)) for name, place in self.params)]:
            fitting = [d for d in _candidates(narrowed, index, options) if options[d] == seen]
            if not fitting:
                return False
            narrowed[index] = fitting
        return self._match_inputs(n.inputs, 0, narrowed, possible)

    def _match_inputs(
        self, seen: tuple[int, ...], slot: int, narrowed: dict[int, list[int]], possible: dict[int, list[int]]
    ) -> bool:
        """Assign what is left of the seen inputs to the slots from ``slot`` on; a slot may stay empty (None)."""
        if slot == len(self.inputs):
            if seen:
                return False
            narrowed.pop(-1, None)
            possible.update(narrowed)
            return True
        index, options = self.inputs[slot]
        by_value: dict[Any, list[int]] = {}
        for d in _candidates(narrowed, index, options):
            by_value.setdefault(options[d], []).append(d)
        for value, fitting in by_value.items():
            if value is not None and (not seen or seen[0] != value):
                continue
            rest = seen if value is None else seen[1:]
            if self._match_inputs(rest, slot + 1, {**narrowed, index: fitting}, possible):
                return True
        return False


def _candidates(narrowed: dict[int, list[int]], index: int, options: tuple[Any, ...]) -> Sequence[int]:
    """Options still possible for a decision; a constant place (index -1) always has its one option."""
    return narrowed.get(index, range(len(options))) if index >= 0 else (0,)


def _place(place: Any, position: Mapping[Choice, int]) -> tuple[int, tuple[Any, ...]]:
    """(index of the decision, value for each option), or (-1, (constant,))."""
    if isinstance(place, Choice):
        return position[place], place.options
    if isinstance(place, Pick):
        return position[place.choice], place.values
    return -1, (place,)
