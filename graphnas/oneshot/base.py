"""The interface between a supernet and the methods that search in it: groups, mixing weights, and pure losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from graphnas.errors import GraphnasError

Tensors = dict[str, Tensor]
"""Tensors by name: parameters, buffers, or one matrix for each group."""

CARRIED = "carried"
"""Buffers whose names begin so are no part of the network: what it carries from one batch of a stream to the next."""

Alpha = dict[str, Tensor]
"""Architecture parameters by name. The names are those of the relaxation: a group's own, and perhaps further ones."""


@dataclass(frozen=True, eq=False)
class Group:
    """Decisions that share their options: one matrix of mixing weights with a row for each decision.

    Attributes:
        name: of the matrix ("normal", "reduce").
        options: the K operations that a row decides between.
        rows: names of the R decisions. ``source->target`` says between which nodes an edge lies.
        mask: ``[R, K]``, False where a row does not have an option (or has lost it).
        keep: how many inputs a node of the derived cell has; None: all of them.
    """

    name: str
    options: tuple[str, ...]
    rows: tuple[str, ...]
    mask: Tensor
    keep: int | None = None

    def __post_init__(self) -> None:
        if tuple(self.mask.shape) != (len(self.rows), len(self.options)) or self.mask.dtype != torch.bool:
            raise GraphnasError(
                f"group {self.name!r} has {len(self.rows)} rows and {len(self.options)} options; "
                f"its mask must be a boolean matrix of that shape, not {tuple(self.mask.shape)} {self.mask.dtype}"
            )

    @classmethod
    def make(
        cls,
        name: str,
        options: Sequence[str],
        rows: Sequence[str],
        mask: Tensor | Sequence[Sequence[bool]] | None = None,
        keep: int | None = None,
    ) -> Group:
        """A group from plain sequences; without a mask every row has every option.

        Raises:
            GraphnasError: a mask of another shape, or a row without options.
        """
        shape = len(rows), len(options)
        table = torch.ones(shape, dtype=torch.bool) if mask is None else torch.as_tensor(mask, dtype=torch.bool)
        group = cls(name, tuple(options), tuple(rows), table, keep)
        if not bool(table.any(1).all()):
            raise GraphnasError(f"a row of group {name!r} has no options; give it at least one")
        return group

    @property
    def shape(self) -> tuple[int, int]:
        """(R, K)."""
        return len(self.rows), len(self.options)

    @cached_property
    def nodes(self) -> tuple[tuple[int, ...], ...]:
        """For each node, in order of appearance, the rows that lead to it; other rows stand alone."""
        found: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            source, arrow, target = row.rpartition("->")
            cell = source.rpartition(".")[0]
            found.setdefault(f"{cell}->{target}" if arrow else row, []).append(i)
        return tuple(map(tuple, found.values()))

    def masked(self, mask: Tensor) -> Group:
        """This group with another mask."""
        return replace(self, mask=mask)


@dataclass(frozen=True, eq=False)
class Mix:
    """Mixing weights of one evaluation of the supernet, and how they were drawn.

    Attributes:
        weights: for each group ``[R, K]``, or ``[B, R, K]`` with other ones for each example. They carry the gradient.
        hard: the one-hot sample that belongs to relaxed weights, in the same shapes.
        twin: a relaxed sample of equal value whose gradient is that given ``hard`` (Tucker et al., NeurIPS 2017).
        log_probability: of the sample, ``[R]`` or ``[B, R]`` for each architecture matrix; its sum over rows and
            matrices is that of the whole architecture.
        rows: the relaxed matrices before they were joined to weights, by the names of Alpha; the same tensors as
            ``weights`` unless the relaxation joins several (selectors, edge weights).
        node_norm: the supernet normalises each node's sum (batch normalisation without affine parameters).
        channels: only one channel in so many passes the mixed operation; the rest bypass it, times the row's sum.
        sampled: weights are one-hot with a straight-through gradient: only the chosen operation runs, and the zero
            weights of the others are added so that they get a gradient (Dong & Yang, CVPR 2019).
        live: for each group ``[R, K]``, False at options that have been pruned or never were, whose weights are 0 and need no
            gradient: the supernet need not run them. None: all count.
    """

    weights: Tensors
    hard: Tensors | None = None
    twin: Tensors | None = None
    log_probability: Tensors | None = None
    rows: Tensors = field(default_factory=dict)
    node_norm: bool = False
    channels: int = 1
    sampled: bool = False
    live: Tensors | None = None

    def with_weights(self, weights: Mapping[str, Tensor]) -> Mix:
        """The same way to run the supernet with other weights, and nothing of how they were drawn."""
        made = dict(weights)
        return replace(self, weights=made, rows=made, hard=None, twin=None, log_probability=None)

    def detached(self) -> Mix:
        """The weights, and the rows that they were joined from, without their gradient."""
        made = self.with_weights({name: w.detach() for name, w in self.weights.items()})
        return replace(made, rows={name: r.detach() for name, r in self.rows.items()})

    def cut(self) -> Mix:
        """The weights as leaves of a new graph, so that a loss can be differentiated with respect to them."""
        return self.with_weights({name: w.detach().requires_grad_() for name, w in self.weights.items()})


class State(NamedTuple):
    """Weights of the supernet. No function changes them in place.

    Attributes:
        parameters: what the inner optimiser moves, without gradient.
        buffers: running means and the like, and what is carried from batch to batch (``CARRIED``).
    """

    parameters: Tensors
    buffers: Tensors


class Problem(Protocol):
    """A supernet with its losses, as pure functions.

    Neither ``state`` nor any random state is changed by an evaluation: new buffers are returned, and randomness
    (dropout, augmentation) is a function of the batch. ``torch.func.functional_call`` on copied buffers does this.
    """

    @property
    def groups(self) -> tuple[Group, ...]:
        """The decisions."""

    def initial(self, seed: int) -> State:
        """Fresh weights."""

    def inner_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """What the weights minimise, and the buffers after this evaluation.

        Args:
            state: the weights; gradients flow to those that ask for it.
            mix: mixing weights.
            batch: from the training part.
            reduce: the mean over examples; otherwise one loss for each example, ``[B]``.
        """

    def outer_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """What the architecture minimises, in the form of ``inner_loss``."""

    def accuracy(self, state: State, mix: Mix, batch: Any) -> float:
        """The metric on a batch; greater is better."""

    def costs(self) -> Tensors:
        """For each group ``[R, K, C]``, C costs of every option in every row; the first is the number of parameters."""

    def examples(self, batch: Any) -> int:
        """How many examples a batch has."""
