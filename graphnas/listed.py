"""A sample of a space as a space: what a table that holds few of its architectures can be searched over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space

NEAR = 20


class Listed(Space):
    """The listed architectures of another space; decisions, names and networks are those of that space.

    Few of them differ in one decision, so moves go to what is near by the number of decisions that differ:

    * ``mutate`` changes one decision and goes to the nearest architecture that is listed with this option;
    * ``crossover`` takes each decision from a parent and goes on to the nearest one;
    * ``neighbours`` are the 20 nearest.

    Policies draw from the list by the probability that they give to its members.

    Args:
        space: what the decisions mean.
        decisions: ``[n, choices]`` integers, no row twice.

    Raises:
        GraphnasError: decisions that do not fit the space, that break its rule, or that are listed twice.
    """

    def __init__(self, space: Space, decisions: np.ndarray) -> None:
        self.__dict__.update(space.__getstate__())
        rows = np.ascontiguousarray(decisions, dtype=np.int16)
        radices = np.array(space.radices)
        if (
            rows.ndim != 2
            or rows.shape[1] != len(radices)
            or not len(rows)
            or (rows < 0).any()
            or (rows >= radices).any()
        ):
            raise GraphnasError(
                f"decisions of shape {list(rows.shape)} do not list architectures of space {space.name!r}"
            )
        self._places: dict[Decisions, int] = {tuple(row): i for i, row in enumerate(rows.tolist())}
        if len(self._places) != len(rows) or not all(map(space.is_valid, self._places)):
            raise GraphnasError(
                f"a list of architectures of space {space.name!r} has one twice, or one that is not valid"
            )
        self._rows = rows
        self._options = [np.unique(column).tolist() for column in rows.T]
        self._count = len(rows)

    def __repr__(self) -> str:
        return f"Listed({self.name!r}, {len(self._rows):,} architectures)"

    @property
    def listed(self) -> np.ndarray:
        """Decisions ``[n, choices]`` of all members, in the order in which they were given."""
        return self._rows

    def is_valid(self, decisions: Decisions) -> bool:
        """Whether the architecture is on the list."""
        return decisions in self._places

    @property
    def ruled(self) -> bool:
        """True: not all decisions go together."""
        return True

    @property
    def enumerable(self) -> bool:
        """Whether the list has at most a million members."""
        return len(self._rows) <= 1_000_000

    @property
    def representatives(self) -> np.ndarray:
        """The list."""
        return self._rows

    def enumerate(self) -> Iterator[Architecture]:
        """All members, in the order of the list."""
        for row in self._rows.tolist():
            yield Architecture.of_space(self, tuple(row))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A member, uniformly."""
        return self._at(int(rng.random() * len(self._rows)))

    def distances(self, decisions: Sequence[int]) -> np.ndarray:
        """In how many decisions each member differs from ``decisions``, ``[n]``."""
        return np.asarray((self._rows != np.asarray(decisions, dtype=np.int16)).sum(axis=1))

    def nearest(
        self, decisions: Sequence[int], rng: np.random.Generator, among: np.ndarray | None = None
    ) -> Architecture:
        """The member nearest to any decisions; of several one by chance.

        Args:
            decisions: within the radices, listed or not.
            rng: draws among equally near ones.
            among: bool ``[n]``, which members count; all by default.
        """
        distance = self.distances(decisions)
        if among is not None:
            distance[~among] = len(self.radices) + 1
        near = np.flatnonzero(distance == distance.min())
        return self._at(int(near[int(rng.random() * len(near))]))

    def mutate(self, architecture: Architecture, rng: np.random.Generator, group: str | None = None) -> Architecture:
        """The nearest member that differs in one given decision (of ``group``, when given), whatever else differs."""
        decisions = self.encode(architecture)
        places = [
            i for i, c in enumerate(self.choices) if len(self._options[i]) > 1 and (group is None or c.group == group)
        ]
        if not places:
            raise GraphnasError(f"{self!r} has nothing to change in group {group!r}")
        i = places[int(rng.random() * len(places))]
        options = [d for d in self._options[i] if d != decisions[i]]
        other = options[int(rng.random() * len(options))]
        return self.nearest(decisions, rng, self._rows[:, i] == other)

    def crossover(self, a: Architecture, b: Architecture, rng: np.random.Generator) -> Architecture:
        """The member nearest to a mixture of the parents' decisions."""
        first, second = self.encode(a), self.encode(b)
        coins = rng.random(len(first)).tolist()
        return self.nearest([x if coin < 0.5 else y for x, y, coin in zip(first, second, coins, strict=True)], rng)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """The 20 nearest members, nearest first."""
        decisions = self.encode(architecture)
        order = np.argsort(self.distances(decisions), kind="stable")
        for i in order[: NEAR + 1].tolist():
            if i != self._places.get(decisions):
                yield self._at(i)

    def _at(self, place: int) -> Architecture:
        return Architecture.of_space(self, tuple(self._rows[place].tolist()))
