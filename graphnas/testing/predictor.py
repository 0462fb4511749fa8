"""The rules that every Predictor keeps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Space
from graphnas.testing.objective import AdditiveEstimator
from graphnas.testing.rules import expect, global_randomness_untouched, shuffled

Make = Callable[[], Any]


def check_predictor(
    make: Make, space: Space, seed: int = 0, *, train: int = 24, test: int = 16, invariant: bool = False
) -> None:
    """Check that a predictor fits, predicts, saves and fails as the interface says.

    Args:
        make: ``make() -> Predictor``, unfitted and with a fixed seed; give it a small model.
        space: any space that the predictor reads.
        seed: of the random architectures and their synthetic scores.
        train: how many architectures to fit to.
        test: how many architectures to predict.
        invariant: the predictor claims that isomorphic writings get equal predictions (to 1e-5 of their spread).

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    rng = np.random.default_rng(seed)
    objective = AdditiveEstimator(space, seed)
    known = _distinct(space, rng, train)
    scores = np.array([objective.evaluate(a, seed=0).score for a in known])
    asked = [space.sample(rng) for _ in range(test)]
    _refusals(make, known, scores, asked)
    _predict(make().fit(known, scores), asked)  # modules that are imported at first use may draw random names
    with global_randomness_untouched("the predictor"):
        fitted = make()
        expect(fitted.fit(known, scores) is fitted, "fit must return the predictor itself")
        mean, std = _predict(fitted, asked)
        again = _predict(fitted, asked)
        _equal((mean, std), again, "predicting twice must give the same")
        _equal((mean, std), _predict(make().fit(known, scores), asked), "the same seed and data must predict the same")
    alone = np.array([_predict(fitted, [a])[0][0] for a in asked[:3]])
    spread = float(np.std(scores))
    close = np.allclose(alone, mean[:3], rtol=0, atol=1e-4 * spread)
    expect(close, "the prediction for an architecture must not depend on the others in the call")
    if invariant:
        renamed, _ = _predict(fitted, [shuffled(Architecture(a.nodes), rng) for a in asked])
        close = np.allclose(renamed, mean, rtol=0, atol=1e-5 * spread)
        expect(close, "isomorphic writings must get equal predictions")
    _saving(fitted, space, asked, (mean, std))
    _constant(make, known, asked)


def _distinct(space: Space, rng: np.random.Generator, count: int) -> list[Architecture]:
    found: dict[str, Architecture] = {}
    for _ in range(100 * count):
        a = space.sample(rng)
        found.setdefault(space.key(a), a)
        if len(found) == count:
            break
    return list(found.values())


def _predict(predictor: Any, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
    found = predictor.predict(architectures)
    mean, std = np.asarray(found.mean), np.asarray(found.std)
    shape = (len(architectures),)
    expect(mean.shape == shape and std.shape == shape, f"mean and std must have the shape {shape}")
    expect(np.isfinite(mean).all() and np.isfinite(std).all(), "mean and std must be finite")
    expect((std >= 0).all(), "std must be at least 0")
    return mean, std


def _equal(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], rule: str) -> None:
    expect(all(np.array_equal(x, y) for x, y in zip(a, b, strict=True)), rule)


def _refuses(action: Callable[[], object], what: str) -> None:
    try:
        action()
    except GraphnasError as error:
        text = str(error)
        expect(text and "\n" not in text, f"the error about {what} must be one sentence")
        return
    raise AssertionError(f"the predictor must refuse {what} with GraphnasError")


def _refusals(make: Make, known: list[Architecture], scores: np.ndarray, asked: list[Architecture]) -> None:
    broken = scores.copy()
    broken[0] = np.nan
    infinite = scores.copy()
    infinite[-1] = np.inf
    _refuses(lambda: make().predict(asked), "to predict before fit")
    _refuses(lambda: make().fit(known[:1], scores[:1]), "a single point")
    _refuses(lambda: make().fit([], scores[:0]), "no points at all")
    _refuses(lambda: make().fit(known, broken), "a target that is NaN")
    _refuses(lambda: make().fit(known, infinite), "a target that is infinite")
    _refuses(lambda: make().fit(known, scores[:-1]), "fewer scores than architectures")


def _constant(make: Make, known: list[Architecture], asked: list[Architecture]) -> None:
    """Constant targets are refused, or predicted."""
    try:
        mean, _ = _predict(make().fit(known, np.full(len(known), 0.25)), asked)
    except GraphnasError:
        return
    expect(np.allclose(mean, 0.25, atol=1e-3), "constant targets must be refused or predicted, not turned into others")


def _saving(fitted: Any, space: Space, asked: list[Architecture], expected: tuple[np.ndarray, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictor"
        fitted.save(path)
        # A writer may add the suffix of its format.
        files = [p for p in Path(folder).iterdir() if p.name.startswith("predictor")]
        expect(len(files) == 1, f"save must write one file and leave nothing else, not {[p.name for p in files]}")
        _equal(
            _predict(type(fitted).load(files[0], space), asked), expected, "a loaded predictor must predict the same"
        )
