"""A small problem whose best architecture is known: what a method of gradient-based search must be able to solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphnas.oneshot.base import Group, Mix, State, Tensors
from graphnas.oneshot.streams import Split

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPTIONS = ("none", "skip_connect", "tanh", "wave")
GROUP = "cell"


@dataclass(frozen=True, eq=False)
class Examples:
    """A batch.

    Attributes:
        inputs: ``[B, D]``.
        targets: ``[3, B, D]``, the states of nodes 1 to 3 of the teacher.
    """

    inputs: Tensor
    targets: Tensor


class KnownAnswer:
    """A supernet of four nodes is taught by a network with one operation on each of the six edges.

    Node j is the sum over earlier nodes of the edge's operation: nothing, the state itself, ``tanh(2 W x)`` or
    ``cos(W x)``; the last two have a matrix W of their own on every edge. The loss is the squared error summed over
    nodes and components. The teacher's operations are drawn from the seed, its matrices are orthogonal. A node of the teacher that is
    not the last has at least one operation with a matrix, or else several answers would be equally good. By
    chance, about a quarter of the edges are right.

    Args:
        seed: of the teacher and the inputs.
        examples: how many.
        width: D.
        dtype: of everything.
        means: the teacher's nodes are means instead of sums, which is what weights that are normalised over the edges
            of a node can express.
    """

    def __init__(
        self,
        seed: int = 0,
        examples: int = 512,
        width: int = 6,
        dtype: torch.dtype = torch.float32,
        means: bool = False,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.width = width
        self.groups: tuple[Group, ...] = (Group.make(GROUP, OPTIONS, [f"{i}->{j}" for i, j in EDGES]),)
        self.answer = _answer(generator)
        matrices = torch.linalg.qr(torch.randn(2, len(EDGES), width, width, generator=generator)).Q.to(dtype)
        self.inputs = torch.randn(examples, width, generator=generator).to(dtype)
        teacher = torch.nn.functional.one_hot(self.answer, len(OPTIONS)).to(dtype)
        if means:
            teacher = teacher / torch.tensor([[target] for _, target in EDGES], dtype=dtype)
        self.targets = _states({"tanh": matrices[0], "wave": matrices[1]}, teacher, self.inputs)

    def streams(self, batch: int = 32, portion: float | None = 0.5, seed: int = 0) -> Split:
        """Batches of its examples."""
        return Split(len(self.inputs), batch, self._fetch, portion, seed)

    def _fetch(self, indices: Tensor, seed: int) -> Examples:
        return Examples(self.inputs[indices], self.targets[:, indices])

    def right(self, derived: Tensors) -> int:
        """How many of the six edges of an architecture have the teacher's operation; a dropped one has none."""
        return int((derived[GROUP].argmax(1) == self.answer).sum())

    # -- Problem ------------------------------------------------------------------------------------

    def initial(self, seed: int) -> State:
        """Matrices with entries of standard deviation ``1 / sqrt(D)``."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(2, len(EDGES), self.width, self.width, generator=generator) / self.width**0.5
        drawn = drawn.to(self.inputs.dtype)
        return State({"tanh": drawn[0], "wave": drawn[1]}, {})

    def inner_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """The squared error."""
        states = _states(state.parameters, mix.weights[GROUP], batch.inputs)
        each = (states - batch.targets).square().sum((0, 2))
        return each.mean() if reduce else each, state.buffers

    def outer_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """The squared error."""
        return self.inner_loss(state, mix, batch, reduce)

    def accuracy(self, state: State, mix: Mix, batch: Any) -> float:
        """Minus the squared error."""
        with torch.no_grad():
            return -float(self.inner_loss(state, mix, batch)[0])

    def costs(self) -> Tensors:
        """Parameters and multiplications of each option."""
        each = torch.tensor([[0.0, 0.0], [0.0, 0.0], [self.width**2] * 2, [self.width**2] * 2])
        return {GROUP: each.expand(len(EDGES), -1, -1)}

    def examples(self, batch: Any) -> int:
        """B."""
        return len(batch.inputs)


def _answer(generator: torch.Generator) -> Tensor:
    while True:
        drawn = torch.randint(len(OPTIONS), (len(EDGES),), generator=generator)
        # A state of zeros, or one that is a sum of earlier ones, would make what follows it ambiguous.
        if all(bool((drawn[[r for r, (_, j) in enumerate(EDGES) if j == node]] >= 2).any()) for node in (1, 2)):
            return drawn


def _states(matrices: Tensors, weights: Tensor, inputs: Tensor) -> Tensor:
    """The states of nodes 1 to 3 for ``[R, K]`` or ``[B, R, K]`` weights, ``[3, B, D]``."""
    per_edge = weights.movedim(-2, 0)  # [R, K] or [R, B, K]
    states = inputs[None]
    for node in (1, 2, 3):
        rows = [r for r, (_, target) in enumerate(EDGES) if target == node]
        first, last = rows[0], rows[-1] + 1
        squashed = torch.tanh(2 * torch.bmm(states, matrices["tanh"][first:last]))
        waved = torch.cos(torch.bmm(states, matrices["wave"][first:last]))
        w = per_edge[first:last]
        w = w[:, None] if w.ndim == 2 else w
        total = (w[..., 1:2] * states + w[..., 2:3] * squashed + w[..., 3:4] * waved).sum(0)
        states = torch.cat([states, total[None]])
    return states[1:]
