"""The template of a Space as one Architecture in which every decision is still open."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from graphnas.architecture import OUTPUT, Architecture, Node, freeze
from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Group
from graphnas.space import Choice, Pick, Space

OPEN = "open"
MASKED = "zero"
MOST_OPTIONS = 256

Place = tuple[str, int]
"""A decision: the name of its Group and its row there."""


Absent = Sequence[str] | Mapping[str, Sequence[str]]
"""Options that are masked: of every decision, or of each by its name."""


def groups_of(
    space: Space, keep: int | None = None, absent: Absent = ()
) -> tuple[tuple[Group, ...], dict[Choice, Place]]:
    """The decisions of a space as groups, one matrix each, and where each Choice lies.

    Choices of one ``group`` share a matrix; those with fewer options than the widest have the rest masked.

    Args:
        space: whose decisions.
        keep: see ``Group.keep``.
        absent: see ``Absent``.
    """
    members: dict[str, list[Choice]] = {}
    for choice in space.choices:
        members.setdefault(choice.group or choice.name, []).append(choice)
    groups = []
    places = {}
    for name, choices in members.items():
        widest = max(choices, key=lambda c: len(c.options)).options
        names = [str(o) for o in widest]
        gone = [absent.get(c.name, ()) if isinstance(absent, Mapping) else absent for c in choices]
        mask = [
            [k < len(c.options) and o not in out for k, o in enumerate(names)]
            for c, out in zip(choices, gone, strict=True)
        ]
        groups.append(Group.make(name, names, [c.name for c in choices], mask, keep))
        places.update({choice: (name, row) for row, choice in enumerate(choices)})
    return tuple(groups), places


def opened(space: Space, keep: int | None = None, absent: Absent = ()) -> tuple[Architecture, tuple[Group, ...]]:
    """The template with a node ``open`` wherever a decision counts, and the groups of decisions (see ``groups_of``).

    An open node lists all inputs that it may have. Its parameters: ``options``, ((op, params), ...), for all
    combinations of the decisions ``rows`` that set its op and its params (none: one option); and
    ``slots``, for each input slot either a position in the list of inputs or (decision, position for each option, -1: none).

    Raises:
        GraphnasError: an operation with more than 256 combinations of decisions.
    """
    groups, places = groups_of(space, keep, absent)
    masks = {group.name: group.mask.tolist() for group in groups}
    return Architecture(_opened(n, places, masks) for n in space.template), groups


def _opened(n: Node, places: dict[Choice, Place], masks: Mapping[str, list[list[bool]]]) -> Node:
    deciding = list(dict.fromkeys(c for c in map(_choice, (n.op, *(v for _, v in n.params))) if c is not None))
    if not deciding and all(_choice(place) is None for place in n.inputs):
        return n
    inputs = sorted({j for place in n.inputs for j in _values(place) if j is not None})  # type: ignore[type-var]
    position = {j: i for i, j in enumerate(inputs)}
    slots: list[Any] = []
    for place in n.inputs:
        choice = _choice(place)
        if choice is None:
            slots.append(position[place])
        else:
            slots.append((places[choice], tuple(-1 if j is None else position[j] for j in _values(place))))
    if n.op == OUTPUT:
        raise GraphnasError("the output of a template may not be open; put a sum or concat in front of it")
    return Node(
        OPEN,
        tuple(inputs),
        freeze(
            {
                "options": _options(n, deciding, [masks[group][row] for group, row in (places[c] for c in deciding)]),
                "rows": [places[c] for c in deciding],
                "slots": slots,
            }
        ),
    )


def _options(n: Node, deciding: Sequence[Choice], masks: Sequence[list[bool]]) -> list[Any]:
    """(op, params) for every combination of columns of the groups; masked columns stand for a zero."""
    made: list[Any] = []
    for chosen in itertools.product(*(range(len(mask)) for mask in masks)):
        if len(made) == MOST_OPTIONS:
            raise GraphnasError(
                f"an operation depends on {', '.join(c.name for c in deciding)}, more than {MOST_OPTIONS} combinations: "
                "a supernet cannot hold them side by side"
            )
        at = {c: min(i, len(c.options) - 1) for i, c in zip(chosen, deciding, strict=True)}
        params = freeze({name: _value(place, at) for name, place in n.params})
        if all(mask[i] for i, mask in zip(chosen, masks, strict=True)):
            made.append((_value(n.op, at), params))
        else:
            made.append((MASKED, tuple(pair for pair in params if pair[0] == "stride")))
    return made


def _choice(place: Any) -> Choice | None:
    return place if isinstance(place, Choice) else place.choice if isinstance(place, Pick) else None


def _values(place: Any) -> tuple[Hashable, ...]:
    return place.options if _choice(place) is not None else (place,)


def _value(place: Any, at: dict[Choice, int]) -> Any:
    choice = _choice(place)
    return place if choice is None else place.options[at[choice]]
