"""Which architectures one step of training a supernet runs: single paths, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.oneshot.supernet import Supernet
from graphnas.region import Region

_MAX_TRIES = 10_000


class PathSampler(Protocol):
    """Draws the paths of one training step; the gradients of their losses on one batch are added up."""

    def __call__(self, rng: np.random.Generator) -> list[Architecture]:
        """Architectures of the space that the supernet holds."""


class Uniform:
    """One path, uniform over the region (Guo et al., "Single path one-shot", ECCV 2020, section 3.2).

    Where the supernet holds a larger space than the one that is searched, paths are uniform over the latter.

    Args:
        supernet: whose paths.
        region: of the space that the supernet holds.
    """

    def __init__(self, supernet: Supernet, region: Region) -> None:
        self.supernet, self.region = supernet, region

    def __call__(self, rng: np.random.Generator) -> list[Architecture]:
        """See ``PathSampler``."""
        return [drawn(self.supernet, self.region, rng)]


class Fair:
    """Strict fairness: in every step, every option of every decision runs equally often (Chu, Zhang & Xu, ICCV 2021).

    There are as many paths as the widest decision has options; each decision takes its options in an order of its own, each
    once. A decision with fewer options begins anew with another order, so its options differ by at most one run.

    Args:
        supernet: whose paths.
        region: of the space that the supernet holds.

    Raises:
        GraphnasError: a space with a validity rule, or one that the supernet holds within a larger one.
    """

    def __init__(self, supernet: Supernet, region: Region) -> None:
        if supernet.original is not supernet.space or supernet.space.ruled:
            raise GraphnasError(
                f"fair sampling takes the options of every decision of {supernet.original.name!r} independently, but not all "
                "combinations are architectures; use sampling='uniform'"
            )
        self.space, self.region = supernet.space, region

    def __call__(self, rng: np.random.Generator) -> list[Architecture]:
        """See ``PathSampler``."""
        paths = max(map(len, self.region.options))
        columns = []
        for allowed in self.region.options:
            rounds = [rng.permutation(allowed) for _ in range(-(-paths // len(allowed)))]
            columns.append(np.concatenate(rounds)[:paths])
        return [self.space.decode([int(d) for d in made]) for made in zip(*columns, strict=True)]


class Sandwich:
    """The smallest path, the largest and some random ones (Yu & Huang, ICCV 2019, the sandwich rule).

    It is for decisions of width, depth or kernel size: what all sizes in between can do is bounded by the two extremes.
    Smallest and largest have the options with the fewest and the most multiply-adds of each decision (of equal ones, the
    fewest and the most parameters).

    Args:
        supernet: whose paths.
        region: of the space that the supernet holds.
        random: how many paths are random, beside the two.

    Raises:
        GraphnasError: the smallest or the largest is no architecture of the space.
    """

    def __init__(self, supernet: Supernet, region: Region, random: int = 2) -> None:
        self.supernet, self.region, self.random = supernet, region, random
        costs = supernet.costs()
        extremes: list[list[int]] = [[], []]
        for choice, allowed in zip(supernet.space.choices, region.options, strict=True):
            group, row = supernet.places[choice]
            ranked = sorted(allowed, key=costs[group][row].flip(-1).tolist().__getitem__)
            extremes[0].append(ranked[0])
            extremes[1].append(ranked[-1])
        self.extremes = [supernet.space.decode(made) for made in extremes]

    def __call__(self, rng: np.random.Generator) -> list[Architecture]:
        """See ``PathSampler``."""
        return [*self.extremes, *(drawn(self.supernet, self.region, rng) for _ in range(self.random))]


SAMPLERS: dict[str, Callable[[Supernet, Region], PathSampler]] = {
    "uniform": Uniform,
    "fair": Fair,
    "sandwich": Sandwich,
}


def sampler(name: str, supernet: Supernet, region: Region) -> PathSampler:
    """The sampler of this name for the paths of a region.

    Raises:
        GraphnasError: no such sampler, or one that does not suit the space.
    """
    if name not in SAMPLERS:
        raise unknown("way of sampling paths", name, SAMPLERS)
    return SAMPLERS[name](supernet, region)


def drawn(supernet: Supernet, region: Region, rng: np.random.Generator) -> Architecture:
    """One path, uniform over the architectures of the searched space that lie in a region of the supernet's."""
    if supernet.original is supernet.space:
        return region.sample(supernet.space, rng)
    for _ in range(_MAX_TRIES):
        decisions = supernet.decisions(supernet.original.sample(rng))
        if region.contains(decisions):
            return supernet.space.decode(decisions)
    raise GraphnasError(
        f"no architecture of space {supernet.original.name!r} was found in a region within {_MAX_TRIES} draws; split otherwise"
    )
