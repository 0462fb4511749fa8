"""Canonical forms of many architectures, each class worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from graphnas.architecture import Architecture
from graphnas.space import Space

_MEMO_LIMIT = 50_000
_forms: WeakKeyDictionary[Space, dict[str, Architecture]] = WeakKeyDictionary()


def canonical_forms(space: Space, architectures: Sequence[Architecture]) -> list[Architecture]:
    """``space.canonical`` of every architecture; architectures with one key share one object."""
    memo = _forms.setdefault(space, {})
    result = []
    for architecture in architectures:
        key = space.key(architecture)
        form = memo.get(key)
        if form is None:
            if len(memo) >= _MEMO_LIMIT:
                memo.clear()
            form = memo[key] = space.canonical(architecture)
        result.append(form)
    return result


def classes_of(space: Space, architectures: Sequence[Architecture]) -> tuple[list[Architecture], list[int]]:
    """The distinct canonical forms in order of appearance, and for every architecture the place of its own."""
    forms: list[Architecture] = []
    place: dict[int, int] = {}
    member = []
    for form in canonical_forms(space, architectures):
        found = place.setdefault(id(form), len(forms))
        if found == len(forms):
            forms.append(form)
        member.append(found)
    return forms, member
