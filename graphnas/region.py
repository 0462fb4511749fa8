"""Parts of a space: which options of each decision are left, and a space cut into such parts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.space import Decisions, Space

_MAX_TRIES = 1_000_000


@dataclass(frozen=True)
class Region:
    """All architectures of a space whose every decision is among some options.

    Attributes:
        options: for each decision of the space the options that are left, in order; none is empty.
    """

    options: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if any(not allowed for allowed in self.options):
            raise GraphnasError("a decision of a region has no option left; every decision needs at least one")

    @classmethod
    def whole(cls, space: Space) -> Region:
        """The space itself."""
        return cls(tuple(tuple(range(radix)) for radix in space.radices))

    @property
    def writings(self) -> int:
        """Number of decision tuples, valid or not."""
        return math.prod(map(len, self.options))

    @property
    def open(self) -> tuple[int, ...]:
        """The places of decisions that have more than one option left."""
        return tuple(i for i, allowed in enumerate(self.options) if len(allowed) > 1)

    def contains(self, decisions: Decisions) -> bool:
        """Whether every decision is among the options."""
        return all(d in allowed for d, allowed in zip(decisions, self.options, strict=True))

    def split(self, place: int, groups: Sequence[Sequence[int]]) -> tuple[Region, ...]:
        """The parts that keep one group of options of a decision each, and everything elsewhere.

        Raises:
            GraphnasError: the groups are not a partition of the options of that decision.
        """
        given = sorted(option for group in groups for option in group)
        if given != sorted(self.options[place]) or any(len(group) == 0 for group in groups):
            raise GraphnasError(
                f"groups {[list(group) for group in groups]} must hold each of the options {list(self.options[place])} "
                "exactly once, and none may be empty"
            )
        before, after = self.options[:place], self.options[place + 1 :]
        return tuple(Region((*before, tuple(sorted(group)), *after)) for group in groups)

    def singles(self, place: int) -> list[list[int]]:
        """Every option of a decision as a group of its own: the exhaustive split of few-shot NAS."""
        return [[option] for option in self.options[place]]

    def sample(self, space: Space, rng: np.random.Generator) -> Architecture:
        """One architecture, uniform over those of ``space.enumerate`` that the region contains."""
        for _ in range(_MAX_TRIES):
            if space.distinct and space.enumerable:
                architecture = space.sample(rng)
                if self.contains(space.encode(architecture)):
                    return architecture
                continue
            draws = rng.random(len(self.options)).tolist()
            made = tuple([allowed[int(u * len(allowed))] for u, allowed in zip(draws, self.options, strict=True)])
            if space.is_valid(made):
                return Architecture.of_space(space, made)
        raise GraphnasError(
            f"no architecture of space {space.name!r} was found in a region within {_MAX_TRIES} draws; split otherwise"
        )

    def enumerate(self, space: Space) -> Iterator[Architecture]:
        """Every architecture of ``space.enumerate`` that the region contains."""
        if space.distinct:
            yield from (a for a in space.enumerate() if self.contains(space.encode(a)))
            return
        for made in itertools.product(*self.options):
            if space.is_valid(made):
                yield Architecture.of_space(space, made)


class Partition:
    """A space cut into regions: every architecture lies in exactly one of them.

    It starts as the whole space; ``split`` cuts one region. So it is a partition by construction.

    Args:
        space: whose decisions.
        regions: only ``split`` passes them.
    """

    def __init__(self, space: Space, regions: Sequence[Region] = ()) -> None:
        self.space = space
        self.regions = tuple(regions) or (Region.whole(space),)

    def __len__(self) -> int:
        return len(self.regions)

    @classmethod
    def exhaustive(cls, space: Space, choices: Sequence[str]) -> Partition:
        """One region for each combination of the options of some decisions (Zhao et al., ICML 2021)."""
        made = cls(space)
        for name in choices:
            place = place_of(space, name)
            for number in reversed(range(len(made))):
                made = made.split(number, place, made.regions[number].singles(place))
        return made

    def split(self, number: int, place: int, groups: Sequence[Sequence[int]]) -> Partition:
        """The partition in which a region is cut by groups of the options of one decision; see ``Region.split``."""
        if not 0 <= number < len(self.regions):
            raise GraphnasError(f"there is no region {number}; the partition has {len(self.regions)}")
        parts = self.regions[number].split(place, groups)
        return Partition(self.space, (*self.regions[:number], *parts, *self.regions[number + 1 :]))

    def region(self, architecture: Architecture) -> int:
        """The number of the region in which an architecture of the space lies."""
        return self.region_of(self.space.encode(architecture))

    def region_of(self, decisions: Decisions) -> int:
        """The number of the region in which these decisions lie."""
        return next(i for i, region in enumerate(self.regions) if region.contains(decisions))


def place_of(space: Space, name: str) -> int:
    """The place of a decision by its name.

    Raises:
        GraphnasError: no such decision.
    """
    names = [c.name for c in space.choices]
    if name not in names:
        raise unknown(f"decision of space {space.name!r}", name, names)
    return names.index(name)
