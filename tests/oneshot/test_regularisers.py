"""The terms of the outer objective: by enumeration, by their fixed points, and what they do in a search (T6b)."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Alpha, Group, Tensors
from graphnas.oneshot.discretisers import ArgmaxPerRow
from graphnas.oneshot.gates import Always
from graphnas.oneshot.method import Method
from graphnas.oneshot.optimisers import SGD, Adam
from graphnas.oneshot.outer import MGS, FirstOrder
from graphnas.oneshot.regularisers import ADMM, Concentration, Proximity, ResourceCost, SamePair, View
from graphnas.oneshot.relaxations import ClampNorm, Concrete, CoupledConcrete, Dirichlet, Relaxation, Selectors, Softmax
from graphnas.oneshot.schedules import Constant
from graphnas.oneshot.search import Budget, search

GROUP = Group.make("g", ["none", "skip", "conv", "wide"], ["0->1", "0->2", "1->2"])
ALPHA = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
COSTS = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 1000
ONE_HOT = torch.stack([torch.eye(4, dtype=torch.float64)[list(z)] for z in itertools.product(range(4), repeat=3)])


def view(relaxation: Relaxation, alpha: Alpha, progress: float = 0.5, seed: int = 0, n: int | None = None) -> View:
    asked = {name: a.detach().requires_grad_() for name, a in alpha.items()}
    mix = relaxation([GROUP], asked, progress, torch.Generator().manual_seed(seed), n)
    return View((GROUP,), asked, mix, relaxation, progress, {"g": COSTS})


def slope(value: Tensor, seen: View) -> Tensor:
    found: Tensor = torch.autograd.grad(value, seen.alpha["g"])[0]
    return found


# -- cost -------------------------------------------------------------------------------------------

FACTORS = torch.tensor([0.86, 0.43 / 4000, 0.43 / 100], dtype=torch.float64)


def test_discrete_cost_is_the_enumerated_expectation() -> None:
    seen = view(Concrete(Constant(0.5)), {"g": ALPHA})
    value = ResourceCost(0.1, "discrete", "plain", scale={"g": 1 / 6})(seen, {})
    probabilities = (ONE_HOT * ALPHA.softmax(1)).sum(-1).prod(-1)
    each = torch.einsum("nrk,rkc,c->n", ONE_HOT, COSTS, FACTORS) / 6
    assert float(value.detach()) == pytest.approx(float(0.1 * (probabilities * each).sum()), rel=1e-12)


def test_logarithmic_cost_is_floored_at_one() -> None:
    small = {"g": torch.tensor([[[0.5, 0.1, 0.0]] * 4, [[math.e, 1.0, math.e**2]] * 4, [[0.5, 0.5, 0.5]] * 4]).double()}
    seen = replace(view(Softmax(), {"g": ALPHA}), costs=small)
    assert float(ResourceCost(1.0, "discrete", "log")(seen, {}).detach()) == pytest.approx(1.0, rel=1e-6)


def test_relaxed_cost_becomes_the_expectation_as_the_temperature_falls() -> None:
    exact = float(ResourceCost(1.0, "discrete", "plain")(view(Softmax(), {"g": ALPHA}), {}).detach())
    errors = []
    for heat in (3.0, 1.0, 0.1):
        seen = view(Concrete(Constant(heat)), {"g": ALPHA}, n=100_000)
        errors.append(abs(float(ResourceCost(1.0, "reparametrization", "plain")(seen, {}).detach()) - exact) / exact)
    assert errors[0] > 5 * errors[2]
    assert errors[2] < 0.01


def test_policy_gradient_of_the_cost_is_that_of_the_relaxed_cost() -> None:
    made: dict[str, list[Tensor]] = {"policy_gradient": [], "reparametrization": []}
    for seed, mode in itertools.product(range(40), made):
        seen = view(Concrete(Constant(0.8)), {"g": ALPHA}, seed=seed, n=2000)
        made[mode].append(slope(ResourceCost(1.0, mode, "log")(seen, {}), seen))
    difference = torch.stack(made["policy_gradient"]) - torch.stack(made["reparametrization"])
    assert bool((difference.mean(0).abs() < 4 * difference.std(0) / 40**0.5).all())
    with pytest.raises(GraphnasError, match="log-probability"):
        ResourceCost(1.0, "policy_gradient")(view(Softmax(), {"g": ALPHA}), {})


def test_a_greater_weight_moves_more_mass_to_free_operations(functions: Any) -> None:
    problem = functions([GROUP], lambda w, m, b: w["w"].sum() * 0, lambda w, m, b: -(m["g"][:, 2:]).sum())
    costs = torch.zeros(3, 4, 1)
    costs[:, 2:] = 100.0
    problem.costs = lambda: {"g": costs}
    mass = []
    for eta in (0.0, 0.1, 0.3, 1.0):
        method = Method(
            "cost",
            "",
            Softmax(),
            FirstOrder(),
            ArgmaxPerRow(),
            SGD(Constant(0.0)),
            SGD(Constant(0.1)),
            regularisers=(ResourceCost(eta),),
        )
        alpha = search(problem, method, problem, budget=Budget(1, 40)).alpha["g"]
        mass.append(float(alpha.softmax(1)[:, :2].sum()))
    assert all(more > less for less, more in itertools.pairwise(mass))
    assert mass[0] < 1.5 < mass[-1]


# -- proximity and ADMM -----------------------------------------------------------------------------


def test_proximity_is_a_ramped_norm_of_the_distance(identity: Any) -> None:
    weights = ALPHA.softmax(1)
    nearest = torch.nn.functional.one_hot(weights.argmax(1), 4)
    for progress in (0.0, 0.5, 1.0):
        seen = view(identity, {"g": weights}, progress)
        value = Proximity(0.1)(seen, {})
        assert float(value.detach()) == pytest.approx(progress * 0.05 * float((weights - nearest).norm()), rel=1e-12)
    step = slope(value, seen)
    closer = weights - 0.01 * step
    assert float((closer - nearest).norm()) < float((weights - nearest).norm())


def test_proximity_has_no_gradient_on_a_vertex(identity: Any) -> None:
    vertex = torch.nn.functional.one_hot(ALPHA.argmax(1), 4).double()
    for adjusted in (False, True):
        seen = view(identity, {"g": vertex}, 0.7)
        assert bool((slope(Proximity(1.0, adjusted)(seen, {}), seen) == 0).all())


def test_adjusted_proximity_spares_the_middle_early_on(identity: Any) -> None:
    uniform = torch.full((3, 4), 0.25, dtype=torch.float64)
    value = {p: float(Proximity(1.0, True)(view(identity, {"g": uniform}, p), {}).detach()) / p for p in (1e-9, 1.0)}
    assert value[1e-9] == pytest.approx(0, abs=1e-6)  # (1/4)^(ln 2 / ln 4) = 1/2
    assert value[1.0] == pytest.approx(0.5 * math.sqrt(3 * (0.75**2 + 3 * 0.25**2)))


def quadratic_search(functions: Any, identity: Any, regulariser: Any, target: Tensor) -> Tensor:
    problem = functions(
        [GROUP], lambda w, m, b: w["w"].sum() * 0, lambda w, m, b: 0.5 * (m["g"] - target).square().sum()
    )
    method = Method(
        "m",
        "",
        identity,
        FirstOrder(),
        ArgmaxPerRow(),
        SGD(Constant(0.0)),
        SGD(Constant(0.2)),
        Always(),
        (regulariser,),
    )
    return search(problem, method, problem, budget=Budget(20, 20)).alpha["g"]


def distance(alpha: Tensor) -> float:
    return float((alpha - torch.nn.functional.one_hot(alpha.argmax(1), 4)).norm())


def test_admm_reaches_a_vertex_with_a_large_weight_only(functions: Any, identity: Any) -> None:
    target = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.2, 0.2, 0.5, 0.1], [0.25, 0.3, 0.25, 0.2]], dtype=torch.float64)
    found = {}
    for rho in (0.1, 2.0):
        alpha = quadratic_search(functions, identity, ADMM(rho, discretiser=ArgmaxPerRow()), target)
        found[rho] = distance(alpha)
        if rho == 2.0:
            assert torch.equal(alpha.argmax(1), target.argmax(1))
    near = distance(quadratic_search(functions, identity, Proximity(2.0, discretiser=ArgmaxPerRow()), target))
    print("T6b ADMM", found, "proximity", near)
    assert found[2.0] < 1e-6
    assert found[0.1] > 0.1
    assert near > 0.05


def test_admm_updates_are_those_of_the_scaled_form(identity: Any) -> None:
    admm = ADMM(2.0, kappa=0.5, every=2, discretiser=ArgmaxPerRow())
    first, second, third = (view(identity, {"g": ALPHA * s}) for s in (1.0, 2.0, 3.0))
    memory = admm.remember(first, {})
    assert torch.equal(memory["Z g"], ALPHA)
    assert float(admm(second, memory).detach()) == pytest.approx(float(ALPHA.square().sum()))
    memory = admm.remember(second, memory)
    assert torch.equal(memory["Z g"], ALPHA)
    memory = admm.remember(third, memory)
    z = torch.nn.functional.one_hot(ALPHA.argmax(1), 4)
    assert torch.equal(memory["Z g"], z)
    assert torch.allclose(memory["U g"], 3 * ALPHA - z)
    later = admm.remember(third, admm.remember(third, memory))
    z = torch.nn.functional.one_hot((3 * ALPHA + memory["U g"]).argmax(1), 4)
    assert torch.equal(later["Z g"], z)
    assert torch.allclose(later["U g"], 0.5 * memory["U g"] + 3 * ALPHA - z)
    value = (3 * ALPHA - later["Z g"] + later["U g"]).square().sum()
    assert float(admm(third, later).detach()) == pytest.approx(float(value))


def test_pruned_parameters_stay_zero_in_a_hundred_adam_steps(functions: Any) -> None:
    """Later the loss would pull pruned entries up again, and Adam remembers how it pushed them down; neither moves them."""
    target = torch.tensor([[0.0, -1.0, 0.5, 0.5], [0.0, 0.4, -1.0, 0.3], [0.0, 0.5, 0.5, -1.0]])

    def outer(w: Tensors, m: Tensors, batch: Any) -> Tensor:
        return 0.5 * (m["g"] - (target if batch < 20 else target.abs())).square().sum()

    problem = functions([GROUP], lambda w, m, b: w["w"].sum() * 0, outer, {"w": torch.zeros(1)})
    method = Method(
        "clamp",
        "",
        ClampNorm(),
        FirstOrder(),
        ArgmaxPerRow(),
        SGD(Constant(0.0)),
        Adam(Constant(0.05), weight_decay=1e-3),
        regularisers=(Proximity(0.1, discretiser=ArgmaxPerRow()),),
    )
    states = []
    search(
        problem, method, problem, budget=Budget(1, 120),
        after_step=lambda s: states.append((s.alpha["g"], s.masks["g"], s.architecture)),
    )  # fmt: skip
    pruned = ~states[19][1]
    assert pruned.sum() == 6  # "none" everywhere, and one in each row
    for alpha, mask, slots in states[20:]:
        assert not mask[pruned].any()
        assert bool((alpha[pruned] == 0).all())
        assert all(bool((slots[kind]["g"][pruned] == 0).all()) for kind in ("mean", "square"))
    assert float(states[-1][0][~pruned].abs().sum()) > 0


# -- selectors and concentrations -------------------------------------------------------------------


def test_agreement_of_selectors_is_its_probability() -> None:
    relaxation = Selectors(CoupledConcrete(per_example=False))
    parts = relaxation.parts([GROUP])
    alpha = {p.name: torch.randn(p.shape, generator=torch.Generator().manual_seed(5)).double() for p in parts}
    seen = view(relaxation, alpha)
    expected = relaxation.expected([GROUP], seen.alpha, 0.0)
    value = SamePair(0.2)(replace(seen, mix=expected), {})
    total = 0.0
    for node in (0, 1):
        for i, k in itertools.product(range(2), range(4)):
            total += math.prod(
                (expected.rows["g:inputs"][2 * node + s, i] * expected.rows["g:operations"][2 * node + s, k]).item()
                for s in (0, 1)
            )
    assert float(value.detach()) == pytest.approx(0.2 * total)
    batch = view(relaxation, alpha, n=7)
    assert SamePair()(batch, {}).ndim == 0
    assert float(SamePair()(view(Softmax(), {"g": ALPHA}), {})) == 0


def test_concentrations_are_drawn_to_one() -> None:
    seen = view(Dirichlet(), {"g": ALPHA})
    level = torch.nn.functional.elu(ALPHA) + 1
    value = Concentration(1e-3)(seen, {})
    assert float(value.detach()) == pytest.approx(1e-3 * float((level - 1).square().sum()))
    flat = view(Dirichlet(), {"g": torch.zeros(3, 4, dtype=torch.float64)})
    assert bool((slope(Concentration()(flat, {}), flat) == 0).all())


def test_a_displacement_takes_no_regulariser() -> None:
    with pytest.raises(GraphnasError, match="added to alpha as it is"):
        Method("m", "", Softmax(), MGS(), ArgmaxPerRow(), SGD(Constant(0.1)), regularisers=(Proximity(),))
    with pytest.raises(GraphnasError, match="name the architecture's optimiser"):
        Method("m", "", Softmax(), FirstOrder(), ArgmaxPerRow(), SGD(Constant(0.1)))
