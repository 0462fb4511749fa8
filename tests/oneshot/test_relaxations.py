"""The other relaxations: their formulas, their samples' distributions, and what they prune."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Group
from graphnas.oneshot.relaxations import (
    ClampNorm,
    Concrete,
    CoupledConcrete,
    Dirichlet,
    PartialChannels,
    Relaxation,
    Selectors,
    Softmax,
    StraightThroughGumbel,
)
from graphnas.oneshot.relaxations.selectors import INPUTS, OPERATIONS
from graphnas.oneshot.schedules import Constant

MASK = [[True] * 4, [True, True, False, True], [False, True, True, True]]
GROUP = Group.make("g", ["none", "a", "b", "c"], ["0->1", "0->2", "1->2"], MASK)
FULL = Group.make("g", ["none", "a", "b", "c"], ["0->1", "0->2", "1->2"])
ALPHA = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

ALL: list[Relaxation] = [
    Softmax(),
    Concrete(),
    CoupledConcrete(),
    ClampNorm(),
    StraightThroughGumbel(),
    Dirichlet(),
    PartialChannels(),
]


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("relaxation", ALL, ids=lambda r: type(r).__name__)
def test_weights_have_no_mass_and_no_gradient_where_masked(relaxation: Relaxation) -> None:
    alpha = {name: a.double() for name, a in relaxation.initial([GROUP], noise()).items()}
    alpha["g"] = (alpha["g"] + 0.1 * ALPHA).masked_fill(~GROUP.mask, 0.0)
    for a in alpha.values():
        a.requires_grad_()
    for n in (None, 5):
        mix = relaxation([GROUP], alpha, 0.3, noise(), n)
        weights = mix.weights["g"]
        assert weights.shape[-2:] == (3, 4)
        assert bool((weights[..., ~GROUP.mask] == 0).all())
        assert bool((weights >= 0).all())
        slopes = torch.autograd.grad((weights * torch.arange(12.0).view(3, 4)).sum(), list(alpha.values()))
        assert all(bool(s.isfinite().all()) for s in slopes)
        assert bool((slopes[0][~GROUP.mask] == 0).all())
        assert float(slopes[0].norm()) > 0
        if not isinstance(relaxation, (ClampNorm, PartialChannels)):
            assert torch.allclose(weights.sum(-1), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("relaxation", ALL, ids=lambda r: type(r).__name__)
def test_equal_generators_give_equal_samples_and_leave_torch_alone(relaxation: Relaxation) -> None:
    alpha = relaxation.initial([GROUP], noise())
    before = torch.random.get_rng_state()
    first, second = (relaxation([GROUP], alpha, 0.5, noise(3), 4).weights["g"] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


def test_temperature_divides() -> None:
    mix = Softmax(Constant(0.5))([FULL], {"g": ALPHA}, 0.0, noise())
    assert torch.allclose(mix.weights["g"], (2 * ALPHA).softmax(1))


def test_initial_values_are_those_of_the_papers() -> None:
    wide = [Group.make("g", [str(k) for k in range(100)], [str(r) for r in range(100)])]
    for relaxation, mean, deviation in (
        (Softmax(), 0.0, 1e-3),
        (Concrete(), 1.0, 0.01),
        (ClampNorm(), 0.01, 1e-4),
        (CoupledConcrete(), 0.0, 0.0),
    ):
        drawn = relaxation.initial(wide, noise())["g"]
        assert float(drawn.mean()) == pytest.approx(mean, abs=5 * deviation / 100)
        assert float(drawn.std()) == pytest.approx(deviation, rel=0.05)


# -- clamp ------------------------------------------------------------------------------------------


def test_clamp_has_no_softmax_and_prunes_for_good() -> None:
    relaxation = ClampNorm()
    alpha = {"g": torch.tensor([[0.9, 0.5, -0.1, 1.2], [0.3, 0.2, 0.1, 0.0], [0.1, 0.1, 0.1, 0.1]])}
    mix = relaxation([FULL], alpha, 0.0, noise())
    assert mix.node_norm
    expected = torch.tensor([[0.0, 0.5, 0.0, 1.0], [0.0, 0.2, 0.1, 0.0], [0.0, 0.1, 0.1, 0.1]])
    assert torch.equal(mix.weights["g"], expected)
    shifted = relaxation([FULL], {"g": alpha["g"] + 0.1}, 0.0, noise()).weights["g"]
    assert not torch.allclose(shifted / shifted.sum(), expected / expected.sum())  # a softmax would be the same
    (left,) = relaxation.project_([FULL], alpha, 0.0)
    assert torch.equal(left.mask, expected > 0)
    (still,) = relaxation.project_([left], {"g": torch.ones(3, 4)}, 0.0)
    assert torch.equal(still.mask, left.mask)


# -- GDAS -------------------------------------------------------------------------------------------


def test_straight_through_is_one_hot_with_the_relaxed_gradient() -> None:
    heat = 2.0
    alpha = ALPHA.clone().requires_grad_()
    mix = StraightThroughGumbel(Constant(heat))([FULL], {"g": alpha}, 0.0, noise(), 1000)
    weights = mix.weights["g"]
    assert mix.sampled
    assert mix.hard is not None
    assert torch.equal(weights.detach(), mix.hard["g"])
    assert bool(((weights == 0) | (weights == 1)).all())
    assert bool((weights.sum(-1) == 1).all())
    direction = torch.randn(1000, 3, 4, generator=noise(1), dtype=torch.float64)
    found = torch.autograd.grad((weights * direction).sum(), alpha)[0]
    again = ALPHA.clone().requires_grad_()
    relaxed = Concrete(Constant(heat))([FULL], {"g": again}, 0.0, noise(), 1000).weights["g"]
    exact = torch.autograd.grad((relaxed * direction).sum(), again)[0]
    assert torch.allclose(found, exact, rtol=1e-12)


# -- DrNAS ------------------------------------------------------------------------------------------


def test_dirichlet_has_its_mean_and_the_gradient_of_its_mean() -> None:
    level = torch.where(ALPHA > 0, ALPHA + 1, ALPHA.exp())
    batches = []
    direction = torch.randn(3, 4, generator=noise(1), dtype=torch.float64)
    for i in range(40):
        asked = ALPHA.clone().requires_grad_()
        weights = Dirichlet()([FULL], {"g": asked}, 0.0, noise(i), 2000).weights["g"].mean(0)
        batches.append(torch.autograd.grad((weights * direction).sum(), asked)[0])
    asked = ALPHA.clone().requires_grad_()
    mean = Dirichlet().expected([FULL], {"g": asked}, 0.0).weights["g"]
    assert torch.allclose(mean, level / level.sum(1, keepdim=True))
    exact = torch.autograd.grad((mean * direction).sum(), asked)[0]
    made = torch.stack(batches)
    assert bool(((made.mean(0) - exact).abs() < 4 * made.std(0) / 40**0.5).all())


def test_dirichlet_marginals_are_beta() -> None:
    weights = Dirichlet()([FULL], {"g": ALPHA}, 0.0, noise(), 5000).weights["g"]
    level = torch.where(ALPHA > 0, ALPHA + 1, ALPHA.exp())
    for r, k in itertools.product(range(3), range(4)):
        a = float(level[r, k])
        b = float(level[r].sum()) - a
        assert kstest(weights[:, r, k].numpy(), "beta", args=(a, b)).pvalue > 1e-4


def test_pruning_leaves_the_options_of_the_greatest_concentration() -> None:
    relaxation = Dirichlet(prune=((0.5, 3), (0.8, 1)))
    alpha = {"g": ALPHA}
    assert relaxation.project_([FULL], alpha, 0.49)[0].mask.all()
    for progress, left in ((0.5, 3), (0.9, 1)):
        (group,) = relaxation.project_([GROUP], alpha, progress)
        for r in range(3):
            best = sorted((k for k in range(4) if MASK[r][k]), key=lambda k: -float(ALPHA[r, k]))[:left]
            assert group.mask[r].nonzero().flatten().tolist() == sorted(best)


# -- PC-DARTS ---------------------------------------------------------------------------------------


def test_edges_of_a_node_share_a_softmax() -> None:
    edges = torch.tensor([[0.3], [-0.2], [1.0]], dtype=torch.float64)
    mix = PartialChannels(4)([FULL], {"g": ALPHA, "g:edges": edges}, 0.0, noise())
    share = torch.cat([torch.ones(1, 1), edges[1:].softmax(0)]).double()
    assert mix.channels == 4
    assert torch.allclose(mix.weights["g"], ALPHA.softmax(1) * share)
    assert torch.allclose(mix.weights["g"].sum(1, keepdim=True), share)
    fresh = PartialChannels().initial([FULL], noise())
    assert {name: tuple(a.shape) for name, a in fresh.items()} == {"g": (3, 4), "g:edges": (3, 1)}


# -- UNAS -------------------------------------------------------------------------------------------


def product_by_hand(inputs: Tensor, operations: Tensor) -> Tensor:
    """Nodes: 1 with the edge 0, 2 with the edges 1 and 2; two selectors each."""
    total = torch.zeros(3, 4, dtype=inputs.dtype)
    for edge, node, position in ((0, 0, 0), (1, 1, 0), (2, 1, 1)):
        for s in (0, 1):
            total[edge] += inputs[2 * node + s, position] * operations[2 * node + s]
    return total


def test_selectors_join_inputs_and_operations() -> None:
    relaxation = Selectors(CoupledConcrete(), count=2)
    parts = relaxation.parts([FULL])
    assert [p.shape for p in parts] == [(4, 2), (4, 4)]
    assert parts[0].mask.tolist() == [[True, False]] * 2 + [[True, True]] * 2
    assert not parts[1].mask[:, 0].any()  # no selector chooses "none"
    alpha = {p.name: torch.randn(p.shape, generator=noise(4), dtype=torch.float64) for p in parts}
    mix = relaxation([FULL], alpha, 0.0, noise(), 3)
    assert mix.hard is not None
    assert mix.twin is not None
    assert mix.log_probability is not None
    for i in range(3):
        by_hand = product_by_hand(mix.rows["g" + INPUTS][i], mix.rows["g" + OPERATIONS][i])
        assert torch.allclose(mix.weights["g"][i], by_hand)
    assert torch.allclose(mix.twin["g"], mix.weights["g"], atol=1e-12)
    assert bool((mix.hard["g"].sum((-2, -1)) == 4).all())  # two pairs for each of two nodes
    assert {name: tuple(p.shape) for name, p in mix.log_probability.items()} == {
        "g" + INPUTS: (3, 4),
        "g" + OPERATIONS: (3, 4),
    }


def test_selectors_refuse_edges_that_differ() -> None:
    with pytest.raises(GraphnasError, match="those of group 'g' differ"):
        Selectors(Softmax()).initial([GROUP], noise())


def test_a_group_checks_its_mask() -> None:
    with pytest.raises(GraphnasError, match="boolean matrix of that shape"):
        Group.make("g", "ab", ["0"], [[True, True, False]])
    with pytest.raises(GraphnasError, match="no options"):
        Group.make("g", "ab", ["0", "1"], [[True, True], [False, False]])


def test_nodes_of_a_group_follow_its_rows() -> None:
    rows = ["normal.0->2", "normal.1->2", "normal.0->3", "free", "normal.2->3"]
    assert Group.make("g", "ab", rows).nodes == ((0, 1), (2, 4), (3,))
    assert Group.make("g", "ab", ["a.0->2", "b.0->2"]).nodes == ((0,), (1,))
