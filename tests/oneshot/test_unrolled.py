"""T1: the unrolled gradient against autograd through torch's own optimiser, and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graphnas.oneshot.base import Group, State, Tensors
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.outer import FirstOrder, Unrolled
from graphnas.oneshot.relaxations import Softmax
from graphnas.oneshot.schedules import Constant

GROUP = Group.make("g", "abcd", ["0->1", "0->2", "1->2"])
XI = 0.2
RULES = {
    "plain": SGD(Constant(1.0)),
    "momentum and decay": SGD(Constant(1.0), momentum=0.9, weight_decay=3e-2),
    "nesterov": SGD(Constant(1.0), momentum=0.9, nesterov=True, weight_decay=3e-2),
    "clipped": SGD(Constant(1.0), momentum=0.9, weight_decay=3e-2, clip=0.3),
}


def data(dtype: torch.dtype) -> tuple[Tensors, Tensor, Tensor, Tensors, Tensors]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    parameters = {"first": draw(3, 4, 5), "second": draw(5)}
    slots = {"momentum": {name: draw(*p.shape) / 10 for name, p in parameters.items()}}
    return parameters, draw(2, 20, 3) / 2, draw(2, 20), {"g": draw(3, 4)}, slots  # type: ignore[return-value]


def problem(functions: Any, dtype: torch.dtype) -> tuple[Any, Tensors, Any]:
    parameters, inputs, targets, alpha, slots = data(dtype)

    def loss(part: int) -> Callable[[Tensors, Tensors, Any], Tensor]:
        def value(w: Tensors, m: Tensors, batch: Any) -> Tensor:
            hidden = torch.einsum("rk,rkh,br->bh", m["g"], w["first"], inputs[part])
            return (torch.tanh(hidden) @ w["second"] - targets[part]).square()

        return value

    return functions([GROUP], loss(0), loss(1), parameters), alpha, slots


def autograd(made: Any, alpha: Tensor, slots: Any, rule: SGD, rate: float) -> Tensor:
    """Through a real step of torch.optim.SGD that keeps its graph."""
    asked = alpha.clone().requires_grad_()
    weights = {"g": asked.softmax(1)}
    leaves = {n: p.clone().requires_grad_() for n, p in made.parameters.items()}
    loss = made._inner(leaves, weights, 0).mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
    if rule.clip is not None:
        total = torch.cat([g.flatten() for g in gradients]).norm()
        gradients = tuple(g * torch.clamp(rule.clip / (total + 1e-6), max=1.0) for g in gradients)
    moved = {n: p.clone() for n, p in leaves.items()}
    optimiser = torch.optim.SGD(
        list(moved.values()),
        lr=rate,
        momentum=rule.momentum,
        nesterov=rule.nesterov,
        weight_decay=rule.weight_decay,
        differentiable=True,
    )
    for (name, p), g in zip(moved.items(), gradients, strict=True):
        p.grad = g
        if rule.momentum:
            optimiser.state[p]["momentum_buffer"] = slots["momentum"][name].clone()
    optimiser.step()
    outer = made._outer(moved, weights, 0).mean()
    return torch.autograd.grad(outer, asked)[0]


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("mode", "dtype", "tolerance"),
    [
        ("exact", torch.float64, 1e-12),
        ("finite_difference", torch.float64, 1e-5),
        ("finite_difference", torch.float32, 1e-5),
    ],
)
def test_equals_autograd_through_the_real_step(
    functions: Any, moment: Any, gradient: Any, rule: str, mode: str, dtype: torch.dtype, tolerance: float
) -> None:
    made, alpha, slots = problem(functions, dtype)
    sgd = RULES[rule]
    given = slots if sgd.momentum else {}
    context = moment(made, alpha, Softmax(), inner=sgd, slots=given)
    found = gradient(context, Unrolled(xi=XI, mode=mode))["g"]
    exact_problem, exact_alpha, exact_slots = problem(functions, torch.float64)
    exact = autograd(exact_problem, exact_alpha["g"], exact_slots, sgd, XI)
    print(f"T1 {rule} {mode} {dtype}: {error(found.double(), exact):.2e}")
    assert error(found.double(), exact) <= tolerance
    first = gradient(moment(made, alpha, Softmax(), inner=sgd, slots=given), FirstOrder())["g"]
    assert error(first.double(), exact) > 0.05  # so that the test tells them apart


def test_differences_improve_a_hundredfold_for_a_tenth_of_the_step(functions: Any, moment: Any, gradient: Any) -> None:
    made, alpha, slots = problem(functions, torch.float64)
    exact = autograd(made, alpha["g"], slots, RULES["plain"], XI)
    errors = [
        error(gradient(moment(made, alpha, Softmax(), inner=RULES["plain"]), Unrolled(XI, step=step))["g"], exact)
        for step in (1e-1, 1e-2, 1e-3)
    ]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("mode", ["exact", "finite_difference"])
def test_without_a_step_it_is_first_order(functions: Any, moment: Any, gradient: Any, mode: str) -> None:
    made, alpha, _ = problem(functions, torch.float64)
    context = moment(made, alpha, Softmax())
    unrolled, first = (gradient(context, outer)["g"] for outer in (Unrolled(xi=0.0, mode=mode), FirstOrder()))
    assert torch.equal(unrolled, first)


@pytest.mark.parametrize("mode", ["exact", "finite_difference"])
def test_weights_stay_bit_equal(functions: Any, moment: Any, gradient: Any, mode: str) -> None:
    made, alpha, slots = problem(functions, torch.float32)
    before = {n: p.clone() for n, p in made.parameters.items()}
    context = moment(made, alpha, Softmax(), inner=RULES["momentum and decay"], slots=slots)
    gradient(context, Unrolled(mode=mode))
    assert all(torch.equal(p, before[n]) for n, p in context.state.parameters.items())
    assert isinstance(context.state, State)
    assert all(not p.requires_grad for p in context.state.parameters.values())


def test_evaluations_are_those_of_the_paper(functions: Any, moment: Any, gradient: Any) -> None:
    made, alpha, _ = problem(functions, torch.float32)
    counts = {}
    for outer in (FirstOrder(), Unrolled(mode="exact"), Unrolled(mode="finite_difference")):
        context = moment(made, alpha, Softmax())
        gradient(context, outer)
        counts[outer] = (context.count.forward, context.count.backward, context.count.second)
    assert list(counts.values()) == [(1, 1, 0), (2, 3, 1), (4, 4, 0)]


def test_first_order_leaves_the_weights_out_of_the_graph(functions: Any, moment: Any, gradient: Any) -> None:
    made, alpha, _ = problem(functions, torch.float64)
    seen: list[bool] = []
    plain = made._outer

    def watched(w: Tensors, m: Tensors, batch: Any) -> Tensor:
        seen.append(any(p.requires_grad for p in w.values()))
        return plain(w, m, batch)

    made._outer = watched
    found = gradient(moment(made, alpha, Softmax()), FirstOrder())["g"]
    asked = alpha["g"].clone().requires_grad_()
    exact = torch.autograd.grad(plain(made.parameters, {"g": asked.softmax(1)}, 0).mean(), asked)[0]
    assert seen == [False]
    assert error(found, exact) < 1e-14
