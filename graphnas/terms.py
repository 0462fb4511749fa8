"""Costs of architectures as sums of terms that each depend on a few decisions: a look-up of thousands at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphnas.architecture import Architecture
from graphnas.cost import LatencyTable
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Space
from graphnas.template import Pick, choices_of

_MOST = 100_000
_CHECKS = 20
_PROBES = 6


class Term(NamedTuple):
    """One table of a sum.

    Attributes:
        places: the decisions on which it depends.
        values: one axis for each of them.
    """

    places: tuple[int, ...]
    values: np.ndarray


class Terms:
    """``constant + sum of values[decisions at places]``; called with decisions ``[n, choices]`` it returns ``[n]``.

    Args:
        space: whose decisions.
        constant: what all architectures have.
        terms: the tables.
    """

    def __init__(self, space: Space, constant: float, terms: Sequence[Term]) -> None:
        self.space = space
        self.constant = constant
        self.terms = tuple(terms)
        self._flat = []
        self._plain = []  # the same as Python numbers, which are faster one by one
        for places, values in terms:
            strides, flat = _strides(values.shape), np.ascontiguousarray(values, dtype=np.float64).ravel()
            self._flat.append((places, strides, flat))
            self._plain.append((tuple(zip(places, strides, strict=True)), flat.tolist()))

    def __call__(self, decisions: Any) -> np.ndarray:
        """The costs ``[n]`` of decisions ``[n, choices]``."""
        columns = np.ascontiguousarray(np.asarray(decisions, dtype=np.int64).T)
        total = np.full(columns.shape[1], self.constant)
        for places, strides, values in self._flat:
            at = columns[places[0]] * strides[0]
            for place, stride in zip(places[1:], strides[1:], strict=True):
                at += columns[place] * stride
            total += values[at]
        return total

    def of(self, architecture: Architecture) -> float:
        """The cost of one architecture."""
        made = self.space.encode(architecture)
        total = self.constant
        for places, values in self._plain:
            total += values[sum([made[place] * stride for place, stride in places])]
        return total

    @classmethod
    def exact(
        cls,
        space: Space,
        cost: Callable[[Architecture], float],
        places: Sequence[Sequence[int]] | None = None,
        seed: int = 0,
    ) -> Terms:
        """The sum that equals ``cost`` everywhere, from its values at as few architectures as tell.

        A cost that is the sum over the nodes of a template depends on the decisions of each node, and of those that it reads, which
        set the shape of what it gets. With all other decisions at their first option (the anchor b), the table of a set S of
        decisions is ``cost(b with d_S) - cost(b)`` less what earlier tables say of it: the anchored decomposition of a function of many
        variables (Kuo, Sloan, Wasilkowski & Woźniakowski, Math. Comp. 2010), with each interaction in the first set that holds it.

        Args:
            space: whose decisions.
            cost: of an architecture: parameters, multiply-adds, or the sum of a latency table.
            places: sets of decisions that act together; by default those of each node of the template, with those of the nodes that
                it reads wherever probing at random shows that they matter (a width does, a kernel does not).
            seed: of the random architectures at which the sum is checked.

        Raises:
            GraphnasError: sets so large that more than 100,000 costs would be needed, or a cost that is no such sum.
        """
        rng = np.random.default_rng(seed)
        sets = [tuple(s) for s in places] if places is not None else _acting_together(space, cost, rng)
        needed = sum(math.prod(space.radices[i] for i in s) for s in sets)
        if needed > _MOST:
            raise GraphnasError(
                f"the terms of space {space.name!r} need {needed:,} costs; at most {_MOST:,} are computed: give smaller places"
            )
        base = [0] * len(space.radices)
        at_base = float(cost(Architecture.of_space(space, tuple(base))))
        made: list[Term] = []
        for s in sets:
            shape = [space.radices[i] for i in s]
            decisions = np.zeros((math.prod(shape), len(base)), dtype=np.int64)
            decisions[:, list(s)] = list(itertools.product(*map(range, shape)))
            costs = [float(cost(Architecture.of_space(space, tuple(row)))) for row in decisions.tolist()]
            known = cls(space, at_base, made)(decisions)
            made.append(Term(s, (np.array(costs) - known).reshape(shape)))
        found = cls(space, at_base, made)
        for _ in range(_CHECKS):
            a = space.sample(rng)
            expected, summed = float(cost(a)), found.of(a)
            if not math.isclose(expected, summed, rel_tol=1e-6, abs_tol=1e-9):
                raise GraphnasError(
                    f"this cost of space {space.name!r} is no sum over its nodes ({summed:g} instead of {expected:g} for {a!r:.80}); "
                    "give the sets of decisions that act together as places"
                )
        return found

    @classmethod
    def fitted(cls, space: Space, decisions: np.ndarray, costs: np.ndarray) -> Terms:
        """One number for each option of each decision, fitted to measured costs ``[n]`` of decisions ``[n, choices]``.

        Least squares of the relative error (each row weighted by 1 / cost), of least norm where the sample leaves something open. It is
        the per-operation table that whole-network measurements imply; check it on networks that were held out (``relative_errors``).

        Raises:
            GraphnasError: costs that are not all finite and greater than 0, or shapes that do not fit.
        """
        costs = np.asarray(costs, dtype=np.float64)
        made = np.asarray(decisions)
        if (
            made.shape != (len(costs), len(space.radices))
            or not len(costs)
            or not (np.isfinite(costs) & (costs > 0)).all()
        ):
            raise GraphnasError(
                f"decisions of shape {list(made.shape)} and costs of shape {list(costs.shape)} do not fit, or a cost is not "
                "a finite number greater than 0"
            )
        columns = [np.ones((len(made), 1))]
        columns += [np.eye(radix)[made[:, i]] for i, radix in enumerate(space.radices)]
        design = np.concatenate(columns, axis=1)
        found = np.linalg.lstsq(design / costs[:, None], np.ones(len(costs)), rcond=None)[0]
        cuts = np.cumsum([1, *space.radices])
        terms = [Term((i,), found[cuts[i] : cuts[i + 1]]) for i in range(len(space.radices))]
        return cls(space, float(found[0]), terms)

    def relative_errors(self, decisions: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """(table - measured) / measured, ``[n]``."""
        return np.asarray((self(decisions) - costs) / np.asarray(costs))


def latency_terms(space: Space, table: LatencyTable, signature: Any, **size: float) -> Terms:
    """The latencies of all networks of a space by one table.

    Args:
        space: builds the networks.
        table: must hold every node of every network: measure networks that together contain all of them (``every_node``).
        signature: of the Task.
        **size: of the networks.
    """
    return Terms.exact(space, lambda a: table.latency(space.network(a, signature, **size)))


def every_node(space: Space) -> list[Architecture]:
    """Architectures in which every node occurs with all combinations of its decisions and those of the nodes that it reads.

    Raises:
        GraphnasError: more than 100,000 of them.
    """
    found: dict[tuple[int, ...], None] = {}
    sets = [tuple(sorted({*own, *read})) for own, read in node_places(space)]
    needed = sum(math.prod(space.radices[i] for i in s) for s in sets)
    if needed > _MOST:
        raise GraphnasError(
            f"space {space.name!r} has {needed:,} combinations of nodes that read each other: too many to list"
        )
    for s in sets:
        for made in itertools.product(*(range(space.radices[i]) for i in s)):
            decisions = [0] * len(space.radices)
            for i, d in zip(s, made, strict=True):
                decisions[i] = d
            found[tuple(decisions)] = None
    return [Architecture.of_space(space, d) for d in found]


def node_places(space: Space) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For every node of the template that depends on decisions: its own, and the further ones of the nodes that it may read."""
    index = {choice: i for i, choice in enumerate(space.choices)}
    own = [tuple(sorted(index[c] for c in choices_of([n]))) for n in space.template]
    pairs = []
    for n, mine in zip(space.template, own, strict=True):
        sources: set[Any] = set()
        for place in n.inputs:
            sources.update(place.options if isinstance(place, Pick | Choice) else [place])
        read = {i for j in sources if isinstance(j, int) for i in own[j]}
        if mine:
            pairs.append((mine, tuple(sorted(read - set(mine)))))
    return pairs


def _acting_together(
    space: Space, cost: Callable[[Architecture], float], rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """For every node its own decisions, and those of its sources that change what its own cost."""
    base = tuple([0] * len(space.radices))

    def at(changes: dict[int, int]) -> float:
        return float(cost(Architecture.of_space(space, tuple(changes.get(i, d) for i, d in enumerate(base)))))

    anchor = at({})
    sets = []
    for own, read in node_places(space):
        drawn = [{i: int(rng.integers(space.radices[i])) for i in own} for _ in range(_PROBES)]
        alone = [at(changes) for changes in drawn]
        together = set(own)
        for i in read:
            for option in range(1, space.radices[i]):
                other = at({i: option})
                both = [at({**changes, i: option}) for changes in drawn]
                apart = (abs(ab - a - other + anchor) > 1e-9 * abs(anchor) for ab, a in zip(both, alone, strict=True))
                if any(apart):
                    together.add(i)
        sets.append(tuple(sorted(together)))
    return sets


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(itertools.accumulate((1, *reversed(shape[1:])), lambda a, b: a * b))[::-1]
