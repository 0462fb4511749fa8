"""The optimisers as pure rules: bit-equal to torch.optim's, differentiable, and without side effects."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Tensors
from graphnas.oneshot.optimisers import SGD, Adam, Rule
from graphnas.oneshot.schedules import Constant, Cosine, Linear

RATE = Constant(0.1)
CASES = {
    "plain": (SGD(RATE), torch.optim.SGD, {}),
    "momentum": (SGD(RATE, momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    "decay": (SGD(RATE, 0.9, weight_decay=3e-4), torch.optim.SGD, {"momentum": 0.9, "weight_decay": 3e-4}),
    "nesterov": (
        SGD(RATE, 0.9, True, 5e-4),
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    ),
    "clipped": (SGD(RATE, 0.9, weight_decay=3e-4, clip=1.0), torch.optim.SGD, {"momentum": 0.9, "weight_decay": 3e-4}),
    "adam": (Adam(RATE), torch.optim.Adam, {}),
    "adam of DARTS": (
        Adam(RATE, (0.5, 0.999), weight_decay=1e-3, clip=0.5),
        torch.optim.Adam,
        {"betas": (0.5, 0.999), "weight_decay": 1e-3},
    ),
}


def parameters(dtype: torch.dtype) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (3, 4), "b": (5,), "c": ()}
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_are_bit_equal_to_torch(case: str, dtype: torch.dtype) -> None:
    rule: Any
    rule, make, options = CASES[case]
    start = parameters(dtype)
    theirs = {name: nn.Parameter(p.clone()) for name, p in start.items()}
    optimiser = make(theirs.values(), lr=0.1, **options)
    ours, slots = start, {}
    generator = torch.Generator().manual_seed(1)
    for step in range(20):
        gradients = {n: torch.randn(p.shape, generator=generator, dtype=dtype) for n, p in start.items()}
        if step % 3 == 2:
            gradients["b"] = None  # type: ignore[assignment]
        for name, p in theirs.items():
            p.grad = None if gradients[name] is None else gradients[name].clone()
        if rule.clip is not None:
            nn.utils.clip_grad_norm_(theirs.values(), rule.clip)
        optimiser.param_groups[0]["lr"] = rate = 0.1 / (1 + step)
        optimiser.step()
        ours, slots = rule.step(ours, gradients, slots, rate)
    for name, p in theirs.items():
        assert torch.equal(p, ours[name]), name
        assert not torch.equal(p, start[name])


@pytest.mark.parametrize("case", CASES)
def test_a_step_changes_nothing_that_it_was_given(case: str) -> None:
    rule: Rule = CASES[case][0]  # type: ignore[assignment]
    start = parameters(torch.float32)
    gradients = {name: torch.ones_like(p) for name, p in start.items()}
    _, slots = rule.step(start, gradients, {}, 0.1)
    before = copy.deepcopy((start, gradients, slots))
    rule.step(start, gradients, slots, 0.1)
    for old, new in zip(before[:2], (start, gradients), strict=True):
        assert all(torch.equal(old[n], new[n]) for n in new)
    assert all(torch.equal(before[2][kind][n], t) for kind, tensors in slots.items() for n, t in tensors.items())


@pytest.mark.parametrize("case", [c for c in CASES if c != "plain"])
def test_a_step_is_differentiable_in_the_gradient(case: str) -> None:
    rule: Rule = CASES[case][0]  # type: ignore[assignment]
    start = parameters(torch.float64)
    _, slots = rule.step(start, {n: torch.sin(p) for n, p in start.items()}, {}, 0.1)

    def moved(*gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(rule.step(start, dict(zip(start, gradients, strict=True)), slots, 0.1)[0].values())

    inputs = tuple(torch.cos(3 * p).requires_grad_() for p in start.values())
    assert torch.autograd.gradcheck(moved, inputs)


def test_schedules_have_their_values_at_the_ends_and_in_the_middle() -> None:
    assert [Linear(1.0, 0.03)(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.515, 0.03])
    assert [Cosine(0.025, 0.001)(p) for p in (0, 0.5, 1)] == pytest.approx([0.025, 0.013, 0.001])
    assert [Cosine(2.0, 0.0, begin=0.2)(p) for p in (0, 0.2, 0.6, 1)] == pytest.approx([2, 2, 1, 0])


def test_look_ahead_without_momentum_is_refused() -> None:
    with pytest.raises(GraphnasError, match="momentum greater than 0"):
        SGD(RATE, nesterov=True)
