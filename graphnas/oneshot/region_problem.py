"""A part of a supernet's space as the problem of a gradient-based search: fewer options, and weights to begin with."""

from __future__ import annotations

import torch

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Group, State
from graphnas.oneshot.problem import SupernetProblem
from graphnas.oneshot.supernet import Supernet
from graphnas.region import Region
from graphnas.tasks.base import Task


class RegionProblem(SupernetProblem):
    """A sub-supernet: the options that a region leaves, and the weights that it inherits.

    Args:
        supernet: holds the structure of the whole space.
        task: see ``SupernetProblem``.
        region: of the space that the supernet holds.
        start: weights and buffers of the supernet that it was cut from, by the names of the problem's state; None draws fresh
            ones.

    Raises:
        GraphnasError: a start that does not fit the supernet.
    """

    def __init__(self, supernet: Supernet, task: Task, region: Region, start: State | None = None) -> None:
        super().__init__(supernet, task)
        self.region, self.start = region, start
        self.groups = groups_within(supernet, region)
        if start is not None:
            own = self.state()
            if {n: p.shape for n, p in start.parameters.items()} != {n: p.shape for n, p in own.parameters.items()}:
                raise GraphnasError("the weights to start from are those of another supernet; start from its parent's")

    def initial(self, seed: int) -> State:
        """The weights to start from, copied; without any, fresh ones."""
        if self.start is None:
            return super().initial(seed)
        return State(*({name: t.detach().clone() for name, t in part.items()} for part in self.start))


def groups_within(supernet: Supernet, region: Region) -> tuple[Group, ...]:
    """The groups of a supernet in which only the options of a region are in use.

    Raises:
        GraphnasError: a decision of the region has no option that a search may choose.
    """
    masks = {group.name: torch.zeros_like(group.mask) for group in supernet.groups}
    for choice, allowed in zip(supernet.space.choices, region.options, strict=True):
        name, row = supernet.places[choice]
        masks[name][row, list(allowed)] = True
    made = tuple(group.masked(group.mask & masks[group.name]) for group in supernet.groups)
    for group in made:
        empty = [row for row, left in zip(group.rows, group.mask.any(1).tolist(), strict=True) if not left]
        if empty:
            raise GraphnasError(f"decision {empty[0]!r} of a region has no option that a search may choose")
    return made
