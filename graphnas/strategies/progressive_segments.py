"""Shrinking a space segment by segment with predictors fitted to noisy scores (Chen, Xie et al., AAAI 2021)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.prediction_table import Cost, PredictionTable
from graphnas.predictor import Predictor
from graphnas.space import Decisions, Space
from graphnas.strategies.base import Strategy, Trial
from graphnas.strategies.learned import make_learner

_MOST = 1_000_000
_TRIES = 1000


class ProgressiveSegments(Strategy):
    """Fits the search space of weight-sharing NAS: one segment of the decisions after the other, then what is left of all.

    For a segment, architectures are drawn in which its decisions and all later ones are uniform and every earlier segment has
    one of its kept settings. A predictor is fitted to their scores and tabulates all settings of the segment, each as
    the mean prediction over some draws of the rest; the best ones are kept. In the end all combinations of kept settings are
    tabulated, and proposed from the best prediction on. It is meant for cheap noisy scores, such as those of
    ``graphnas.estimators.weight_sharing``.

    Args:
        space: what to search.
        rng: the source of all random draws.
        predictor: a registered name, or a callable ``(space, **predictor_options) -> Predictor``; it must be deterministic.
        predictor_options: its arguments.
        segments: how many; decisions are cut in so many runs of about equal length. None: as few as hold at most ``most``
            settings each.
        most: see ``segments``.
        samples: scored architectures for each segment (2,000 in the paper).
        keep: settings of a segment that are kept.
        contexts: draws of the rest in which a setting is predicted.
        cost: of an architecture, for ``limit``.
        limit: proposals of the end cost at most this, and settings that met it in no context are not kept.

    Raises:
        GraphnasError: an argument out of range, or a segment with more than a million settings.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        predictor: str | Callable[..., Predictor] = "gcn",
        predictor_options: Mapping[str, Any] | None = None,
        segments: int | None = None,
        most: int = 20_000,
        samples: int = 200,
        keep: int = 6,
        contexts: int = 8,
        cost: Cost | None = None,
        limit: float | None = None,
    ) -> None:
        super().__init__(space, rng)
        count = len(space.choices)
        if (segments is not None and not 1 <= segments <= count) or min(samples - 1, keep, contexts, most) < 1:
            raise GraphnasError(
                f"progressive segments need segments from 1 to {count}, samples >= 2, keep >= 1, contexts >= 1 and most >= 1, "
                f"not {segments}, {samples}, {keep}, {contexts} and {most}"
            )
        if (cost is None) != (limit is None):
            raise GraphnasError("a limit needs a cost, and a cost a limit")
        self.learner = make_learner(Predictor, predictor, space, predictor_options)  # type: ignore[type-abstract]
        if segments is None:
            self.segments = _runs(space.radices, most)
        else:
            self.segments = [part.tolist() for part in np.array_split(np.arange(count), segments)]
        for part in self.segments:
            if math.prod(space.radices[i] for i in part) > _MOST:
                raise GraphnasError(
                    f"a segment of {len(part)} decisions of space {space.name!r} has more than {_MOST:,} settings; "
                    f"choose more segments than {segments}"
                )
        self.samples, self.keep, self.contexts, self.cost = samples, keep, contexts, cost
        self.limit = math.inf if limit is None else limit
        self._kept: list[list[tuple[int, ...]]] = []  # settings of each finished segment
        self._asked = 0  # in the present segment
        self._told: list[tuple[Decisions, float]] = []  # likewise
        self._left: list[Decisions] = []  # proposals of the end, best first

    def ask(self, n: int) -> list[Architecture]:
        """Draws for the present segment; in the end the best combinations, and nothing when they are used up."""
        while len(self._kept) < len(self.segments):
            count = min(n, self.samples - self._asked)
            if count > 0:
                self._asked += count
                return [self.space.decode(self._draw(len(self._kept))) for _ in range(count)]
            self._finish_segment()
        asked, self._left = self._left[:n], self._left[n:]
        return [self.space.decode(made) for made in asked]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Scores of the present segment; failed ones are left out."""
        if len(self._kept) < len(self.segments):
            self._told += [
                (self.space.encode(trial.architecture), trial.score) for trial in trials if np.isfinite(trial.score)
            ]

    # -- drawing and tabulating -----------------------------------------------------------------

    def _draw(self, segment: int) -> Decisions:
        """Earlier segments as kept, all else uniform."""
        for _ in range(_TRIES):
            made = list(self.space.encode(self.space.sample(self.rng)))
            drawn = tuple(made)
            for places, settings in zip(self.segments[:segment], self._kept, strict=False):
                made = list(_with(made, places, settings[int(self.rng.random() * len(settings))]))
            if self.space.is_valid(tuple(made)):
                return tuple(made)
        return drawn  # the rule of the space hardly ever allows kept settings side by side

    def _finish_segment(self) -> None:
        number = len(self._kept)
        learned = self._fit()
        places = self.segments[number]
        whole = len(self.segments) == 1
        rests = [self._draw(number) for _ in range(1 if whole else self.contexts)]
        rows: list[Architecture] = []
        owners: list[tuple[int, ...]] = []
        for setting in itertools.product(*(range(self.space.radices[i]) for i in places)):
            for rest in rests:
                made = _with(rest, places, setting)
                if self.space.is_valid(made):
                    architecture = self.space.decode(made)
                    if self.cost is None or self.cost(architecture) <= self.limit:
                        rows.append(architecture)
                        owners.append(setting)
        if not rows:
            raise GraphnasError(f"no setting of segment {number} met the limit {self.limit:g}; raise it")
        predicted = self.learner.predict(rows).mean if learned else np.zeros(len(rows))
        sums: dict[tuple[int, ...], list[float]] = {}
        for setting, value in zip(owners, predicted.tolist(), strict=True):
            sums.setdefault(setting, []).append(value)
        ranked = sorted((-float(np.mean(values)), setting) for setting, values in sums.items())
        self._kept.append([setting for _, setting in ranked[: self.keep]])
        if len(self._kept) == len(self.segments):
            self._combine(rows, learned)
        self._asked, self._told = 0, []

    def _fit(self) -> bool:
        """Whether there was something to learn."""
        scores = [score for _, score in self._told]
        if len(set(scores)) < 2:
            return False
        self.learner.fit([self.space.decode(made) for made, _ in self._told], scores)
        return True

    def _combine(self, others: Sequence[Architecture], learned: bool) -> None:
        """All combinations of kept settings, best first; where the space allows none, what was tabulated last."""
        if math.prod(map(len, self._kept)) > _MOST:
            raise GraphnasError(f"the kept settings have more than {_MOST:,} combinations; keep fewer")
        members = []
        for settings in itertools.product(*self._kept):
            made = tuple(itertools.chain(*settings))
            if self.space.is_valid(made):
                members.append(self.space.decode(made))
        members = members or list(others)
        if learned:
            table = PredictionTable.of(self.learner, members, self.cost)
        else:
            costs = None if self.cost is None else np.array([self.cost(a) for a in members])
            table = PredictionTable(members, np.zeros(len(members)), costs)
        self._left = [self.space.encode(a) for a in table.top(len(members), self.limit)]
        if not self._left:
            raise GraphnasError(f"no combination of the kept settings costs at most {self.limit:g}; keep more")

    # -- state ----------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "kept": [[list(setting) for setting in settings] for settings in self._kept],
            "asked": self._asked,
            "told": [[list(made), score] for made, score in self._told],
            "left": [list(made) for made in self._left],
        }

    def _load(self, state: dict[str, Any]) -> None:
        self._kept = [[tuple(setting) for setting in settings] for settings in state["kept"]]
        self._asked = state["asked"]
        self._told = [(tuple(made), score) for made, score in state["told"]]
        self._left = [tuple(made) for made in state["left"]]


def _runs(radices: Sequence[int], most: int) -> list[list[int]]:
    """Runs of decisions, as long as they have at most so many settings (or one decision)."""
    made: list[list[int]] = []
    settings = most + 1
    for place, radix in enumerate(radices):
        settings *= radix
        if settings > most:
            made.append([])
            settings = radix
        made[-1].append(place)
    return made


def _with(rest: Sequence[int], places: Sequence[int], setting: Sequence[int]) -> Decisions:
    made = list(rest)
    for place, option in zip(places, setting, strict=True):
        made[place] = option
    return tuple(made)
