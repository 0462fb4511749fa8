import math

import pytest
import torch

from predictors.losses import LOSSES, listmle, loss_of, mse, pair_bce, pair_hinge

CASES = [(n, seed, ties) for n in (1, 2, 7, 20) for seed in range(3) for ties in (False, True)]


def _scores(n, seed, ties):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randn(n, generator=generator, dtype=torch.float64)
    true = torch.randn(n, generator=generator, dtype=torch.float64)
    return predicted, true.round() if ties else true


@pytest.mark.parametrize(("n", "seed", "ties"), CASES)
def test_pair_losses_are_means_over_ordered_pairs(n, seed, ties):
    predicted, true = _scores(n, seed, ties)
    s, y = predicted.tolist(), true.tolist()
    gaps = [s[i] - s[j] for i in range(n) for j in range(n) if y[i] > y[j]]
    for margin in (0.1, 1.5):
        expected = sum(max(0.0, margin - gap) for gap in gaps) / max(len(gaps), 1)
        assert float(pair_hinge(predicted, true, margin)) == pytest.approx(expected, abs=1e-12)
    expected = sum(math.log1p(math.exp(-gap)) for gap in gaps) / max(len(gaps), 1)
    assert float(pair_bce(predicted, true)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "seed", "ties"), CASES)
def test_mse_and_listmle_equal_loops(n, seed, ties):
    predicted, true = _scores(n, seed, ties)
    s, y = predicted.tolist(), true.tolist()
    assert float(mse(predicted, true)) == pytest.approx(sum((a - b) ** 2 for a, b in zip(s, y, strict=True)) / n)
    left = sorted(range(n), key=lambda i: (-y[i], i))
    likelihood = 1.0
    while left:  # choose the best, then the best of the others, ...
        likelihood *= math.exp(s[left[0]]) / sum(math.exp(s[i]) for i in left)
        left.pop(0)
    assert float(listmle(predicted, true)) == pytest.approx(-math.log(likelihood) / n)


def test_plackett_luce_probabilities_of_all_orders_sum_to_one():
    from itertools import permutations

    predicted = torch.tensor([0.3, -1.2, 2.0, 0.0], dtype=torch.float64)
    losses = [float(listmle(predicted, torch.tensor(order, dtype=torch.float64))) for order in permutations(range(4))]
    assert sum(math.exp(-4 * loss) for loss in losses) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"mse"}))
def test_ranking_losses_see_the_order_alone_and_no_offset(name):
    predicted, true = _scores(12, 5, ties=True)
    loss = loss_of(name, 0.1)
    assert float(loss(predicted, true)) == float(loss(predicted, torch.exp(3 * true)))
    assert float(loss(predicted + 7, true)) == pytest.approx(float(loss(predicted, true)), abs=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_step_down_the_gradient_is_right_and_improves(name):
    predicted, true = _scores(9, 1, ties=False)
    loss = loss_of(name, 0.1)
    assert torch.autograd.gradcheck(lambda s: loss(s, true), predicted.clone().requires_grad_())
    leaf = predicted.clone().requires_grad_()
    loss(leaf, true).backward()
    assert float(loss(predicted - 1e-2 * leaf.grad, true)) < float(loss(predicted, true))


def test_the_perfect_order_with_gaps_above_the_margin_costs_nothing():
    true = torch.arange(6.0)
    assert float(pair_hinge(0.2 * true, true, 0.1)) == 0
    assert float(pair_hinge(-0.2 * true, true, 0.1)) > 0.1


def test_equal_true_scores_make_no_pairs_and_no_gradient():
    predicted = torch.randn(5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for loss in (pair_hinge, pair_bce):
        value = loss(predicted, torch.ones(5))
        assert value.item() == 0
        (gradient,) = torch.autograd.grad(value, predicted)
        assert torch.count_nonzero(gradient) == 0
