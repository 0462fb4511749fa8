"""Discretisation by what the supernet loses: DARTS-PT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Group, Mix, Tensors
from graphnas.oneshot.discretisers import NONE, Tools


@dataclass(frozen=True)
class Perturbation:
    """In random order, each row keeps the option whose removal lowers the accuracy most (Wang et al., ICLR 2021).

    An option is removed by setting its weight to 0, the others stay as they are. After every decision the weights are
    tuned. Then, where nodes keep only k inputs, those stay whose removal lowers the accuracy most.

    Attributes:
        k: inputs of a node; None: what the group says (``Group.keep``).
        exclude: options that are never chosen where inputs are dropped anyway.
        epochs: of tuning after each decision.
    """

    k: int | None = None
    exclude: tuple[str, ...] = NONE
    epochs: int = 5

    needs_tools = True

    def __call__(self, groups: Sequence[Group], mix: Mix, tools: Tools | None = None) -> Tensors:
        """See ``Discretiser``.

        Raises:
            GraphnasError: no tools.
        """
        if tools is None:
            raise GraphnasError("discretisation by perturbation evaluates the supernet; call it through a search")
        weights = {name: w.detach().clone() for name, w in mix.weights.items()}
        places = [(g, r) for g in groups for r in range(len(g.rows))]
        for i in torch.randperm(len(places), generator=tools.generator).tolist():
            group, row = places[i]
            self._choose_option(group, row, weights, tools)
        nodes = [(g, rows) for g in groups for rows in g.nodes if self._kept(g) is not None]
        for i in torch.randperm(len(nodes), generator=tools.generator).tolist():
            group, rows = nodes[i]
            self._choose_inputs(group, rows, weights, tools)
        return weights

    def _kept(self, group: Group) -> int | None:
        return group.keep if self.k is None else self.k

    def _choose_option(self, group: Group, row: int, weights: Tensors, tools: Tools) -> None:
        excluded = self.exclude if self._kept(group) is not None else ()
        options = [k for k, name in enumerate(group.options) if bool(group.mask[row, k]) and name not in excluded]
        without = {}
        for k in options if len(options) > 1 else ():
            matrix = weights[group.name].clone()
            matrix[row, k] = 0.0
            without[k] = tools.accuracy({**weights, group.name: matrix})
        chosen = min(without, key=without.__getitem__) if without else options[0]
        matrix = torch.zeros_like(weights[group.name][row])
        matrix[chosen] = 1.0
        weights[group.name][row] = matrix
        tools.tune(weights, self.epochs)

    def _choose_inputs(self, group: Group, rows: Sequence[int], weights: Tensors, tools: Tools) -> None:
        keep = self._kept(group)
        if keep is None or len(rows) <= keep:
            return
        without = {}
        for r in rows:
            matrix = weights[group.name].clone()
            matrix[r] = 0.0
            without[r] = tools.accuracy({**weights, group.name: matrix})
        for r in sorted(rows, key=without.__getitem__)[keep:]:
            weights[group.name][r] = 0.0
        tools.tune(weights, self.epochs)
