import numpy as np
import pytest

from graphnas.metrics import normal_scores
from predictors.mixture import Mixture
from predictors.stacking import folds_of, stacked_weights

PRIOR = np.array([0.2, 0.5, 0.3])


def _unseen(n=200, seed=0, noise=(0.3, 1.0, 3.0)):
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=n)
    return np.stack([targets + size * rng.normal(size=n) for size in noise]), targets


def test_folds_hold_whole_classes_and_are_equally_many():
    member = np.random.default_rng(0).integers(0, 23, 80)
    folds = folds_of(member, 4, np.random.default_rng(1))
    classes = [np.unique(member[folds == k]) for k in range(4)]
    assert sum(len(c) for c in classes) == len(np.unique(member))
    assert max(map(len, classes)) - min(map(len, classes)) <= 1


def test_the_weights_are_the_minimum_of_ridge_and_squares_over_the_positive_ones():
    """Against a general optimiser of the objective as written, with its free constant."""
    from scipy.optimize import minimize

    for seed, noise in enumerate([(0.3, 1.0, 3.0), (1.0, 1.0, 1.0), (0.1, 5.0, 5.0)]):
        unseen, targets = _unseen(60, seed, noise)
        unseen[2] += 0.8 * unseen[0]  # a member that mostly repeats another
        labels = 7.0
        z, y = unseen - unseen.mean(1, keepdims=True), targets - targets.mean()
        size = PRIOR @ z @ y / np.square(PRIOR @ z).sum()

        def objective(p, unseen=unseen, targets=targets, size=size, labels=labels):
            misfit = targets - p[3] - p[:3] @ unseen
            return misfit @ misfit + labels * np.square(p[:3] - size * PRIOR).sum()

        found = minimize(
            objective, np.append(PRIOR, 0.0), bounds=[(0, None)] * 3 + [(None, None)], tol=1e-14, method="L-BFGS-B"
        ).x[:3]
        np.testing.assert_allclose(stacked_weights(unseen, targets, PRIOR, labels), found / found.sum(), atol=1e-4)


def test_a_shift_of_a_member_or_of_the_targets_changes_nothing():
    unseen, targets = _unseen()
    shifted = unseen + np.array([[5.0], [-3.0], [0.1]])
    np.testing.assert_allclose(
        stacked_weights(shifted, targets + 2, PRIOR), stacked_weights(unseen, targets, PRIOR), atol=1e-9
    )


def test_few_labels_keep_the_prior_and_many_find_the_good_member():
    unseen, targets = _unseen(2000)
    many = stacked_weights(unseen, targets, PRIOR)
    assert many[0] > 0.85
    assert many.sum() == pytest.approx(1)
    assert (many >= 0).all()
    few = stacked_weights(unseen[:, :3], targets[:3], PRIOR, labels=1e6)
    np.testing.assert_allclose(few, PRIOR, atol=1e-4)
    # Members that rank the wrong way round teach nothing about each other.
    np.testing.assert_allclose(stacked_weights(-unseen, targets, PRIOR), PRIOR)
    np.testing.assert_allclose(stacked_weights(np.zeros((3, 9)), targets[:9], PRIOR), PRIOR)


def test_a_mixture_has_mean_and_variance_of_the_mixed_distributions():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(2, 400)) * np.array([[3.0], [0.2]])
    weights = np.array([0.25, 0.75])
    mixture = Mixture.of_reference(reference, weights)
    np.testing.assert_allclose(
        mixture.scaled(reference), np.stack([normal_scores(row) for row in reference]), atol=1e-9
    )
    # Where a member is sure, its share has no width; elsewhere that of the scaled deviation.
    values, spread = reference[:, :5], np.zeros((2, 5))
    z = mixture.scaled(values)
    mean, std = mixture(values, spread)
    np.testing.assert_allclose(mean, weights @ z)
    np.testing.assert_allclose(std, np.sqrt(weights @ z**2 - (weights @ z) ** 2), atol=1e-9)
    spread = np.full((2, 5), [[0.3], [0.02]])
    widths = (mixture.scaled(values + spread) - mixture.scaled(values - spread)) / 2
    samples = [z[m, 0] + widths[m, 0] * rng.normal(size=int(400_000 * weights[m])) for m in range(2)]
    mean, std = mixture(values, spread)
    assert np.concatenate(samples).mean() == pytest.approx(mean[0], abs=0.01)
    assert np.concatenate(samples).std() == pytest.approx(std[0], abs=0.01)


def test_a_mixture_comes_back_from_its_arrays_and_damage_is_refused():
    rng = np.random.default_rng(0)
    mixture = Mixture.of_reference(rng.normal(size=(2, 30)), np.array([0.4, 0.6]))
    values = rng.normal(size=(2, 7))
    back = Mixture.of_arrays(mixture.arrays(), 2)
    assert np.array_equal(back(values, np.ones((2, 7))), mixture(values, np.ones((2, 7))))
    for weights in (np.array([0.4, 0.7]), np.array([-0.4, 1.4]), np.array([1.0]), np.array([np.nan, 1.0])):
        with pytest.raises(ValueError, match="weights of the mixture"):
            Mixture.of_arrays({**mixture.arrays(), "mixture.weights": weights}, 2)
