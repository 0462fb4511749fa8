"""AGNN: reinforced conservative search, one class of components at a time (Zhou, Song, Huang & Hu, 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.space import Decisions, Space
from graphnas.strategies.agnn_encoders import CLASSES, ClassEncoder, component_classes, entropy
from graphnas.strategies.base import Strategy, Trial

SELECTIONS = ("softmax", "proportional", "argmax")
_MAX_TRIES = 100
_SETTLED = 1e-9
"""Entropy in nats below which an encoder leaves nothing open."""


class _Table(NamedTuple):
    """What an encoder gives for m*: ``[layers, options]``, its running sums over the options, and its entropy."""

    probabilities: np.ndarray
    upto: np.ndarray
    entropy: float


class AGNN(Strategy):
    """Reinforced conservative neural architecture search (RCNAS): small changes of the best architecture so far.

    - The conservative explorer keeps the best architecture so far, m*, and its score M*. Every offspring is m* with
      the components of ``changes`` classes drawn anew, in all layers at once, and at least one of each class changed.
    - The guided modifier has an encoder for each class (see ``ClassEncoder``): an LSTM reads m* without the class and gives a
      softmax over the class's options for every layer. The class with a large entropy E_c, the sum over layers and
      options of ``-p log p``, is the one where most is undecided; it is changed.
    - The learner moves the encoder of the changed class alone, one step of Adam for every told trial, up
      ``R * log p``, where R = M - M* is the score of the offspring less that of m*. A better offspring becomes m*.

    The offspring of one ask are all of the same m*, and so are their rewards. Draws that the space does not allow are
    rejected. A failed trial has the lowest reward so far. Duplicates teach like other trials; ``patience`` of them in a
    row let offspring differ in one class more until there is a better m*, so that a local optimum is left (as in
    the variable neighbourhood search of Mladenović & Hansen, 1997).

    Args:
        space: what to search; see ``component_classes`` for what its classes are.
        rng: the source of all random draws, and of the first weights.
        changes: s, how many classes an offspring changes; 1 was best in the paper.
        select: which class: "softmax" draws it with the probability softmax(E), "proportional" in proportion to E,
            "argmax" takes the one with the largest E. One without entropy is not taken while another has some.
        classes: "groups", "choices" or "auto" (see ``component_classes``).
        initial: random architectures, of which the best is the first m*.
        start: decisions of known good architectures, asked for before all others; with them ``initial`` may be 0.
        hidden: units of each LSTM.
        learning_rate: of Adam.
        temperature: logits are divided by it.
        tanh_constant: then limited to this; None does not limit them.
        patience: known architectures in a row after which offspring differ in one class more.

    Attributes:
        best: decisions of m*, None before the first success.
        best_score: M*, which never falls.
        encoders: by the name of the class.

    Raises:
        GraphnasError: an argument out of range, or a space without decisions.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        changes: int = 1,
        select: str = "softmax",
        classes: str = "auto",
        initial: int = 1,
        hidden: int = 100,
        learning_rate: float = 3.5e-4,
        temperature: float = 5.0,
        tanh_constant: float | None = 2.5,
        patience: int = 10,
        start: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__(space, rng)
        self.start = [tuple(int(d) for d in decisions) for decisions in start]
        for decisions in self.start:
            space.decode(decisions)  # raises where they are none
        if select not in SELECTIONS:
            raise unknown("selection of a class", select, SELECTIONS)
        if classes not in CLASSES:
            raise unknown("kind of classes", classes, CLASSES)
        self.classes = component_classes(space, classes)
        if initial + len(self.start) < 1 or initial < 0 or patience < 1 or not 1 <= changes <= len(self.classes):
            raise GraphnasError(
                f"AGNN needs initial >= 1 (or a start), patience >= 1 and changes in 1..{len(self.classes)} (the classes of "
                f"{space.name}), not {initial}, {patience} and {changes}"
            )
        self.changes = changes
        self.select = select
        self.initial = initial
        self.patience = patience
        self.encoders = {
            name: ClassEncoder(space, places, rng, hidden, learning_rate, temperature, tanh_constant)
            for name, places in self.classes.items()
        }
        self.best: Decisions | None = None
        self.best_score = -np.inf
        self._asked = 0
        self._told = 0
        self._known = 0
        self._wider = 0
        self._lowest = 0.0
        self._tables: dict[str, _Table] = {}

    # -- what to try next -----------------------------------------------------------------------

    def ask(self, n: int) -> list[Architecture]:
        """``n`` offspring of the best architecture so far; first the start, then random ones, and while all have failed."""
        asked = []
        for _ in range(n):
            if self._asked < len(self.start):
                asked.append(Architecture.of_space(self.space, self.start[self._asked]))
            elif self._asked < len(self.start) + self.initial or self.best is None:
                asked.append(self.space.sample(self.rng))
            else:
                asked.append(self._offspring())
            self._asked += 1
        return asked

    def probabilities(self, name: str) -> np.ndarray:
        """What the encoder of a class gives for m*, ``[layers, options]``.

        Raises:
            GraphnasError: there is no m* yet.
        """
        return self._table(name).probabilities

    def entropies(self) -> dict[str, float]:
        """E_c of every class in nats, at m*.

        Raises:
            GraphnasError: there is no m* yet.
        """
        return {name: self._table(name).entropy for name in self.classes}

    def _table(self, name: str) -> _Table:
        """What the encoder gives, which only a step of it or another m* change."""
        if self.best is None:
            raise GraphnasError("AGNN has no best architecture yet; tell it a trial that has a score")
        if name not in self._tables:
            log = self.encoders[name].table(self.best)
            self._tables[name] = _Table(np.exp(log), np.exp(log).cumsum(axis=1), entropy(log))
        return self._tables[name]

    def _offspring(self) -> Architecture:
        assert self.best is not None
        count = min(self.changes + self._wider, len(self.classes))
        for _ in range(_MAX_TRIES):
            made: list[int] | None = list(self.best)
            for name in self._selected(count):
                made = made and self._drawn(made, name)
            if made is not None and self.space.is_valid(tuple(made)):
                return Architecture.of_space(self.space, tuple(made))
        # Where validity ties decisions of several classes together, nothing may be left but a change of one decision.
        return self.space.mutate(Architecture.of_space(self.space, self.best), self.rng)

    def _selected(self, count: int) -> list[str]:
        """Different classes in the order of selection; those without entropy come last."""
        entropies = self.entropies()
        left = {name: value for name, value in entropies.items() if value > _SETTLED}
        chosen: list[str] = []
        while left and len(chosen) < count:
            values = np.array(list(left.values()))
            if self.select == "argmax":
                place = int(values.argmax())
            else:
                weights = np.exp(values - values.max()) if self.select == "softmax" else values
                upto = weights.cumsum()
                place = int((upto[:-1] <= self.rng.random() * upto[-1]).sum())
            chosen.append(list(left)[place])
            del left[chosen[-1]]
        settled = [name for name in entropies if name not in chosen]
        while len(chosen) < count:
            chosen.append(settled.pop(int(self.rng.random() * len(settled))))
        return chosen

    def _drawn(self, decisions: Sequence[int], name: str) -> list[int] | None:
        """The decisions with another draw of one class; None when no draw within the limit differs."""
        places = self.classes[name]
        upto = self._table(name).upto
        old = [decisions[i] for i in places]
        for _ in range(_MAX_TRIES):
            # The total is 1 up to rounding, and a closed option at the end must not be reached.
            new = (upto <= (self.rng.random(len(places)) * upto[:, -1])[:, None]).sum(axis=1).tolist()
            if new != old:
                made = list(decisions)
                for i, d in zip(places, new, strict=True):
                    made[i] = d
                return made
        return None

    # -- what to learn from it ------------------------------------------------------------------

    def tell(self, trials: Sequence[Trial]) -> None:
        """A step of the changed class's encoder for each trial, then the best of the trials may become m*."""
        parent, at = self.best, self.best_score
        for trial in trials:
            self._count(trial)
            child = self.space.encode(trial.architecture)
            if parent is not None and self._told >= self.initial:
                reward = self._reward(trial.score, at)
                for name in self._changed(parent, child) if reward else ():
                    self.encoders[name].step(parent, child, reward)
                    self._tables.pop(name, None)
            self._told += 1
            if trial.score > self.best_score:  # False for NaN
                self.best, self.best_score = child, float(trial.score)
        if self.best != parent:
            self._known = self._wider = 0
            self._tables.clear()

    def _count(self, trial: Trial) -> None:
        self._known = self._known + 1 if trial.status == "duplicate" else 0
        if self._known >= self.patience:
            self._known = 0
            self._wider = min(self._wider + 1, len(self.classes) - self.changes)

    def _changed(self, parent: Decisions, child: Decisions) -> list[str]:
        """The classes in which two architectures differ."""
        return [name for name, places in self.classes.items() if any(parent[i] != child[i] for i in places)]

    def _reward(self, score: float, best: float) -> float:
        if score != score:
            return self._lowest or -1.0
        reward = float(score - best)
        self._lowest = min(self._lowest, reward)
        return reward

    # -- state ----------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "best": None if self.best is None else list(self.best),
            "best_score": None if self.best is None else self.best_score,
            "asked": self._asked,
            "told": self._told,
            "known": self._known,
            "wider": self._wider,
            "lowest": self._lowest,
            "encoders": {name: encoder.state_dict() for name, encoder in self.encoders.items()},
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.best = None if state["best"] is None else tuple(state["best"])
        self.best_score = -np.inf if self.best is None else state["best_score"]
        self._asked, self._told = state["asked"], state["told"]
        self._known, self._wider, self._lowest = state["known"], state["wider"], state["lowest"]
        for name, encoder in self.encoders.items():
            if name not in state["encoders"]:
                raise GraphnasError(f"the state of AGNN lacks the encoder of class {name!r}; start the search anew")
            encoder.load_state_dict(state["encoders"][name])
        self._tables.clear()
