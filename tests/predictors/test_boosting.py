import itertools
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from graphnas.encoding import canonical_forms
from graphnas.encoding.flat import adjacency_encoding
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau
from graphnas.testing import check_predictor
from predictors.boosting import BACKENDS, Boosting
from predictors.feature_predictor import make_features
from predictors.trees import Trees
from spaces import enas, nasbench101, nasbench201

SPACE = nasbench201.space()
SMALL = {"members": 3, "rounds": 12}


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "lightgbm":
        pytest.importorskip("lightgbm", reason="LightGBM is an extra")
    return request.param


def _labelled(space=SPACE, n=80, seed=0):
    """Architectures with scores that depend on the graph: the number of nodes of the canonical form, and noise."""
    rng = np.random.default_rng(seed)
    architectures = [space.sample(rng) for _ in range(n)]
    return architectures, np.array([len(space.canonical(a)) for a in architectures]) + rng.normal(size=n)


def _new(space=SPACE, n=60):
    rng = np.random.default_rng(99)
    return [space.sample(rng) for _ in range(n)]


@pytest.mark.parametrize("space", [SPACE, enas.space()], ids=lambda s: s.name)
@pytest.mark.parametrize("features", ["canonical", "paths+adjacency", "one_hot"])
@pytest.mark.parametrize("bootstrap", [True, False])
def test_the_arrays_predict_what_the_library_predicts(space, features, backend, bootstrap):
    architectures, scores = _labelled(space)
    boosting = Boosting(space, features, backend, **SMALL, bootstrap=bootstrap, seed=5).fit(architectures, scores)
    seen = (lambda a: canonical_forms(space, a)) if boosting.features_.canonical else (lambda a: a)
    x = boosting.features_.transform(seen(architectures))
    new = _new(space)
    centre, scale = scores.mean(), scores.std()
    each = []
    for model, rows in boosting._models(len(scores)):
        assert len(rows) == len(scores)
        assert (len(set(rows.tolist())) == len(scores)) != bootstrap
        model.fit(x[rows], (scores[rows] - centre) / scale)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # LightGBM misses the names of columns
            each.append(centre + scale * model.predict(boosting.features_.transform(seen(new))))
    prediction = boosting.predict(new)
    assert np.std(each) > 0.1 * scale
    np.testing.assert_allclose(prediction.mean, np.mean(each, axis=0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(prediction.std, np.std(each, axis=0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("space", [SPACE, nasbench101.space(), enas.space()], ids=lambda s: s.name)
@pytest.mark.parametrize("features", ["canonical", "paths+adjacency", "one_hot", "one_hot+canonical"])
def test_the_rules_that_every_predictor_keeps(space, features, backend):
    make = lambda: Boosting(space, features, backend, **SMALL)  # noqa: E731
    check_predictor(make, space, invariant="one_hot" not in features)


def test_boosting_approaches_the_training_scores_where_a_single_tree_cannot(backend):
    """The squared error on the training set falls with every ten trees when nothing is drawn at random."""
    architectures, scores = _labelled(n=100)
    keys = [SPACE.key(a) for a in architectures]
    scores = np.array([scores[keys.index(k)] for k in keys])  # equal graphs, equal scores
    exact = {"members": 1, "bootstrap": False, "subsample": 1.0, "max_features": 1.0, "depth": 4}
    errors = []
    for rounds in (1, 10, 20, 40, 80):
        boosting = Boosting(SPACE, backend=backend, rounds=rounds, **exact).fit(architectures, scores)
        errors.append(np.mean(np.square(boosting.predict(architectures).mean - scores)))
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.02 * np.var(scores)


def test_the_unit_of_the_scores_does_not_matter(backend):
    """Exactly so for a power of two; in scikit-learn, squared errors below the machine's epsilon would end a tree."""
    architectures, scores = _labelled()
    unit = 2.0**-40
    base = Boosting(SPACE, backend=backend, **SMALL).fit(architectures, scores).predict(_new())
    changed = Boosting(SPACE, backend=backend, **SMALL).fit(architectures, unit * scores).predict(_new())
    assert np.array_equal(changed.mean, unit * base.mean)
    assert np.array_equal(changed.std, unit * base.std)


def test_the_seed_fixes_the_predictions(backend):
    architectures, scores = _labelled()
    one, same, other = (
        Boosting(SPACE, backend=backend, **SMALL, seed=s).fit(architectures, scores).predict(_new()) for s in (1, 1, 2)
    )
    assert np.array_equal(one.mean, same.mean)
    assert not np.array_equal(one.mean, other.mean)


def test_two_architectures_are_enough(backend):
    architectures, _ = _labelled(n=2)
    mean, std = Boosting(SPACE, backend=backend, **SMALL).fit(architectures, [1.0, 2.0]).predict(_new())
    assert mean.min() >= 1 - 1e-9
    assert mean.max() <= 2 + 1e-9
    assert np.isfinite(std).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("trees.members", lambda a: a + 1),
        ("trees.members", lambda a: a[::-1]),
        ("trees.members", lambda a: a * 1000),
        ("trees.right", lambda a: a + 10**6),
        ("trees.value", lambda a: a * np.nan),
        ("unit", lambda a: a * np.inf),
        ("unit", lambda a: a[:1]),
        ("features.colours", lambda a: a[:1]),
        ("features.paths", lambda a: a[::-1]),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, change):
    architectures, scores = _labelled()
    boosting = Boosting(SPACE, "canonical+paths", **SMALL, max_features=1.0).fit(architectures, scores)
    path = boosting.save(tmp_path / "boosting.npz")
    arrays = load_npz(path)
    save_npz(path, {**arrays, name: change(arrays[name])})
    with pytest.raises(GraphnasError, match="damaged or of another release"):
        Boosting.load(path)


def test_a_file_is_read_without_the_library(tmp_path, monkeypatch):
    pytest.importorskip("lightgbm", reason="LightGBM is an extra")
    architectures, scores = _labelled()
    boosting = Boosting(SPACE, backend="lightgbm", **SMALL).fit(architectures, scores)
    path, expected = boosting.save(tmp_path / "boosting.npz"), boosting.predict(_new())
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    assert np.array_equal(Boosting.load(path).predict(_new()).mean, expected.mean)
    with pytest.raises(GraphnasError, match=r"LightGBM is not installed: pip install 'graphnas\[lightgbm\]'"):
        Boosting(SPACE, backend="lightgbm").fit(architectures, scores)


def test_joined_features_are_those_of_the_parts_side_by_side():
    architectures, _ = _labelled()
    forms = [SPACE.canonical(a) for a in architectures]
    joined, paths, one_hot = (make_features(name, SPACE) for name in ("one_hot+paths+adjacency", "paths", "one_hot"))
    joined.fit(architectures)
    paths.fit(forms)
    parts = [one_hot.transform(architectures), paths.transform(forms), adjacency_encoding(SPACE, architectures)]
    assert not joined.canonical
    assert joined.width == sum(part.shape[1] for part in parts)
    assert np.array_equal(joined.transform(architectures), np.concatenate(parts, axis=1))
    assert make_features("adjacency", SPACE).width == parts[2].shape[1]


def test_joining_trees_adds_or_keeps_members_apart():
    stump = Trees.of_nodes(
        np.array([1, -1, -1]),
        np.array([2, -1, -1]),
        np.array([0, -2, -2]),
        np.array([0.5, 0, 0]),
        np.array([9, 1, 3.0]),
    )
    x = np.array([[0.0], [0.5], [1.0]], dtype=np.float32)
    both = Trees.join([Trees.join([stump, stump], add=True), stump])
    assert np.array_equal(both.member_values(x), [[2, 2, 6], [1, 1, 3]])
    assert np.array_equal(both.predict(x)[0], [1.5, 1.5, 4.5])


def test_wrong_arguments_are_refused():
    with pytest.raises(GraphnasError, match="unknown features 'onehot'; nearest: one_hot"):
        Boosting(SPACE, "paths+onehot")
    with pytest.raises(GraphnasError, match="name one map twice"):
        Boosting(SPACE, "paths+paths")
    with pytest.raises(GraphnasError, match="unknown backend of boosting 'xgboost'"):
        Boosting(SPACE, backend="xgboost")
    for wrong in ({"members": 0}, {"rounds": 0}, {"depth": 0}, {"min_leaf": 0}):
        with pytest.raises(GraphnasError, match="boosting needs members"):
            Boosting(SPACE, **wrong)
    for wrong in ({"learning_rate": 0.0}, {"subsample": 0.0}, {"max_features": 1.5}):
        with pytest.raises(GraphnasError, match="boosting needs learning_rate"):
            Boosting(SPACE, **wrong)


def test_canonical_features_rank_nasbench201_better_than_one_hot():
    path = Path(os.environ.get("GRAPHNAS_DATA", ".")) / "nb201.npz"
    if not path.is_file():
        pytest.skip("nb201.npz is not in the folder that GRAPHNAS_DATA names")
    table = load_npz(path, ["ops", "c10_val200"])
    rng = np.random.default_rng(0)
    rows = rng.choice(len(table["ops"]), 2156, replace=False)
    architectures = [SPACE.decode(row) for row in table["ops"][rows].tolist()]
    scores = table["c10_val200"][rows]
    tau = {}
    for features in ("one_hot", "canonical"):
        boosting = Boosting(SPACE, features, members=3, rounds=60).fit(architectures[:156], scores[:156])
        tau[features] = kendall_tau(boosting.predict(architectures[156:]).mean, scores[156:])
    assert 0.45 < tau["one_hot"] < 0.62
    assert tau["canonical"] > 0.70
