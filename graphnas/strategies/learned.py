"""What all strategies share that fit a Predictor or Comparator to their own trials."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.predictor import Learner, Scores
from graphnas.space import Space
from graphnas.strategies.base import Strategy, Trial
from graphnas.strategies.feasibility import Feasibility
from graphnas.strategies.labels import Labels

L = TypeVar("L", bound=Learner)
_TRIES = 10
_DRAWN = 20
"""Of how many random architectures the most hopeful is taken where many trials fail."""


class LearnedStrategy(Strategy, Generic[L]):
    """Random architectures first; then what a learner that is fitted to all labels proposes.

    The learner is fitted again when ``every`` more labels are there, and at least ``growth - 1`` times as many as the
    last fit had: the cost of all fits stays in proportion to that of the last. A state holds the labels, not
    the learner: loading fits it again to the labels that it had.

    Args:
        space: what to search.
        rng: the source of all random draws.
        learner: unfitted.
        initial: scored random architectures before the first fit.
        every: labels between fits, at least.
        growth: factor between the numbers of labels of successive fits, at least.
        keep: how many of the best architectures ``labels.best`` holds.

    Raises:
        GraphnasError: an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        learner: L,
        *,
        initial: int,
        every: int,
        growth: float,
        keep: int,
    ) -> None:
        super().__init__(space, rng)
        if initial < 2 or every < 1 or not growth >= 1:
            raise GraphnasError(
                "a strategy that learns needs initial >= 2, every >= 1 and growth >= 1, "
                f"not {initial}, {every} and {growth}"
            )
        self.learner = learner
        self.initial = initial
        self.every = every
        self.growth = growth
        self.labels = Labels(space, keep)
        self.feasibility = Feasibility(space)
        self._seen = 0  # labels at the last fit
        self._ready = False

    def ask(self, n: int) -> list[Architecture]:
        """Random architectures until there are ``initial`` labels, then proposals; known ones only when all fails.

        May be fewer than ``n`` at the end of the random phase, or when few unknown architectures are found.
        """
        count = len(self.labels)
        if count < self.initial:
            return self._random(min(n, self.initial - count))
        if not self._seen or count >= max(self._seen + self.every, int(self._seen * self.growth)):
            self._fit(count)
            if self._ready:
                self._fitted()
        return self._propose(n) if self._ready else self._random(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        """The trials become labels; failed ones are not proposed again, and tell what fails."""
        for trial in trials:
            if trial.status != "duplicate":
                self.feasibility.tell(trial.architecture, bool(np.isfinite(trial.score)))
        self.labels.tell(trials)

    def _fit(self, count: int) -> None:
        self._seen = count
        self._ready = self.labels.learnable(count)
        if self._ready:
            self.learner.fit(self.labels.architectures[:count], self._targets(count))

    def _targets(self, count: int) -> Scores:
        """What the learner is fitted to: the first ``count`` scores."""
        return self.labels.scores[:count]

    def _fitted(self) -> None:
        """Called after each fit, but not when a state is loaded."""

    @abstractmethod
    def _propose(self, n: int) -> list[Architecture]:
        """At most ``n`` architectures by the fitted learner, unknown ones if any are found."""

    # -- unknown architectures ------------------------------------------------------------------

    def _random(self, n: int) -> list[Architecture]:
        """``n`` random architectures, unknown ones as far as they are found.

        Where many trials fail, the most hopeful of some, among them mutants of those that did not.
        """
        if not self.feasibility.doubtful:
            found = list(self._unknown(n, lambda: self.space.sample(self.rng)).values())
        else:
            pool = self._unknown(_DRAWN * n, lambda: self.space.sample(self.rng))
            if self.labels.best:
                pool.update(self._unknown(_DRAWN * n, lambda: self._mutant(self.labels.best), pool))
            found = list(pool.values())
            order = np.argsort(-self.feasibility.probability(found), kind="stable")[:n]
            found = [found[i] for i in order.tolist()]
        return found or [self.space.sample(self.rng) for _ in range(n)]

    def _unknown(
        self,
        n: int,
        draw: Callable[[], Architecture],
        known: Mapping[str, Architecture] | None = None,
        limit: int | None = None,
    ) -> dict[str, Architecture]:
        """At most ``n`` distinct draws by key, neither told nor among ``known``; of ``limit`` draws (10 for each)."""
        found: dict[str, Architecture] = {}
        space, labels, known = self.space, self.labels, known or {}
        for _ in range(max(100, _TRIES * n) if limit is None else limit):
            if len(found) >= n:
                break
            architecture = draw()
            key = space.key(architecture)
            if key not in labels and key not in known:
                found.setdefault(key, architecture)
        return found

    def _mutant(self, parents: Sequence[Architecture]) -> Architecture:
        """A random parent with one or two changed decisions; a random architecture where it has no valid neighbour."""
        rng = self.rng
        made = parents[int(rng.random() * len(parents))]
        try:
            for _ in range(1 + int(rng.random() * 2)):
                made = self.space.mutate(made, rng)
        except GraphnasError:
            return self.space.sample(rng)
        return made

    # -- state ----------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {"seen": self._seen, "outcomes": self.feasibility.state(), **self.labels.state()}

    def _load(self, state: dict[str, Any]) -> None:
        self.labels.load(state)
        self.feasibility.load(state["outcomes"])
        self._seen, self._ready = 0, False
        if state["seen"]:
            self._fit(state["seen"])


def make_learner(kind: type[L], given: str | Callable[..., L], space: Space, options: Mapping[str, Any] | None) -> L:
    """The unfitted learner that a strategy was given by registered name or as a callable ``(space, **options)``.

    Raises:
        GraphnasError: unknown name, wrong options, or an object of another kind.
    """
    factory = registry.find("predictor", given) if isinstance(given, str) else given
    label = repr(given) if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)
    wanted = kind.__name__.lower()
    if not callable(factory):
        raise GraphnasError(f"the {wanted} is {given!r:.80}; give a registered name or a callable that takes the space")
    try:
        made = factory(space, **dict(options or {}))
    except TypeError as error:
        raise GraphnasError(f"{wanted} {label} does not take these options: {error}") from None
    if not isinstance(made, kind):
        raise GraphnasError(
            f"{label} makes a {type(made).__name__}, which is no {kind.__name__}; give another {wanted}"
        )
    return made
