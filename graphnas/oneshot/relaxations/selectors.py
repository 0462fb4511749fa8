"""Nodes that select a few (input, operation) pairs: the factored parametrisation of UNAS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Alpha, Group, Mix, Tensors
from graphnas.oneshot.relaxations.base import Relaxation

INPUTS = ":inputs"
OPERATIONS = ":operations"


@dataclass(frozen=True)
class Selectors(Relaxation):
    """Each node has ``count`` selectors, each with a row of inputs and a row of operations (Vahdat et al., CVPR 2020).

    The weight of an operation on an edge is the product of the two, summed over the node's selectors; two selectors may
    choose the same. Alpha has ``<group>:inputs`` ``[S, most inputs]`` and ``<group>:operations`` ``[S, K]``, the
    selectors of a node one after another.

    Attributes:
        rows: how a single row is relaxed.
        count: selectors of a node; None: as many as the derived node has inputs (``Group.keep``), two where it has all.
        exclude: operations that no selector may choose.
    """

    rows: Relaxation
    count: int | None = None
    exclude: tuple[str, ...] = ("none",)

    @property
    def per_example(self) -> bool:  # type: ignore[override]
        """As its rows are."""
        return self.rows.per_example

    def parts(self, groups: Sequence[Group]) -> tuple[Group, ...]:
        """The selectors' rows, written as groups of their own.

        Raises:
            GraphnasError: edges of one group with different options.
        """
        made = []
        for g in groups:
            if not bool((g.mask == g.mask[0]).all()):
                raise GraphnasError(
                    f"selectors choose from the same operations on every edge, but those of group {g.name!r} differ; "
                    "use a relaxation with one row an edge"
                )
            count = self.count or g.keep or 2
            names = [f"{n}.{s}" for n in range(len(g.nodes)) for s in range(count)]
            most = max(map(len, g.nodes))
            allowed = [[i < len(rows) for i in range(most)] for rows in g.nodes for _ in range(count)]
            kept = [bool(on) and o not in self.exclude for o, on in zip(g.options, g.mask[0], strict=True)]
            made.append(Group.make(g.name + INPUTS, [str(i) for i in range(most)], names, allowed))
            made.append(Group.make(g.name + OPERATIONS, g.options, names, [kept] * len(names)))
        return tuple(made)

    def initial(self, groups: Sequence[Group], generator: torch.Generator) -> Alpha:
        """As its rows are."""
        return self.rows.initial(self.parts(groups), generator)

    def masks(self, groups: Sequence[Group]) -> Tensors:
        """Those of the selectors' rows."""
        return self.rows.masks(self.parts(groups))

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """The products of samples of the selectors' rows."""
        return self._joined(groups, self.rows(self.parts(groups), alpha, progress, generator, n))

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """The products of the selectors' weights."""
        return self._joined(groups, self.rows.expected(self.parts(groups), alpha, progress))

    def _joined(self, groups: Sequence[Group], mix: Mix) -> Mix:
        def join(rows: Tensors | None) -> Tensors | None:
            return rows and {g.name: joined(g, rows[g.name + INPUTS], rows[g.name + OPERATIONS]) for g in groups}

        return Mix(
            join(mix.weights) or {},
            hard=join(mix.hard),
            twin=join(mix.twin),
            log_probability=mix.log_probability,
            rows=mix.weights,
        )


def joined(group: Group, inputs: Tensor, operations: Tensor) -> Tensor:
    """The weights ``[..., R, K]`` of edges from selectors' ``[..., S, most inputs]`` and ``[..., S, K]``."""
    count = inputs.shape[-2] // len(group.nodes)
    place = {row: (node, i) for node, rows in enumerate(group.nodes) for i, row in enumerate(rows)}
    node, position = torch.tensor([place[row] for row in range(len(group.rows))], device=inputs.device).unbind(1)
    total: Tensor | None = None
    for s in range(count):
        selector = node * count + s
        term = inputs[..., selector, position].unsqueeze(-1) * operations[..., selector, :]
        total = term if total is None else total + term
    assert total is not None
    return total
