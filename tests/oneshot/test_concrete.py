"""T4 and T5: concrete samples and REBAR, against formulas, finite differences and enumeration of 64 architectures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Alpha, Group, Mix, Tensors
from graphnas.oneshot.outer import Joint, Latency, LinearSurrogate, Rebar
from graphnas.oneshot.outer.rebar import three_terms
from graphnas.oneshot.relaxations import Concrete, CoupledConcrete, Softmax
from graphnas.oneshot.schedules import Constant

GROUP = Group.make("g", "abcd", ["0->1", "0->2", "1->2"])
generator = torch.Generator().manual_seed(5)
TABLE = torch.randn(3, 4, generator=generator, dtype=torch.float64) / 2
ALPHA = torch.randn(3, 4, generator=generator, dtype=torch.float64) / 2
ONE_HOT = torch.stack([torch.eye(4, dtype=torch.float64)[list(z)] for z in itertools.product(range(4), repeat=3)])


def loss_of(z: Tensor) -> Tensor:
    """A loss that is linear in no row of ``[..., 3, 4]``."""
    x = (z * TABLE).sum(-1)
    return (x[..., 0].sin() + x[..., 1] * (1 + x[..., 0].tanh()) - (x[..., 2] + 0.5 * x[..., 0]).cos()).square()


def loss(w: Tensors, m: Tensors, batch: Any) -> Tensor:
    return loss_of(m["g"])


def enumerated() -> Tensor:
    """The gradient of the expected loss of one-hot architectures."""
    alpha = ALPHA.clone().requires_grad_()
    probabilities = (ONE_HOT * alpha.softmax(1)).sum(-1).prod(-1)
    return torch.autograd.grad((probabilities * loss_of(ONE_HOT)).sum(), alpha)[0]


# -- SNAS -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heat", [1.0, 0.3])
def test_gradient_is_the_credit_formula(functions: Any, moment: Any, gradient: Any, heat: float) -> None:
    relaxation = Concrete(Constant(heat))
    context = moment(functions([GROUP], loss, loss), {"g": ALPHA}, relaxation)
    found = gradient(context, Joint())["g"]
    z = context.mix().weights["g"].detach().requires_grad_()
    s = torch.autograd.grad(loss_of(z), z)[0]
    credit = (z * (s - (z * s).sum(1, keepdim=True)) / heat).detach()
    print("T4a", (found - credit).abs().max().item())
    assert float((found - credit).detach().abs().max()) <= 1e-12
    assert float(credit.detach().norm()) > 0.01


def test_mean_gradient_is_that_of_the_relaxed_objective() -> None:
    relaxation = Concrete(Constant(0.7))

    def objective(alpha: Tensor) -> Tensor:
        noise = torch.Generator().manual_seed(9)
        return loss_of(relaxation([GROUP], {"g": alpha}, 0.0, noise, 2000).weights["g"]).mean()

    asked = ALPHA.clone().requires_grad_()
    found = torch.autograd.grad(objective(asked), asked)[0]
    exact = torch.zeros(3, 4, dtype=torch.float64)
    for r, k in itertools.product(range(3), range(4)):
        sides = []
        for sign in (1, -1):
            moved = ALPHA.clone()
            moved[r, k] += sign * 1e-5
            sides.append(float(objective(moved)))
        exact[r, k] = (sides[0] - sides[1]) / 2e-5
    print("T4b", float((found - exact).abs().max()))
    assert float((found - exact).abs().max()) <= 1e-8


def test_bias_falls_with_the_temperature() -> None:
    exact = enumerated()
    errors = []
    for heat in (2.0, 1.0, 0.5, 0.2, 0.1):
        asked = ALPHA.clone().requires_grad_()
        noise = torch.Generator().manual_seed(0)
        mix = Concrete(Constant(heat))([GROUP], {"g": asked}, 0.0, noise, 200_000)
        found = torch.autograd.grad(loss_of(mix.weights["g"]).mean(), asked)[0]
        errors.append(float((found - exact).norm() / exact.norm()))
    print("T4c", errors)
    assert all(late < early for early, late in itertools.pairwise(errors))
    assert errors[-1] < 0.1
    assert errors[0] > 0.2


@pytest.mark.parametrize("relaxation", [Concrete(Constant(1e-3)), CoupledConcrete(Constant(0.4))])
def test_choices_have_the_probabilities_of_the_softmax(relaxation: Any) -> None:
    mask = torch.tensor([[True] * 4, [True, False, True, True], [True] * 4])
    n = 50_000
    mix = relaxation([GROUP.masked(mask)], {"g": ALPHA}, 0.0, torch.Generator().manual_seed(1), n)
    counts = (mix.weights["g"].argmax(-1, keepdim=True) == torch.arange(4)).double().sum(0)
    expected = n * ALPHA.masked_fill(~mask, -torch.inf).softmax(1)
    assert bool((counts[~mask] == 0).all())
    statistic = float(((counts - expected).square() / expected)[mask].sum())
    assert statistic < chi2.ppf(0.999, 8)


def test_log_density_integrates_to_one_and_has_the_right_score() -> None:
    """Two options: the density of the first weight on (0, 1), on a fine grid."""
    from graphnas.oneshot.relaxations.concrete import concrete_log_density

    mask = torch.ones(1, 2, dtype=torch.bool)
    log = torch.tensor([[0.3, -0.4]], dtype=torch.float64).log_softmax(1)
    # The grid is uniform in the logit, x = sigmoid(t), dx = x (1 - x) dt.
    t = torch.linspace(-80, 80, 40_001, dtype=torch.float64)
    sample = torch.stack([torch.nn.functional.logsigmoid(t), torch.nn.functional.logsigmoid(-t)], -1)[:, None]
    density = concrete_log_density(log, sample, mask, 0.6)[:, 0] + sample.sum((-2, -1))
    assert float(torch.trapezoid(density.exp(), t)) == pytest.approx(1, abs=1e-9)
    asked = log.clone().requires_grad_()
    value = torch.trapezoid(
        (concrete_log_density(asked.log_softmax(1), sample, mask, 0.6)[:, 0] + sample.sum((-2, -1))).exp(), t
    )
    assert float(torch.autograd.grad(value, asked)[0].abs().max()) < 1e-9
    # A masked third option changes nothing.
    wide = torch.cat([log, torch.full((1, 1), -torch.inf, dtype=torch.float64)], 1)
    third = torch.cat([sample, torch.full_like(sample[..., :1], -torch.inf)], -1)
    masked = concrete_log_density(wide, third, torch.tensor([[True, True, False]]), 0.6)
    assert torch.allclose(masked[:, 0] + sample.sum((-2, -1)), density)


def test_score_of_the_density_gives_the_relaxed_gradient() -> None:
    """E[f(Z) d log p(Z)] is the gradient of E[f(Z)], which reparametrisation gives with less noise."""
    relaxation = Concrete(Constant(1.0))
    batches = []
    for i in range(50):
        asked = ALPHA.clone().requires_grad_()
        mix = relaxation([GROUP], {"g": asked}, 0.0, torch.Generator().manual_seed(i), 4000)
        assert mix.log_probability is not None
        value = loss_of(mix.weights["g"])
        score = ((value.detach() - 1.0) * mix.log_probability["g"].sum(-1)).mean()
        batches.append(torch.autograd.grad(score - value.mean(), asked)[0])
    made = torch.stack(batches)
    assert bool((made.mean(0).abs() < 4 * made.std(0) / 50**0.5).all())


# -- REBAR ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Uncorrected(CoupledConcrete):
    """Without the gradient of the conditional sample."""

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        mix = super().__call__(groups, alpha, progress, generator, n)
        assert mix.twin is not None
        return replace(mix, twin={name: t.detach() for name, t in mix.twin.items()})


def deviations(functions: Any, moment: Any, gradient: Any, relaxation: Any) -> tuple[Tensor, float]:
    """How many standard errors each component lies from the enumerated gradient, with 400,000 samples."""
    problem = functions([GROUP], loss, loss)
    problem.outer = lambda index: 2000  # Functions takes the batch for the number of examples
    step = Rebar(gap=None)
    made = torch.stack([gradient(moment(problem, {"g": ALPHA}, relaxation, seed=s), step)["g"] for s in range(200)])
    exact = enumerated()
    error = made.mean(0) - exact
    return error.abs() / (made.std(0) / 200**0.5), float(error.norm() / exact.norm())


def test_rebar_is_unbiased(functions: Any, moment: Any, gradient: Any) -> None:
    found, relative = deviations(functions, moment, gradient, CoupledConcrete())
    print("T5a worst component", float(found.max()), "SE, relative error", relative)
    assert float(found.max()) < 4


def test_without_its_correction_it_is_not(functions: Any, moment: Any, gradient: Any) -> None:
    found, relative = deviations(functions, moment, gradient, Uncorrected())
    print("T5b worst component", float(found.max()), "SE, relative error", relative)
    assert float(found.max()) > 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_coupled_sample_has_the_value_of_the_original(dtype: torch.dtype) -> None:
    mask = torch.tensor([[True] * 4, [True, False, True, True], [False, True, False, False]])
    alpha = (4 * ALPHA).to(dtype).requires_grad_()
    mix = CoupledConcrete()([GROUP.masked(mask)], {"g": alpha}, 0.0, torch.Generator().manual_seed(0), 20_000)
    assert mix.twin is not None
    assert mix.hard is not None
    assert mix.log_probability is not None
    worst = float((mix.twin["g"] - mix.weights["g"]).detach().abs().max())
    print("T5c", dtype, worst)
    assert worst <= (1e-12 if dtype == torch.float64 else 1e-4)
    assert torch.equal(mix.hard["g"].argmax(-1), mix.weights["g"].argmax(-1))
    log = alpha.masked_fill(~mask, -torch.inf).log_softmax(1).masked_fill(~mask, 0)
    assert torch.allclose((mix.hard["g"] * log).sum(-1), mix.log_probability["g"])
    total = (mix.twin["g"] * mix.weights["g"].detach()).sum() + mix.log_probability["g"].sum()
    slope = torch.autograd.grad(total, alpha)[0]
    assert bool(slope.isfinite().all())
    assert bool((slope[~mask] == 0).all())


def test_objective_is_the_training_loss_and_half_the_gap(functions: Any, moment: Any) -> None:
    train = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    validation = torch.tensor([2.0, 1.0, 7.0], dtype=torch.float64)

    def scaled(values: Tensor) -> Any:
        return lambda w, m, batch: values * m["g"].sum((-2, -1)) / 3

    problem = functions([GROUP], scaled(train), scaled(validation))
    problem.outer = lambda index: 3
    update = Rebar(gap=0.5)(moment(problem, {"g": ALPHA}, CoupledConcrete()))
    assert update.log["outer_loss"] == pytest.approx((1.5 + 2.5 + 5.0) / 3, abs=1e-6)
    shared = Rebar(gap=0.5)(moment(problem, {"g": ALPHA}, CoupledConcrete(per_example=False)))
    assert shared.log["outer_loss"] == pytest.approx(2 + 0.5 * (10 / 3 - 2), abs=1e-6)


def test_surrogate_recovers_an_additive_latency() -> None:
    generator = torch.Generator().manual_seed(0)
    latency = {
        "a": torch.rand(5, 4, generator=generator, dtype=torch.float64),
        "b": torch.rand(2, 3, generator=generator, dtype=torch.float64),
    }

    def draw(n: int) -> Tensors:
        return {
            name: torch.nn.functional.one_hot(
                torch.randint(t.shape[1], (n, t.shape[0]), generator=generator), t.shape[1]
            ).double()
            for name, t in latency.items()
        }

    def cost(choices: Tensors) -> Tensor:
        return 0.7 + sum((choices[name] * t).sum((-2, -1)) for name, t in latency.items())

    seen, fresh = draw(10_000), draw(500)
    errors = {}
    for ridge in (1e-6, 1.0):
        fitted = LinearSurrogate.fit(seen, cost(seen), ridge)
        errors[ridge] = float((fitted(fresh) - cost(fresh)).abs().max())
    print("T5d ridge", errors)
    assert errors[1e-6] <= 1e-6
    assert errors[1.0] <= 1e-3
    with pytest.raises(GraphnasError, match="one cost for each"):
        LinearSurrogate.fit(seen, torch.zeros(3))


def test_latency_gradient_is_unbiased(functions: Any, moment: Any, gradient: Any) -> None:
    """A latency that the surrogate gets wrong: the gradient of its expected penalty by enumeration."""
    table = TABLE.abs()

    def measure(choices: Tensors) -> Tensor:
        x = (choices["g"] * table).sum(-1)
        return x.sum(-1) + x[..., 0] * x[..., 1]

    surrogate = LinearSurrogate({"g": table}, 0.2)
    latency = Latency(measure, surrogate, target=0.8, coefficient=Constant(0.3))
    flat = functions([GROUP], lambda w, m, b: 0 * m["g"].sum((-2, -1)), lambda w, m, b: 0 * m["g"].sum((-2, -1)))
    flat.outer = lambda index: 2000
    step = Rebar(gap=None, latency=latency)
    made = torch.stack([gradient(moment(flat, {"g": ALPHA}, CoupledConcrete(), seed=s), step)["g"] for s in range(60)])
    asked = ALPHA.clone().requires_grad_()
    penalty = 0.3 * (measure({"g": ONE_HOT}) - 0.8).relu()
    exact = torch.autograd.grad(((ONE_HOT * asked.softmax(1)).sum(-1).prod(-1) * penalty).sum(), asked)[0]
    assert bool(((made.mean(0) - exact).abs() < 4 * made.std(0) / 60**0.5).all())
    assert float(exact.abs().max()) > 0.01


def test_rebar_needs_coupled_samples(functions: Any, moment: Any) -> None:
    with pytest.raises(GraphnasError, match="use CoupledConcrete"):
        Rebar()(moment(functions([GROUP], loss, loss), {"g": ALPHA}, Softmax()))


def test_constant_advantage_has_no_gradient_on_average() -> None:
    """With equal losses for all, only the score remains, whose mean is 0 by enumeration."""
    asked = ALPHA.clone().requires_grad_()
    log = (ONE_HOT * asked.log_softmax(1)).sum(-1)
    weights = ONE_HOT.expand(64, 3, 4)
    mix = Mix({"g": weights}, hard={"g": weights}, twin={"g": weights}, log_probability={"g": log})
    probabilities = (ONE_HOT * ALPHA.softmax(1)).sum(-1).prod(-1)
    value = three_terms(mix, 64 * probabilities, {"g": torch.ones_like(weights)})
    assert float(torch.autograd.grad(value, asked)[0].abs().max()) < 1e-14
