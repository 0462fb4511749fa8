"""Small exact problems for the parts of gradient-based search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from graphnas.oneshot.base import Alpha, Group, Mix, State, Tensors
from graphnas.oneshot.context import Context
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.relaxations import Relaxation
from graphnas.oneshot.schedules import Clock, Constant

Loss = Callable[[Tensors, Tensors, Any], Tensor]
"""From parameters, mixing weights by group and a batch."""


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Functions:
    """A Problem of two plain functions; batches are the numbers 0, 1, 2, ..., for both streams."""

    length = outer_length = 10

    def __init__(self, groups: Sequence[Group], inner: Loss, outer: Loss, parameters: Tensors | None = None) -> None:
        self.groups = tuple(groups)
        self._inner, self._outer = inner, outer
        self.parameters = parameters or {"w": torch.zeros(1, dtype=torch.float64)}

    def initial(self, seed: int) -> State:
        return State(dict(self.parameters), {})

    def inner_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        loss = self._inner(state.parameters, mix.weights, batch)
        return (loss.mean() if reduce else loss), state.buffers

    def outer_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        loss = self._outer(state.parameters, mix.weights, batch)
        return (loss.mean() if reduce else loss), state.buffers

    def accuracy(self, state: State, mix: Mix, batch: Any) -> float:
        return -float(self._outer(state.parameters, mix.weights, batch).mean())

    def costs(self) -> Tensors:
        return {g.name: torch.ones(*g.shape, 1) for g in self.groups}

    def examples(self, batch: Any) -> int:
        return int(batch) if isinstance(batch, int) and batch > 1 else 1

    def inner(self, index: int) -> int:
        return index

    def outer(self, index: int) -> int:
        return index


@dataclass(frozen=True)
class Identity(Relaxation):
    """Alpha itself as mixing weights, so that a loss is a plain function of alpha."""

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        return self.expected(groups, alpha, progress)

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        weights = {g.name: alpha[g.name].masked_fill(~g.mask, 0.0) for g in groups}
        return Mix(weights, rows=weights)


def context_of(
    problem: Any,
    alpha: Alpha,
    relaxation: Relaxation,
    *,
    inner: Any = None,
    state: State | None = None,
    slots: Any = None,
    step: int = 0,
    seed: int = 0,
    streams: Any = None,
) -> Context:
    """A moment of a search of 10 epochs of 100 steps."""
    return Context(
        problem=problem,
        groups=problem.groups,
        relaxation=relaxation,
        alpha={name: a.detach().requires_grad_() for name, a in alpha.items()},
        state=problem.initial(0) if state is None else state,
        inner=SGD(Constant(0.1)) if inner is None else inner,
        slots=slots or {},
        clock=Clock(step, 100, 10),
        streams=problem if streams is None else streams,
        opened=step,
        seed=seed,
    )


def gradient_of(context: Context, outer: Any) -> Alpha:
    """The gradient with respect to alpha that an outer step estimates."""
    update = outer(context)
    found = torch.autograd.grad(update.surrogate, list(context.alpha.values()), allow_unused=True)
    return {
        name: torch.zeros_like(a) if g is None else g for (name, a), g in zip(context.alpha.items(), found, strict=True)
    }


@pytest.fixture
def functions() -> type[Functions]:
    """The class of problems of two plain functions."""
    return Functions


@pytest.fixture
def identity() -> Relaxation:
    """The relaxation that does nothing."""
    return Identity()


@pytest.fixture
def moment() -> Callable[..., Context]:
    """Makes contexts."""
    return context_of


@pytest.fixture
def gradient() -> Callable[[Context, Any], Alpha]:
    """Evaluates outer steps."""
    return gradient_of
