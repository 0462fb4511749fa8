"""The likeliest decisions that a space's validity rule accepts."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

import numpy as np

from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space

MOST = 100_000

Weights = Sequence[Sequence[float]]


def likeliest(space: Space, weights: Weights) -> Decisions:
    """The valid decisions whose weights have the greatest product.

    In each part of the decisions that the rule judges by itself (``Space.parts``), they are gone through in the order of their product
    until one is valid.

    Args:
        space: with a rule.
        weights: of the options of each choice, not negative.

    Raises:
        GraphnasError: none of the 100,000 likeliest of a part is valid.
    """
    made = list(space.encode(space.sample(np.random.default_rng(0))))
    judged = {i for part in space.parts for i in part}
    for i, row in enumerate(weights):
        if i not in judged:
            made[i] = max(range(len(row)), key=row.__getitem__)
    for part in space.parts:

        def valid(chosen: Sequence[int], part: Sequence[int] = part) -> bool:
            whole = list(made)
            for i, d in zip(part, chosen, strict=True):
                whole[i] = d
            return space.is_valid(tuple(whole))

        found = _first([weights[i] for i in part], valid)
        if found is None:
            raise GraphnasError(f"space {space.name!r} has no valid architecture near the weights of the supernet")
        for i, d in zip(part, found, strict=True):
            made[i] = d
    return tuple(made)


def _first(weights: Weights, valid: Callable[[Sequence[int]], bool]) -> list[int] | None:
    """The first valid decisions in the order of the products of their weights."""
    orders = [sorted(range(len(row)), key=lambda k, row=row: (-row[k], k)) for row in weights]  # type: ignore[misc]
    logs = [[math.log(max(row[k], 1e-30)) for k in order] for row, order in zip(weights, orders, strict=True)]
    losses = [[log[0] - value for value in log] for log in logs]
    # Sets of (place, rank), places in the order of what their second option loses: every set has one parent, which loses no more.
    places = sorted((i for i, loss in enumerate(losses) if len(loss) > 1), key=lambda i: losses[i][1])
    queue: list[tuple[float, tuple[tuple[int, int], ...]]] = [(0.0, ())]
    for _ in range(MOST):
        if not queue:
            return None
        _, ranks = heapq.heappop(queue)
        chosen = {places[p]: rank for p, rank in ranks}
        made = [order[chosen.get(i, 0)] for i, order in enumerate(orders)]
        if valid(made):
            return made
        for step in _next(ranks, len(places)):
            if step[-1][1] < len(losses[places[step[-1][0]]]):
                heapq.heappush(queue, (sum(losses[places[p]][rank] for p, rank in step), step))
    return None


def _next(ranks: tuple[tuple[int, int], ...], places: int) -> list[tuple[tuple[int, int], ...]]:
    """The sets that follow one: its last place one rank on, a further place, or the next place instead of the last."""
    if not ranks:
        return [((0, 1),)] if places else []
    *others, (place, rank) = ranks
    found: list[tuple[tuple[int, int], ...]] = [(*others, (place, rank + 1))]
    if place + 1 < places:
        found.append((*ranks, (place + 1, 1)))
        if rank == 1:
            found.append((*others, (place + 1, 1)))
    return found
