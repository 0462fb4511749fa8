"""From mixing weights to an architecture, written as matrices of 0 and 1 in the weights' shapes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from graphnas.oneshot.base import Group, Mix, Tensors
from graphnas.oneshot.relaxations.selectors import INPUTS, OPERATIONS, joined

NONE = ("none", "zero")
"""Names of the operation that is no connection."""


@dataclass(frozen=True, eq=False)
class Tools:
    """What a discretiser that looks at the supernet may use.

    Attributes:
        accuracy: on the validation part, for mixing weights.
        tune: train the weights for some epochs with fixed mixing weights; later accuracies are those after it.
        generator: of random orders.
    """

    accuracy: Callable[[Tensors], float]
    tune: Callable[[Tensors, int], None]
    generator: torch.Generator


class Discretiser(Protocol):
    """Chooses the derived architecture."""

    @property
    def needs_tools(self) -> bool:
        """Whether it evaluates the supernet."""

    def __call__(self, groups: Sequence[Group], mix: Mix, tools: Tools | None = None) -> Tensors:
        """For each group ``[R, K]``: 1 at what is chosen, else 0; a row of zeros has been dropped.

        Args:
            groups: the decisions, with the options that are left.
            mix: weights without noise (``Relaxation.expected``).
            tools: for those that need them.
        """


@dataclass(frozen=True)
class ArgmaxPerRow:
    """The greatest weight of each row, the first one of equals; a row without options is dropped.

    Attributes:
        allow_none: "none" may be chosen (SNAS, NAS-Bench-201).
    """

    allow_none: bool = True

    needs_tools = False

    def __call__(self, groups: Sequence[Group], mix: Mix, tools: Tools | None = None) -> Tensors:
        """See ``Discretiser``."""
        return {g.name: _kept(mix.weights[g.name], _best(g, mix.weights[g.name], self.allow_none)) for g in groups}


@dataclass(frozen=True)
class TopKInputs:
    """For each node the k rows whose greatest weight is greatest, each with that option (Liu et al., ICLR 2019).

    Options of ``exclude`` take part in the softmax but are never chosen. Equals are taken in order. In groups whose nodes
    keep all their inputs, as in NAS-Bench-201, every row has its greatest weight, "none" included: there it is
    the only way to drop an edge.

    Attributes:
        k: inputs of a node; None: what the group says (``Group.keep``).
        exclude: names of options.
    """

    k: int | None = None
    exclude: tuple[str, ...] = NONE

    needs_tools = False

    def __call__(self, groups: Sequence[Group], mix: Mix, tools: Tools | None = None) -> Tensors:
        """See ``Discretiser``."""
        return {g.name: self._matrix(g, mix.weights[g.name]) for g in groups}

    def _matrix(self, group: Group, weights: Tensor) -> Tensor:
        k = group.keep if self.k is None else self.k
        if k is None:
            return _kept(weights, _best(group, weights, True))
        best = _best(group, weights, False, self.exclude)
        for rows in group.nodes:
            alive = [r for r in rows if r in best]
            for r in sorted(alive, key=lambda r: -best[r][1])[k:]:
                del best[r]
        return _kept(weights, best)


@dataclass(frozen=True)
class SelectorArgmax:
    """The greatest input and the greatest operation of every selector (Vahdat et al., CVPR 2020).

    Where nodes keep all inputs, selectors that agree give an entry of 2: the node adds the same pair twice. Where they keep
    k, these must be different ones, as in DARTS's space: of all such choices the selectors of a node make the likeliest one
    together. Without selectors: the greatest weight of each row.
    """

    needs_tools = False

    def __call__(self, groups: Sequence[Group], mix: Mix, tools: Tools | None = None) -> Tensors:
        """See ``Discretiser``."""
        made = {}
        for g in groups:
            if g.name + INPUTS in mix.rows:
                inputs = mix.rows[g.name + INPUTS]
                chosen = _argmax(inputs) if g.keep is None else _distinct(g, inputs)
                made[g.name] = joined(g, chosen, _argmax(mix.rows[g.name + OPERATIONS]))
            else:
                made[g.name] = _kept(mix.weights[g.name], _best(g, mix.weights[g.name], True))
        return made


Best = dict[int, tuple[int, float]]
"""For each row that has options left the best one and its weight."""


def _best(group: Group, weights: Tensor, allow_none: bool, exclude: Sequence[str] = NONE) -> Best:
    found: Best = {}
    allowed = group.mask.tolist()
    for r, row in enumerate(weights.detach().tolist()):
        options = [k for k, name in enumerate(group.options) if allowed[r][k] and (allow_none or name not in exclude)]
        if options:
            k = max(options, key=lambda k: row[k])
            found[r] = k, row[k]
    return found


def _kept(like: Tensor, best: Best) -> Tensor:
    matrix = torch.zeros_like(like)
    for r, (k, _) in best.items():
        matrix[r, k] = 1.0
    return matrix


def _distinct(group: Group, rows: Tensor) -> Tensor:
    """For the selectors ``[S, most inputs]`` of each node different inputs, the choice with the greatest product."""
    matrix = torch.zeros_like(rows)
    count = len(rows) // len(group.nodes)
    weights = rows.detach().tolist()
    for node, edges in enumerate(group.nodes):
        selectors = range(node * count, (node + 1) * count)
        choices = itertools.permutations(range(len(edges)), count)
        best = max(choices, key=lambda c: math.prod(weights[s][i] for s, i in zip(selectors, c, strict=True)))
        for s, i in zip(selectors, best, strict=True):
            matrix[s, i] = 1.0
    return matrix


def _argmax(rows: Tensor) -> Tensor:
    matrix = torch.zeros_like(rows)
    for r, row in enumerate(rows.detach().tolist()):
        matrix[r, row.index(max(row))] = 1.0
    return matrix
