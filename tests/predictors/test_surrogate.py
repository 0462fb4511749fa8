"""The predictor of searches: its memory, and that it is the mixture that it says it is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.tree import ExtraTreeRegressor

from graphnas import registry
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau
from graphnas.testing import AdditiveEstimator, check_predictor
from predictors import described
from predictors.described import Described, settled
from predictors.descriptors import GROUPS, Descriptors, reference_forms
from predictors.surrogate import Surrogate

SPACE = registry.get_space("nasbench201")


def forms_of(count, seed, space=SPACE):
    return reference_forms(space, [], count, np.random.default_rng(seed))


def fitted(space=SPACE, count=30, seed=0, **options):
    rng = np.random.default_rng(seed)
    known = [space.sample(rng) for _ in range(count)]
    estimator = AdditiveEstimator(space, seed)
    scores = np.array([estimator.evaluate(space.canonical(a), seed=0).score for a in known])
    return Surrogate(space, **{"reference": 80, "trees": 10, **options}).fit(known, scores), known, scores


@pytest.mark.parametrize("name", registry.names("space"))
def test_the_rules_of_predictors(name):
    space = registry.get_space(name)
    check_predictor(lambda: Surrogate(space, trees=5, reference=60), space, invariant=True)


def test_the_rules_of_predictors_without_trees():
    check_predictor(lambda: Surrogate(SPACE, trees=0, reference=60), SPACE, invariant=True)


def test_rows_are_those_of_the_descriptors_whatever_was_asked_before(monkeypatch):
    descriptors = Descriptors(SPACE)
    descriptors.fit(forms_of(80, 0))
    remembered, forms, rng = Described(descriptors), forms_of(120, 1), np.random.default_rng(2)
    expected = descriptors.transform(forms)
    asked = []
    plain = descriptors.transform
    monkeypatch.setattr(descriptors, "transform", lambda new: asked.extend(new) or plain(new))
    for _ in range(10):
        chosen = rng.choice(len(forms), 30, replace=False)
        rows = remembered.rows([forms[i] for i in chosen])
        for name, group in zip(GROUPS, remembered.split(rows), strict=True):
            assert np.array_equal(group, expected[name][chosen].astype(np.float32))
    assert len(asked) == len(set(asked)) > 90  # each once


def test_the_memory_is_bounded(monkeypatch):
    descriptors = Descriptors(SPACE)
    descriptors.fit(forms_of(80, 0))
    remembered, forms = Described(descriptors), forms_of(200, 1)
    most = 50
    monkeypatch.setattr(described, "MOST", most * sum(remembered.widths))
    for start in range(0, 160, 20):
        chosen = forms[start : start + 40]
        first = remembered.split(remembered.rows(chosen))[0]
        assert np.array_equal(first, descriptors.transform(chosen)[GROUPS[0]].astype(np.float32))
        assert len(remembered._place) <= most
        assert len(remembered._rows) <= 2 * most


def test_columns_do_not_depend_on_the_labels():
    first, known, scores = fitted()
    second = Surrogate(SPACE, trees=10, reference=80).fit(known[:10], scores[:10])
    assert first.described_ is second.described_ is settled(SPACE, 80, 0)
    assert settled(SPACE, 80, 1) is not first.described_


def test_it_is_a_gaussian_process_and_trees_on_standardised_scores():
    """Against the textbook formula in double precision at the hyper-parameters that were found, and scikit-learn."""
    predictor, known, scores = fitted(trees=20, weight=0.5)
    asked = [SPACE.decode([i % 5, 3, 1, 2, 4, i % 3]) for i in range(15)]
    table = predictor.described_.descriptors.transform([SPACE.canonical(a) for a in [*known, *asked]])
    process, n = predictor.process_, len(known)
    squared = sum(
        w * np.square(table[name][:, None] - table[name]).sum(-1)
        for w, name in zip(process.weights_, GROUPS, strict=True)
    )
    r = np.sqrt(squared)
    k = process.amplitude_ * (1 + r + r**2 / 3) * np.exp(-r)
    noisy = np.linalg.inv(k[:n, :n] + (process.noise_ + 1e-6) * np.eye(n))
    y = (scores - scores.mean()) / scores.std()
    mean, variance = k[n:, :n] @ noisy @ y, np.diag(k[n:, n:] - k[n:, :n] @ noisy @ k[:n, n:])
    x = np.concatenate([table[name] for name in GROUPS], axis=1).astype(np.float32)
    each = np.array(
        [ExtraTreeRegressor(max_features=0.1, random_state=i).fit(x[:n], y).predict(x[n:]) for i in range(20)]
    )
    found = predictor.predict(asked)
    expected = (mean + 0.5 * each.mean(0)) / 1.5
    assert np.allclose(found.mean, scores.mean() + scores.std() * expected, rtol=0, atol=1e-4 * scores.std())
    spread = (np.sqrt(variance) + 0.5 * each.std(0)) / 1.5
    assert np.allclose(found.std, scores.std() * spread, rtol=0, atol=1e-3 * scores.std())


def test_the_unit_of_the_scores_does_not_matter():
    """A factor of 4 is exact in floating point, so not even a split of a tree may change."""
    predictor, known, scores = fitted()
    other = Surrogate(SPACE, trees=10, reference=80).fit(known, 4 * scores)
    asked = [*known[:5], SPACE.decode([1, 2, 3, 4, 0, 1])]
    a, b = predictor.predict(asked), other.predict(asked)
    assert np.array_equal(b.mean, 4 * a.mean)
    assert np.array_equal(b.std, 4 * a.std)


def test_it_ranks_and_knows_what_it_does_not_know():
    """The score is the product of depth and number of convolutions of the canonical graph, no column by itself."""

    def value(a):
        form = SPACE.canonical(a)
        return float(form.depth() * (1 + sum("conv" in n.op for n in form.nodes)))

    rng = np.random.default_rng(9)
    known, asked = [SPACE.sample(rng) for _ in range(60)], [SPACE.sample(rng) for _ in range(200)]
    predictor = Surrogate(SPACE, reference=200).fit(known, [value(a) for a in known])
    found = predictor.predict(asked)
    assert kendall_tau(found.mean, [value(a) for a in asked]) > 0.8
    assert predictor.predict(known).std.mean() < 0.8 * found.std.mean()


def test_a_damaged_file_is_refused(tmp_path):
    path = fitted()[0].save(tmp_path / "model.npz")
    whole = load_npz(path)
    for wrong in (np.array([0.0, -1.0]), np.array([0.0, np.nan]), np.zeros(3), np.array([0, 1])):
        save_npz(path, {**whole, "unit": wrong})
        with pytest.raises(GraphnasError, match="damaged or of another release"):
            Surrogate.load(path)


def test_impossible_arguments_are_refused():
    for wrong in ({"trees": -1}, {"weight": -0.1}, {"weight": np.nan}, {"reference": 1}):
        with pytest.raises(GraphnasError, match="a surrogate needs trees >= 0, weight >= 0 and reference >= 2"):
            Surrogate(SPACE, **wrong)
