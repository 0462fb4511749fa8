import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from graphnas.architecture import Architecture, node
from graphnas.encoding import one_hot
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.predictor import Comparator, Prediction, Predictor
from graphnas.space import Choice, Space


def _space(name: str = "letters", ops: tuple[str, ...] = ("a", "b", "c")) -> Space:
    first, second = Choice("first", ops), Choice("second", ops)
    return Space(name, [node("input"), node(first, [0]), node(second, [1]), node("output", [2])])


SPACE = _space()
ARCHITECTURES = list(SPACE.enumerate())


class Ridge(Predictor):
    """Ridge regression on the one-hot decisions, with the exact posterior deviation for unit noise."""

    name = "ridge"

    def __init__(self, space: Space, strength: float = 1.0) -> None:
        self.space = space
        self.strength = strength

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        x = one_hot(self.space, architectures).astype(float)
        self.covariance_ = np.linalg.inv(x.T @ x + self.strength * np.eye(x.shape[1]))
        self.weights_ = self.covariance_ @ x.T @ scores

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        x = one_hot(self.space, architectures).astype(float)
        return Prediction(x @ self.weights_, np.sqrt(np.einsum("ni,ij,nj->n", x, self.covariance_, x)))

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {"weights": self.weights_, "covariance": self.covariance_}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.weights_, self.covariance_ = arrays["weights"], arrays["covariance"]


class Logistic(Comparator):
    """Bradley-Terry probabilities from the scores that were seen."""

    name = "logistic"

    def __init__(self, space: Space) -> None:
        self.space = space

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        self.seen_ = {self.space.key(a): s for a, s in zip(architectures, scores.tolist(), strict=True)}

    def _probability(self, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
        difference = [self.seen_[self.space.key(x)] - self.seen_[self.space.key(y)] for x, y in zip(a, b, strict=True)]
        return 1 / (1 + np.exp(-np.array(difference)))

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {"keys": np.array(list(self.seen_)), "scores": np.array(list(self.seen_.values()))}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.seen_ = dict(zip(arrays["keys"].tolist(), arrays["scores"].tolist(), strict=True))


LEARNERS = [Ridge, Logistic]


@pytest.mark.parametrize("kind", LEARNERS)
def test_fit_returns_the_object_and_counts_labels(kind):
    learner = kind(SPACE)
    assert learner.fit(ARCHITECTURES[:4], [1, 2, 3, 4]) is learner
    assert learner.labels_ == 4
    assert learner.fit(ARCHITECTURES[:2], [1, 2]).labels_ == 2


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize(
    ("count", "scores", "message"),
    [
        (3, [1, 2], r"3 architectures and scores of shape \[2\]"),
        (1, [1], "at least two scored architectures to fit, not 1"),
        (0, [], "at least two scored architectures to fit, not 0"),
        (3, [1, math.nan, 2], "score 1 is nan"),
        (3, [1, 2, -math.inf], "score 2 is -inf"),
        (3, [0.5, 0.5, 0.5], r"all 3 scores are 0\.5"),
    ],
)
def test_scores_that_cannot_be_fitted_are_refused(kind, count, scores, message):
    learner = kind(SPACE)
    with pytest.raises(GraphnasError, match=message):
        learner.fit(ARCHITECTURES[:count], scores)
    assert not [name for name in vars(learner) if name.endswith("_")]


def test_architectures_of_another_space_are_named():
    other = list(_space("other", ("a", "z")).enumerate())
    with pytest.raises(GraphnasError, match=r"architecture 1 does not fit ridge: space 'letters' has no op 'z'"):
        Ridge(SPACE).fit(other, range(4))
    fitted = Ridge(SPACE).fit(ARCHITECTURES, range(9))
    with pytest.raises(GraphnasError, match=r"architecture 3 does not fit .* no op 'z'"):
        fitted.predict([*ARCHITECTURES[:3], other[3]])
    comparator = Logistic(SPACE).fit(ARCHITECTURES, range(9))
    with pytest.raises(GraphnasError, match="architecture 0 does not fit logistic"):
        comparator.probability(ARCHITECTURES[:1], other[-1:])


def test_canonical_forms_and_copies_are_of_the_space():
    fitted = Ridge(SPACE).fit(ARCHITECTURES, range(9))
    copies = [SPACE.canonical(a) for a in ARCHITECTURES]
    assert np.array_equal(fitted.predict(copies).mean, fitted.predict(ARCHITECTURES).mean)


def test_unfitted_objects_say_so(tmp_path):
    for call in (
        lambda: Ridge(SPACE).predict(ARCHITECTURES),
        lambda: Ridge(SPACE).save(tmp_path / "x"),
        lambda: Logistic(SPACE).probability(ARCHITECTURES, ARCHITECTURES),
    ):
        with pytest.raises(GraphnasError, match="is not fitted; call fit"):
            call()
    assert not list(tmp_path.iterdir())


def test_empty_questions_have_empty_answers():
    prediction = Ridge(SPACE).fit(ARCHITECTURES, range(9)).predict([])
    assert prediction.mean.shape == prediction.std.shape == (0,)
    assert Logistic(SPACE).fit(ARCHITECTURES, range(9)).probability([], []).shape == (0,)


def test_pairs_need_two_lists_of_one_length():
    with pytest.raises(GraphnasError, match="1 and 2 architectures"):
        Logistic(SPACE).fit(ARCHITECTURES, range(9)).probability(ARCHITECTURES[:1], ARCHITECTURES[:2])


def test_repr_and_arguments_are_the_constructor_s():
    assert Ridge(SPACE, 0.5).arguments() == {"strength": 0.5}
    assert repr(Ridge(SPACE, strength=0.5)) == "Ridge('letters', strength=0.5)"
    assert repr(Logistic(SPACE)) == "Logistic('letters')"


def test_a_file_gives_the_same_predictor(tmp_path):
    fitted = Ridge(SPACE, 0.25).fit(ARCHITECTURES[:6], [3, 1, 4, 1, 5, 9])
    loaded = Ridge.load(fitted.save(tmp_path / "ridge.npz"), space=_space())
    assert (loaded.strength, loaded.labels_) == (0.25, 6)
    for before, after in zip(fitted.predict(ARCHITECTURES), loaded.predict(ARCHITECTURES), strict=True):
        assert np.array_equal(before, after)
    comparator = Logistic(SPACE).fit(ARCHITECTURES, range(9))
    loaded_comparator = Logistic.load(comparator.save(tmp_path / "logistic.npz"), SPACE)
    pairs = ARCHITECTURES, ARCHITECTURES[::-1]
    assert np.array_equal(comparator.probability(*pairs), loaded_comparator.probability(*pairs))


def test_the_abstract_class_loads_what_is_registered(tmp_path, monkeypatch):
    registered = {"ridge": Ridge, "logistic": Logistic}
    monkeypatch.setattr("graphnas.predictor.registry.find", lambda kind, name: registered[name])
    fitted = Ridge(SPACE).fit(ARCHITECTURES, range(9))
    path = fitted.save(tmp_path / "ridge.npz")
    assert np.array_equal(Predictor.load(path, SPACE).predict(ARCHITECTURES).mean, fitted.predict(ARCHITECTURES).mean)
    with pytest.raises(GraphnasError, match="holds a 'ridge', which is no Comparator"):
        Comparator.load(path, SPACE)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = Ridge(SPACE).fit(ARCHITECTURES, range(9)).save(tmp_path / "ridge.npz")
    before = path.read_bytes()
    broken = Ridge(SPACE).fit(ARCHITECTURES, range(9))
    broken.weights_ = np.array([object()])
    with pytest.raises(GraphnasError, match="Python objects"):
        broken.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["ridge.npz"]


def test_files_of_other_classes_spaces_and_formats_are_refused(tmp_path):
    path = Ridge(SPACE).fit(ARCHITECTURES, range(9)).save(tmp_path / "ridge.npz")
    with pytest.raises(GraphnasError, match="holds a 'ridge', which is no Logistic"):
        Logistic.load(path, SPACE)
    with pytest.raises(GraphnasError, match="fitted on space 'letters', which is not this 'digits'"):
        Ridge.load(path, _space("digits"))
    with pytest.raises(GraphnasError, match="fitted on space 'letters'"):
        Ridge.load(path, _space("letters", ("a", "b", "d")))
    with pytest.raises(GraphnasError, match="unknown space 'letters'"):
        Ridge.load(path)
    with pytest.raises(GraphnasError, match="unknown predictor 'ridge'"):
        Predictor.load(path, SPACE)
    with pytest.raises(GraphnasError, match="does not exist"):
        Ridge.load(tmp_path / "absent.npz", SPACE)
    save_npz(tmp_path / "table.npz", {"x": np.ones(3)})
    with pytest.raises(GraphnasError, match="no file of a fitted predictor"):
        Ridge.load(tmp_path / "table.npz", SPACE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "version 9"),
        ({"labels": "many"}, "lacks 'labels'"),
        ({"arguments": {"depth": 3}}, "damaged or of another release"),
        ({"format": "other"}, "no file of a fitted predictor"),
    ],
)
def test_changed_headers_are_refused(tmp_path, change, message):
    arrays = load_npz(Ridge(SPACE).fit(ARCHITECTURES, range(9)).save(tmp_path / "ridge.npz"))
    header = {**json.loads(str(arrays["header"])), **change}
    save_npz(tmp_path / "changed.npz", {**arrays, "header": np.array(json.dumps(header))})
    with pytest.raises(GraphnasError, match=message):
        Ridge.load(tmp_path / "changed.npz", SPACE)


def test_a_missing_array_is_refused(tmp_path):
    arrays = load_npz(Ridge(SPACE).fit(ARCHITECTURES, range(9)).save(tmp_path / "ridge.npz"))
    del arrays["weights"]
    save_npz(tmp_path / "ridge.npz", arrays)
    with pytest.raises(GraphnasError, match="damaged or of another release"):
        Ridge.load(tmp_path / "ridge.npz", SPACE)
