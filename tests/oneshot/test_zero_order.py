"""T3: the zero-order steps of ZARTS on quadratics, by their laws; and that candidates leave no trace."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from graphnas.oneshot.base import Group, Mix, State, Tensors
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.outer import GLD, MGS, RandomSmoothing
from graphnas.oneshot.outer.likelihood import importance
from graphnas.oneshot.outer.zero_order import Candidates
from graphnas.oneshot.relaxations import Softmax
from graphnas.oneshot.schedules import Constant


def quadratic(functions: Any, rows: int, options: int, h: Tensor, g: Tensor) -> Any:
    def loss(w: Tensors, m: Tensors, batch: Any) -> Tensor:
        u = m["g"].flatten()
        return g @ u + 0.5 * u @ h @ u

    return functions([Group.make("g", [str(i) for i in range(options)], [str(i) for i in range(rows)])], loss, loss)


def zero(rows: int, options: int) -> Tensors:
    return {"g": torch.zeros(rows, options, dtype=torch.float64)}


def test_mgs_converges_to_the_newton_step(functions: Any, moment: Any, identity: Any) -> None:
    h = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.5]], dtype=torch.float64)
    g = torch.tensor([0.8, -0.5, 0.3], dtype=torch.float64)
    newton = -torch.linalg.solve(h, g)
    problem = quadratic(functions, 1, 3, h, g)
    errors = {}
    for n, repeats in ((16, 20), (256, 10), (16384, 1)):
        step = MGS(n, 0, temperature=0.5, sigma=Constant(1.0), mixture=0.5)
        found = [
            step(moment(problem, zero(1, 3), identity, seed=s)).delta["g"][0]  # type: ignore[index]
            for s in range(repeats)
        ]
        errors[n] = sum(float((f - newton).norm() / newton.norm()) for f in found) / repeats
    cosine = float(torch.cosine_similarity(found[0], newton, 0))
    print("T3a cosine", cosine, "relative errors", errors)
    assert cosine > 0.999
    assert errors[16384] < 0.03
    assert errors[256] == pytest.approx(errors[16] / 4, rel=0.4)  # falls with the root of the number of samples


def test_importance_weights_by_plain_densities() -> None:
    drawn = torch.tensor([[0.1, -0.2], [0.9, 1.1], [0.4, 0.3]], dtype=torch.float64)
    centre, values = torch.tensor([1.0, 1.0], dtype=torch.float64), torch.tensor([0.3, 0.1, 0.7], dtype=torch.float64)
    sigma, tau, mixture = 0.4, 0.2, 0.3

    def normal(x: Tensor, mean: Tensor) -> float:
        return float(torch.exp(-(x - mean).square().sum() / (2 * sigma**2)) / (2 * torch.pi * sigma**2))

    plain = [
        float(torch.exp(-v / tau)) / (0.7 * normal(x, centre) + 0.3 * normal(x, torch.zeros(2)))
        for x, v in zip(drawn, values, strict=True)
    ]
    exact = torch.tensor(plain, dtype=torch.float64) / sum(plain)
    assert torch.allclose(importance(values, drawn, centre, sigma, tau, mixture), exact, rtol=1e-12)
    # Far out, where every plain density is 0, the logarithms still tell the samples apart.
    far = importance(values, drawn + 1000, centre, sigma, tau, mixture)
    assert float(far.sum()) == pytest.approx(1)
    shifted = importance(values + 1e6, drawn, centre, sigma, tau, mixture)
    assert torch.allclose(shifted, exact, rtol=1e-6)


def test_proposal_is_a_mixture_of_draws(functions: Any, moment: Any, identity: Any) -> None:
    """Each displacement is near one of the two centres, never at a fixed combination of both."""
    g = torch.full((3,), 5.0, dtype=torch.float64)
    problem = quadratic(functions, 1, 3, torch.zeros(3, 3, dtype=torch.float64), g)
    context = moment(problem, zero(1, 3), identity)
    seen: list[Tensor] = []
    plain = problem._outer

    def watched(w: Tensors, m: Tensors, batch: Any) -> Tensor:
        seen.append(m["g"].detach().flatten())
        return plain(w, m, batch)

    problem._outer = watched
    MGS(400, 0, temperature=0.5, sigma=Constant(0.01), mixture=0.3)(context)
    drawn = torch.stack(seen[1:])  # the first one is the gradient's
    near_zero = drawn.norm(dim=1) < 0.1
    near_centre = (drawn + g).norm(dim=1) < 0.1
    assert bool((near_zero ^ near_centre).all())
    assert 0.2 < float(near_zero.double().mean()) < 0.4


def test_random_smoothing_follows_its_cosine_law(functions: Any, moment: Any, identity: Any) -> None:
    d = 14 * 8
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(d, generator=generator, dtype=torch.float64)
    root = torch.randn(d, d, generator=generator, dtype=torch.float64) / d
    problem = quadratic(functions, 14, 8, root @ root.T, g)
    found = {}
    for n in (4, 16, 64):
        cosines = []
        for seed in range(20):
            context = moment(problem, zero(14, 8), identity, seed=seed)
            update = RandomSmoothing(n, 0, Constant(0.2))(context)
            estimate = torch.autograd.grad(update.surrogate, context.alpha["g"])[0].flatten()
            cosines.append(float(torch.cosine_similarity(estimate, g, 0)))
        found[n] = sum(cosines) / 20
        assert found[n] == pytest.approx((n / (n + d + 1)) ** 0.5, abs=0.03)
    print("T3b", found, {n: (n / (n + d + 1)) ** 0.5 for n in found})


@pytest.mark.parametrize("sphere", [False, True])
def test_random_smoothing_is_unbiased_on_quadratics(
    functions: Any, moment: Any, gradient: Any, identity: Any, sphere: bool
) -> None:
    h = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    g = torch.tensor([1.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    problem = quadratic(functions, 1, 4, h, g)
    samples = torch.stack(
        [
            gradient(
                moment(problem, zero(1, 4), identity, seed=s), RandomSmoothing(20, 0, Constant(0.5), sphere=sphere)
            )["g"].flatten()
            for s in range(60)
        ]
    )
    error = samples.std(0) / 60**0.5
    assert bool(((samples.mean(0) - g).abs() < 4 * error).all())


def test_gradientless_descent_never_rises_and_falls_far(functions: Any, moment: Any, identity: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(10, 10, generator=generator, dtype=torch.float64)).Q
    h = basis @ torch.diag(torch.linspace(1, 10, 10, dtype=torch.float64)) @ basis.T
    g = h @ torch.randn(10, generator=generator, dtype=torch.float64)
    least = float(-0.5 * g @ torch.linalg.solve(h, g))
    problem = quadratic(functions, 1, 10, h, g)
    step = GLD(1.0, 1 / 512, 0)
    assert step.radii == [2.0**-k for k in range(10)]
    alpha, values = zero(1, 10), []
    for i in range(600):
        update = step(moment(problem, alpha, identity, seed=i))
        alpha = {"g": alpha["g"] + update.delta["g"]}  # type: ignore[index]
        values.append(update.log["outer_loss"] - least)
        assert update.log["outer_loss_after"] <= update.log["outer_loss"]
    print("T3c", values[0], values[-1])
    assert all(late <= early + 1e-12 for early, late in itertools.pairwise(values))
    assert values[-1] <= 1e-5 * values[0]


@pytest.mark.parametrize(
    ("largest", "smallest", "levels"), [(1.0, 1.0, 1), (1.0, 0.5, 2), (1.0, 0.3, 2), (1.0, 1e-3, 10)]
)
def test_radii_halve_down_to_the_smallest(largest: float, smallest: float, levels: int) -> None:
    radii = GLD(largest, smallest).radii
    assert len(radii) == levels
    assert radii[-1] >= smallest > radii[-1] / 2


class Network:
    """A module with batch normalisation and dropout as a Problem; batches are its own data."""

    length = outer_length = 100

    def __init__(self) -> None:
        self.groups = (Group.make("g", "ab", ["0->1", "0->2"]),)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 2))
            self.data = torch.randn(200, 8, 4)
        self.module.train()

    def initial(self, seed: int) -> State:
        parameters = {n: p.detach().clone() for n, p in self.module.named_parameters()}
        return State(parameters, {n: b.clone() for n, b in self.module.named_buffers()})

    def inner_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        buffers = {n: b.clone() for n, b in state.buffers.items()}
        with torch.random.fork_rng():
            torch.manual_seed(int(batch))
            output = functional_call(self.module, {**state.parameters, **buffers}, (self.data[batch],))
        return ((output @ mix.weights["g"]).sin().square()).mean(), buffers

    outer_loss = inner_loss

    def examples(self, batch: Any) -> int:
        return 8

    def inner(self, index: int) -> int:
        return index

    def outer(self, index: int) -> int:
        return 100 + index


@pytest.mark.parametrize("step", [MGS(3, 4), RandomSmoothing(2, 4), GLD(0.1, 0.05, 4)])
def test_candidates_leave_no_trace(moment: Any, step: Any) -> None:
    problem = Network()
    alpha = {"g": torch.tensor([[0.3, -0.2], [0.1, 0.4]])}
    state = problem.initial(0)
    slots = {"momentum": {n: torch.ones_like(p) / 10 for n, p in state.parameters.items()}}
    context = moment(problem, alpha, Softmax(), inner=SGD(Constant(0.1), 0.9), state=state, slots=slots)
    tensors = {**state.parameters, **state.buffers, **slots["momentum"], **dict(problem.module.state_dict())}
    before = {n: t.clone() for n, t in tensors.items()}
    noise = torch.random.get_rng_state()
    step(context)
    assert all(torch.equal(t, before[n]) for n, t in tensors.items())
    assert torch.equal(noise, torch.random.get_rng_state())
    assert torch.equal(context.alpha["g"], alpha["g"])


def test_candidates_train_copies_on_the_coming_batches(moment: Any) -> None:
    """The value of a candidate is that of a clone of the network, trained by torch.optim.SGD."""
    problem = Network()
    alpha = {"g": torch.tensor([[0.3, -0.2], [0.1, 0.4]])}
    context = moment(problem, alpha, Softmax(), inner=SGD(Constant(0.1), 0.9, weight_decay=1e-3), step=7)
    displacement = torch.tensor([0.5, 0.0, -0.5, 0.2])
    found = Candidates(context, 5).value(displacement)

    clone = Network().module
    optimiser = torch.optim.SGD(clone.parameters(), 0.1, 0.9, weight_decay=1e-3)
    weights = (alpha["g"] + displacement.view(2, 2)).softmax(1)

    def loss(batch: int) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(batch)
            return (clone(problem.data[batch]) @ weights).sin().square().mean()

    for batch in range(7, 12):
        optimiser.zero_grad()
        loss(batch).backward()
        optimiser.step()
    moved = {n: p.detach() - problem.initial(0).parameters[n] for n, p in clone.named_parameters()}
    assert all(float(m.abs().max()) > 0 for m in moved.values())
    assert found == pytest.approx(float(loss(107).detach()), rel=1e-6)
    assert context.count.forward == 6
    assert context.count.backward == 5
    assert Candidates(context, 0).value(displacement) != found


def test_masked_entries_are_not_perturbed(functions: Any, moment: Any, identity: Any) -> None:
    problem = quadratic(functions, 2, 3, torch.eye(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64))
    mask = torch.tensor([[True, False, True], [False, True, True]])
    problem.groups = (problem.groups[0].masked(mask),)
    for step in (MGS(3, 0), GLD(0.1, 0.05, 0)):
        delta = step(moment(problem, zero(2, 3), identity)).delta["g"]  # type: ignore[index]
        assert bool((delta[~mask] == 0).all())
        assert bool((delta[mask] != 0).all())
