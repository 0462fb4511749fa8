"""The writings of an architecture: all decisions of a Space that stand for the same graph."""

from __future__ import annotations

import itertools
from collections.abc import Container
from weakref import WeakKeyDictionary

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space

MOST_LISTED = 100_000
_MEMO_LIMIT = 50_000
_TRIES = 4
_MISSES = 200
_listed: WeakKeyDictionary[Space, dict[str, list[Decisions]]] = WeakKeyDictionary()


class Writings:
    """What is written for an architecture, where several decisions have one key.

    Spaces of at most 100,000 decision tuples are listed once. In larger ones the canonical writing is the one that
    the space itself recovers from the canonical form; where it cannot, the writing with every decision that does not
    matter at its first option.

    Args:
        space: the Space.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._memo: dict[str, Decisions] = {}

    def canonical(self, architecture: Architecture) -> Decisions:
        """Valid decisions with the key of the architecture; in listed and recovering spaces the same for equal keys.

        Raises:
            GraphnasError: it is no member of the space.
        """
        if self.space.writings <= MOST_LISTED:
            return self._all(architecture)[0]
        key = self.space.key(architecture)
        found = self._memo.get(key)
        if found is None:
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            found = self._memo[key] = self._recover(architecture) or self._settle(architecture)
        return found

    def other(self, architecture: Architecture, rng: np.random.Generator) -> Decisions:
        """A random writing of the architecture: uniform in listed spaces, elsewhere after a few changes that keep the key.

        Raises:
            GraphnasError: it is no member of the space.
        """
        if self.space.writings <= MOST_LISTED:
            known = self._all(architecture)
            return known[int(rng.random() * len(known))]
        made = self.space.encode(architecture)
        for _ in range(_TRIES * len(made)):
            i, j = (int(u * len(made)) for u in rng.random(2).tolist())
            changed = list(made)
            if i == j:
                changed[i] = int(rng.random() * self.space.radices[i])
            elif self.space.choices[i].options == self.space.choices[j].options:
                changed[i], changed[j] = changed[j], changed[i]
            made = self._kept(made, tuple(changed))
        return made

    def _all(self, architecture: Architecture) -> list[Decisions]:
        """All writings of an architecture, in lexicographic order."""
        space, by_key = self.space, _listed.get(self.space)
        if by_key is None:
            by_key = _listed[space] = {}
            for made in itertools.product(*map(range, space.radices)):
                if space.is_valid(made):
                    by_key.setdefault(space.key(Architecture.of_space(space, made)), []).append(made)
        found = by_key.get(space.key(architecture))
        if found is None:
            raise GraphnasError(f"the architecture is not a member of space {space.name!r}: {architecture!r:.120}")
        return found

    def _recover(self, architecture: Architecture) -> Decisions | None:
        if self.space.enumerable:  # it would look through a million writings
            return None
        form = Architecture(self.space.canonical(architecture).nodes)
        try:
            return self.space.encode(form)
        except GraphnasError:
            return None

    def _settle(self, architecture: Architecture) -> Decisions:
        made = self.space.encode(architecture)
        for i in range(len(made)):
            if made[i]:
                made = self._kept(made, (*made[:i], 0, *made[i + 1 :]))
        return made

    def _kept(self, made: Decisions, changed: Decisions) -> Decisions:
        """The changed decisions if they are valid and have the same key, else those before."""
        if changed == made or not self.space.is_valid(changed):
            return made
        key = self.space.key
        same = key(Architecture.of_space(self.space, changed)) == key(Architecture.of_space(self.space, made))
        return changed if same else made


def draw(space: Space, count: int, known: Container[str], rng: np.random.Generator) -> list[Architecture]:
    """``count`` random architectures with distinct keys that are not known; fewer when 200 draws in a row bring none."""
    found: dict[str, Architecture] = {}
    misses = 0
    while len(found) < count and misses < _MISSES:
        architecture = space.sample(rng)
        key = space.key(architecture)
        if key in known or key in found:
            misses += 1
        else:
            found[key] = architecture
            misses = 0
    return list(found.values())
