import math

import numpy as np
import pytest
import scipy.stats

from graphnas.errors import GraphnasError
from graphnas.metrics import bootstrap, kendall_tau, pearson, precision_at_k, regret_at_k, spearman

CORRELATIONS = [kendall_tau, spearman, pearson]


def _pairs():
    """Scores with few and with many ties."""
    rng = np.random.default_rng(0)
    for n in (2, 3, 10, 60):
        for levels in (3, 10, 10**9):
            x, y = rng.integers(levels, size=(2, n)).astype(float)
            if np.ptp(x) and np.ptp(y):
                yield x, y


def test_kendall_tau_counts_pairs():
    for x, y in _pairs():
        concordant = ties_x = ties_y = 0
        total = len(x) * (len(x) - 1) // 2
        for i in range(len(x)):
            for j in range(i):
                a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
                concordant += a * b
                ties_x += a == 0
                ties_y += b == 0
        expected = concordant / math.sqrt((total - ties_x) * (total - ties_y))
        assert kendall_tau(x, y) == pytest.approx(expected, abs=1e-12)


def test_spearman_and_pearson_equal_scipy():
    for x, y in _pairs():
        assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
        assert pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_correlations_are_one_minus_one_or_nan_where_they_must_be(metric):
    x = np.array([3.0, -1.0, 2.0, 7.0])
    assert metric(x, 2 * x + 1) == pytest.approx(1, abs=1e-12)
    assert metric(x, -x) == pytest.approx(-1, abs=1e-12)
    assert math.isnan(metric(x, np.ones(4)))
    assert metric(1e-200 * x, 1e200 * x) == pytest.approx(1, abs=1e-12)


def test_rank_correlations_ignore_monotone_transforms():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 40))
    for metric in (kendall_tau, spearman):
        assert metric(np.exp(x), y**3) == metric(x, y)
    assert abs(pearson(np.exp(x), y**3) - pearson(x, y)) > 1e-3


def test_precision_and_regret_equal_their_definitions():
    rng = np.random.default_rng(2)
    for _ in range(50):
        predicted, true = rng.normal(size=(2, 12))
        for k in range(1, 13):
            chosen = sorted(range(12), key=lambda i: -predicted[i])[:k]
            best = sorted(range(12), key=lambda i: -true[i])[:k]
            assert precision_at_k(predicted, true, k) == len(set(chosen) & set(best)) / k
            regret = max(true) - max(true[i] for i in chosen)
            assert regret_at_k(predicted, true, k) == regret
            normalised = regret_at_k(predicted, true, k, normalised=True)
            assert normalised == pytest.approx(regret / (max(true) - min(true)), abs=1e-15)


def test_a_perfect_and_the_worst_ranking():
    true = np.arange(10.0)
    assert [precision_at_k(true, true, k) for k in (1, 5, 10)] == [1, 1, 1]
    assert [precision_at_k(-true, true, k) for k in (1, 5, 10)] == [0, 0, 1]
    assert [regret_at_k(true, true, k) for k in (1, 5)] == [0, 0]
    assert [regret_at_k(-true, true, k) for k in (1, 4)] == [9, 6]
    assert regret_at_k(-true, true, 1, normalised=True) == 1
    assert regret_at_k(true, np.ones(10), 1, normalised=True) == 0


def test_of_equal_predictions_the_earlier_come_first():
    assert precision_at_k([0, 0, 0], [3, 2, 1], 1) == 1
    assert precision_at_k([0, 0, 0], [1, 2, 3], 1) == 0
    predicted = np.random.default_rng(0).integers(3, size=200)
    chosen = [i for level in (2, 1, 0) for i in range(200) if predicted[i] == level]
    for k in (10, 90, 150):
        assert precision_at_k(predicted, np.isin(np.arange(200), chosen[:k]), k) == 1


def test_bootstrap_covers_the_correlation_of_the_population():
    correlation, covered = 0.6, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x, noise = rng.normal(size=(2, 60))
        y = correlation * x + math.sqrt(1 - correlation**2) * noise
        interval = bootstrap(pearson, x, y, rng, resamples=200, level=0.9)
        assert interval.value == pearson(x, y)
        covered += interval.low <= correlation <= interval.high
    assert 80 <= covered <= 97  # 90 expected, standard deviation 3; percentile intervals are a little too narrow


def test_bootstrap_is_seeded_and_passes_options_on():
    x, y = np.random.default_rng(3).normal(size=(2, 30))

    def run(seed, metric=pearson, **kwargs):
        return bootstrap(metric, x, y, np.random.default_rng(seed), resamples=50, **kwargs)

    assert run(0) == run(0) != run(1)
    assert run(0, precision_at_k, k=5).value == precision_at_k(x, y, 5)
    wide, narrow = run(0, level=0.95), run(0, level=0.5)
    assert wide.low <= narrow.low <= narrow.high <= wide.high
    assert wide.high - wide.low > narrow.high - narrow.low


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_bad_scores_are_refused(metric):
    with pytest.raises(GraphnasError, match=r"not \[2\] and \[3\]"):
        metric([1, 2], [1, 2, 3])
    with pytest.raises(GraphnasError, match="at least two architectures, not 1"):
        metric([1], [1])
    with pytest.raises(GraphnasError, match="true score 1 is nan"):
        metric([1, 2], [1, math.nan])
    with pytest.raises(GraphnasError, match="predicted score 0 is inf"):
        metric([math.inf, 2], [1, 2])


@pytest.mark.parametrize("k", [0, 4, -1])
def test_k_out_of_range_is_refused(k):
    for metric in (precision_at_k, regret_at_k):
        with pytest.raises(GraphnasError, match=f"k is {k}; .* 3"):
            metric([1, 2, 3], [1, 2, 3], k)


def test_bootstrap_arguments_are_checked():
    with pytest.raises(GraphnasError, match="resamples"):
        bootstrap(pearson, [1, 2], [1, 2], np.random.default_rng(0), resamples=0)
    with pytest.raises(GraphnasError, match="level"):
        bootstrap(pearson, [1, 2], [1, 2], np.random.default_rng(0), level=1.0)
