"""T2: the Neumann series on quadratics, against the implicit function theorem and an unrolled descent."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Group, State, Tensors
from graphnas.oneshot.checkpoint import SearchState
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods import get
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.outer import Neumann
from graphnas.oneshot.schedules import Constant
from graphnas.oneshot.search import Budget, search

GROUP = Group.make("g", "abcde", ["row"])
generator = torch.Generator().manual_seed(0)
BASIS = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q
EIGENVALUES = torch.linspace(0.3, 3.9, 8, dtype=torch.float64)  # condition number 13
H = BASIS @ torch.diag(EIGENVALUES) @ BASIS.T
B = torch.randn(8, 5, generator=generator, dtype=torch.float64)
ALPHA = torch.randn(1, 5, generator=generator, dtype=torch.float64)
TARGET = torch.randn(8, generator=generator, dtype=torch.float64)
SLOPE = torch.randn(5, generator=generator, dtype=torch.float64)
GAMMA = 1.0 / 3.9
W = torch.linalg.solve(H, B @ ALPHA[0])  # the inner optimum


def inner(w: Tensors, m: Tensors, batch: Any) -> Tensor:
    return 0.5 * w["w"] @ H @ w["w"] - w["w"] @ B @ m["g"][0]


def outer(w: Tensors, m: Tensors, batch: Any) -> Tensor:
    return 0.5 * (w["w"] - TARGET).square().sum() + (SLOPE * m["g"][0]).sum()


def implicit() -> Tensor:
    return SLOPE + B.T @ torch.linalg.solve(H, W - TARGET)


@pytest.fixture
def problem(functions: Any) -> Any:
    return functions([GROUP], inner, outer, {"w": W})


def estimate(problem: Any, moment: Any, gradient: Any, identity: Any, step: Neumann) -> Tensor:
    found: Tensor = gradient(moment(problem, {"g": ALPHA}, identity), step)["g"][0]
    return found


def test_error_falls_and_stays_below_the_bound(problem: Any, moment: Any, gradient: Any, identity: Any) -> None:
    exact = implicit()
    scale = float(torch.linalg.matrix_norm(B, 2) * (W - TARGET).norm()) / 0.3
    errors = []
    for k in (0, 1, 2, 5, 10, 20, 50, 100, 200, 400):
        found = estimate(problem, moment, gradient, identity, Neumann(k, GAMMA))
        errors.append(float((found - exact).norm()))
        assert errors[-1] <= scale * (1 - GAMMA * 0.3) ** (k + 1) + 1e-11, k
    print("T2 errors", [f"{e:.1e}" for e in errors])
    assert errors[-1] <= 1e-9
    assert all(late < early for early, late in itertools.pairwise(errors))
    assert errors[0] > 1


def test_equals_an_unrolled_descent_at_the_optimum(problem: Any, moment: Any, gradient: Any, identity: Any) -> None:
    for k in (0, 1, 3, 10, 40):
        alpha, w = ALPHA.clone().requires_grad_(), W
        for _ in range(k + 1):
            asked = w if w.requires_grad else w.clone().requires_grad_()
            w = asked - GAMMA * torch.autograd.grad(inner({"w": asked}, {"g": alpha}, 0), asked, create_graph=True)[0]
        exact = torch.autograd.grad(outer({"w": w}, {"g": alpha}, 0), alpha)[0][0]
        found = estimate(problem, moment, gradient, identity, Neumann(k, GAMMA))
        difference = float((found - exact).norm())
        print(f"T2 unroll {k + 1}: {difference:.1e}")
        assert difference <= 1e-10


def test_differences_are_exact_on_quadratics(problem: Any, moment: Any, gradient: Any, identity: Any) -> None:
    exact = estimate(problem, moment, gradient, identity, Neumann(10, GAMMA))
    found = estimate(problem, moment, gradient, identity, Neumann(10, GAMMA, mode="finite_difference"))
    assert torch.allclose(found, exact, rtol=1e-9, atol=0)


def test_divergence_is_found_and_only_then(problem: Any, moment: Any, gradient: Any, identity: Any) -> None:
    beyond = 2.05 / 3.9
    with pytest.raises(GraphnasError, match=r"diverges.*gamma below"):
        estimate(problem, moment, gradient, identity, Neumann(400, beyond, on_divergence="raise"))
    update = Neumann(400, beyond)(moment(problem, {"g": ALPHA}, identity))
    assert 1 < update.log["neumann_terms"] < 401
    assert bool(torch.isfinite(update.surrogate))  # type: ignore[arg-type]
    update = Neumann(400, 1.95 / 3.9, on_divergence="raise")(moment(problem, {"g": ALPHA}, identity))
    assert update.log["neumann_terms"] == 401


@pytest.mark.parametrize("mode", ["exact", "finite_difference"])
def test_evaluation_leaves_the_weights_bit_equal(
    problem: Any, moment: Any, gradient: Any, identity: Any, mode: str
) -> None:
    context = moment(problem, {"g": ALPHA}, identity)
    before = W.clone()
    gradient(context, Neumann(3, GAMMA, mode))
    assert torch.equal(context.state.parameters["w"], before)
    k = 3
    expected = (2, 3 + k, 1 + k) if mode == "exact" else (1 + 2 * k + 2, 1 + 2 * k + 2, 0)
    assert (context.count.forward, context.count.backward, context.count.second) == expected


def test_the_real_weights_move_between_two_outer_steps(problem: Any, identity: Any) -> None:
    problem.parameters = {"w": torch.zeros(8, dtype=torch.float64)}
    idarts: Method = replace(get("idarts"), relaxation=identity, inner=SGD(Constant(0.1)))
    trace: list[tuple[int, State]] = []

    def note(state: SearchState) -> None:
        trace.append((state.opened, state.weights))

    result = search(problem, idarts, problem, budget=Budget(epochs=1, length=12), after_step=note)
    assert [opened for opened, _ in trace] == [1] * 4 + [2] * 4 + [3] * 4
    w = [torch.zeros(8, dtype=torch.float64)] + [state.parameters["w"] for _, state in trace]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(w))
    # T plain descent steps with the alpha that came out of the outer step
    alpha = result.alpha["g"][0]
    for i in range(9, 12):
        assert torch.allclose(w[i + 1], w[i] - 0.1 * (H @ w[i] - B @ alpha), atol=1e-14)
