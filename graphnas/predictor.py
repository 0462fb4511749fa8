"""What learns scores from architectures: Predictor and Comparator."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.space import Space

FORMAT = "graphnas.predictor"
VERSION = 1
_HEADER = "header"
Scores = Sequence[float] | np.ndarray
L = TypeVar("L", bound="Learner")


class Learner(ABC):
    """What Predictor and Comparator share: arguments, checks of what is given, and files.

    The habits are scikit-learn's: the constructor stores its arguments unchanged under their own names, whatever is
    learned has a name that ends in ``_``, and ``fit`` returns the object. All arguments but ``space`` are JSON values.

    A subclass implements ``_fit``, ``_arrays`` and ``_set_arrays`` beside its own abstract method.

    Attributes:
        name: the registered name of the class.
        space: whose architectures it is for.
        labels_: how many labelled architectures it has seen; they count against a search's budget.
    """

    name: ClassVar[str]
    space: Space
    labels_: int

    def fit(self: L, architectures: Sequence[Architecture], scores: Scores) -> L:
        """Learn from architectures and their scores ``[n]``, larger is better; what was learned before is forgotten.

        Raises:
            GraphnasError: fewer than two, scores that are NaN, infinite or all equal, or another space's architectures.
        """
        architectures = list(architectures)
        targets = np.asarray(scores, dtype=np.float64)
        if targets.shape != (len(architectures),):
            raise GraphnasError(
                f"{self.name} got {len(architectures)} architectures and scores of shape {list(targets.shape)}; "
                "give one score for each architecture"
            )
        if len(targets) < 2:
            raise GraphnasError(f"{self.name} needs at least two scored architectures to fit, not {len(targets)}")
        bad = np.flatnonzero(~np.isfinite(targets))
        if len(bad):
            raise GraphnasError(
                f"score {bad[0]} is {targets[bad[0]]}; leave failed architectures out when fitting {self.name}"
            )
        if np.all(targets == targets[0]):
            raise GraphnasError(
                f"all {len(targets)} scores are {targets[0]:g}; {self.name} can learn nothing from them"
            )
        self._check(architectures)
        self._fit(architectures, targets)
        self.labels_ = len(targets)
        return self

    def save(self, path: str | Path) -> Path:
        """Write the fitted object as an npz archive without pickle; ``load`` reads it back.

        Raises:
            GraphnasError: not fitted, or the file cannot be written.
        """
        self._check_fitted()
        header = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "space": self.space.name,
            "tokens": _tokens(self.space),
            "labels": self.labels_,
            "arguments": self.arguments(),
        }
        return save_npz(Path(path), {_HEADER: np.array(json.dumps(header)), **self._arrays()})

    @classmethod
    def load(cls: type[L], path: str | Path, space: Space | None = None) -> L:
        """The object that ``save`` wrote.

        Args:
            path: the file.
            space: the space it was fitted on; by default the registered space of that name.

        Raises:
            GraphnasError: no such file, another kind of predictor, another space, or a damaged file.
        """
        path = Path(path)
        arrays = load_npz(path)
        header = _header(path, arrays.pop(_HEADER, None))
        kind = cls if not inspect.isabstract(cls) else registry.find("predictor", header["name"])
        if not (inspect.isclass(kind) and issubclass(kind, cls)) or kind.name != header["name"]:
            raise GraphnasError(
                f"{path} holds a {header['name']!r}, which is no {cls.__name__}; load it with its own class"
            )
        if space is None:
            space = registry.get_space(header["space"])
        if space.name != header["space"] or _tokens(space) != header["tokens"]:
            raise GraphnasError(f"{path} was fitted on space {header['space']!r}, which is not this {space.name!r}")
        try:
            make: Any = kind
            self: L = make(space, **header["arguments"])
            self._set_arrays(arrays)
            self.labels_ = int(header["labels"])
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise GraphnasError(
                f"{path} is damaged or of another release ({error}); fit {header['name']} again"
            ) from None
        return self

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments without the space, as given."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: getattr(self, name) for name in names if name != "space"}

    def __repr__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in self.arguments().items())
        return f"{type(self).__name__}({self.space.name!r}{given})"

    def _check(self, architectures: Sequence[Architecture]) -> None:
        """Raise GraphnasError when an architecture is not of the space (canonical forms of its members are)."""
        vocabulary = vocabulary_of(self.space)
        for number, architecture in enumerate(architectures):
            if architecture.decisions_in(self.space) is None:
                try:
                    vocabulary.check(architecture.nodes)
                except GraphnasError as error:
                    raise GraphnasError(f"architecture {number} does not fit {self.name}: {error}") from None

    def _check_fitted(self) -> None:
        if not hasattr(self, "labels_"):
            raise GraphnasError(f"{self.name} is not fitted; call fit with architectures and scores first")

    @abstractmethod
    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        """Learn from checked architectures and scores ``[n]`` (float64)."""

    @abstractmethod
    def _arrays(self) -> Mapping[str, np.ndarray]:
        """All that was learned, as arrays of numbers or text."""

    @abstractmethod
    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of ``_arrays``; the arrays come from a file and must be checked (ValueError, KeyError)."""


class Prediction(NamedTuple):
    """Predicted scores ``mean [n]`` and their uncertainty ``std [n]`` (one standard deviation), float64."""

    mean: np.ndarray
    std: np.ndarray


class Predictor(Learner):
    """Predicts the score of an architecture."""

    def predict(self, architectures: Sequence[Architecture]) -> Prediction:
        """Scores of n architectures, in the unit of the scores that were fitted.

        Raises:
            GraphnasError: not fitted, or an architecture of another space.
        """
        self._check_fitted()
        architectures = list(architectures)
        if not architectures:
            return Prediction(np.empty(0), np.empty(0))
        self._check(architectures)
        return self._predict(architectures)

    @abstractmethod
    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        """Scores of at least one checked architecture."""


class Comparator(Learner):
    """Predicts which of two architectures is better."""

    def probability(self, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
        """Probability ``[n]`` that ``a[i]`` has a greater score than ``b[i]``.

        Raises:
            GraphnasError: not fitted, different lengths, or an architecture of another space.
        """
        self._check_fitted()
        a, b = list(a), list(b)
        if len(a) != len(b):
            raise GraphnasError(f"{self.name} compares pairs, but {len(a)} and {len(b)} architectures are given")
        if not a:
            return np.empty(0)
        self._check(a)
        self._check(b)
        return self._probability(a, b)

    @abstractmethod
    def _probability(self, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
        """Probabilities of at least one checked pair."""


def _tokens(space: Space) -> list[str]:
    return [f"{key}={value!r}" for key, value in vocabulary_of(space).tokens]


def _header(path: Path, stored: np.ndarray | None) -> dict[str, Any]:
    """The checked header of a file that ``save`` wrote."""
    text = "" if stored is None or stored.shape != () or stored.dtype.kind != "U" else str(stored)
    try:
        header = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise GraphnasError(f"{path} is no file of a fitted predictor")
    if header.get("version") != VERSION:
        raise GraphnasError(f"{path} has version {header.get('version')!r} of the format; this release reads {VERSION}")
    kinds = {"name": str, "space": str, "tokens": list, "labels": int, "arguments": dict}
    for field, kind in kinds.items():
        if not isinstance(header.get(field), kind):
            raise GraphnasError(f"{path} is damaged: its header lacks {field!r}; fit the predictor again")
    return header
