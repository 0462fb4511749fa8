"""Search strategies: which architecture to try next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from graphnas.architecture import Architecture
from graphnas.space import Space


@dataclass(slots=True)
class Trial:
    """One evaluated architecture.

    Attributes:
        number: place in the search, from 0.
        architecture: as the strategy wrote it.
        key: its canonical key in the space.
        status: "complete", "failed", or "duplicate" (the key was known; all else is the earlier trial's, whose number
            it carries; a Search tells duplicates to its strategy but neither counts nor stores them).
        score: larger is better; NaN unless there is one.
        metrics: further figures by name.
        seed: what the estimator was given.
        cost: what the trial counts against ``Budget.cost``.
        seconds: wall time of the evaluation.
        error: what went wrong, with traceback, when failed.
    """

    number: int
    architecture: Architecture
    key: str
    status: str
    score: float
    metrics: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    error: str = ""


class Strategy(ABC):
    """Proposes architectures of a Space and learns from their trials.

    A Strategy never sees a Task or an Estimator. Its randomness comes from ``rng`` alone. In a Search, ``ask`` is called
    with a fixed number, then ``tell`` once with the trials of that ask in the same order; failed
    trials have the score NaN.

    Args:
        space: what to search.
        rng: the source of all random draws.

    Attributes:
        takes_objectives: its constructor takes ``objectives`` and ``constraints``, as in ``NSGA2``; a Search passes on its own.
    """

    takes_objectives: ClassVar[bool] = False

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space = space
        self.rng = rng

    @abstractmethod
    def ask(self, n: int) -> list[Architecture]:
        """``n`` architectures to evaluate (fewer, or none, when the strategy has nothing more to propose)."""

    @abstractmethod
    def tell(self, trials: Sequence[Trial]) -> None:
        """Take note of the trials of the last ``ask``, in its order."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next ``ask`` depends on, as JSON values."""
        return {"rng": self.rng.bit_generator.state, **self._state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self.rng.bit_generator.state = state["rng"]
        self._load({k: v for k, v in state.items() if k != "rng"})

    def _state(self) -> dict[str, Any]:
        """State beyond the random generator, as JSON values."""
        return {}

    def _load(self, state: dict[str, Any]) -> None:  # noqa: B027 (a strategy may have no state)
        """The inverse of ``_state``."""
