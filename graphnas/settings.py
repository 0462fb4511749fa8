"""The settings of a search by names alone: what the command line takes, a store keeps, and ``resume`` reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from graphnas import registry
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.base import Estimator
from graphnas.search import Budget, Search
from graphnas.strategies.base import Trial

if TYPE_CHECKING:
    from graphnas.oneshot.gradient_search import GradientSearch


@dataclass(frozen=True)
class Settings:
    """A search that can be repeated from names.

    Attributes:
        space, strategy: registered names.
        on: a registered table ("nasbench201/cifar10": looked up) or task ("digits": trained).
        options: arguments of the strategy.
        seed: fixes all trials.
        trials, seconds, cost: the budget; see ``Budget``.
        workers, time_limit, batch: see ``Search``; the first two do not change the trials.
        epochs, data, size, repeats: fidelity of training (tasks only); None takes the default.
        method: of gradient-based search, in place of a strategy; ``options`` are then ``search_epochs``, ``batch``, ``steps``,
            ``score_every``, ``memory``, ``task`` (what the supernet is trained on, if ``on`` is a table) and sizes of the
            supernet.
    """

    space: str
    on: str
    strategy: str = "evolution"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    trials: int | None = None
    seconds: float | None = None
    cost: float | None = None
    workers: int = 1
    time_limit: float | None = None
    batch: int | None = None
    epochs: int | None = None
    data: float | None = None
    size: Mapping[str, float] = field(default_factory=dict)
    repeats: int | None = None
    method: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Settings:
        """Settings from the JSON object that ``record`` made."""
        known = {f.name for f in fields(cls)}
        if not isinstance(record, Mapping) or set(record) - known or not {"space", "on"} <= set(record):
            raise GraphnasError(
                "the store was written from Python: continue it there, with the same Search(..., store=...)"
            )
        return cls(**record)

    def record(self) -> dict[str, Any]:
        """All settings as a JSON object."""
        return asdict(self)

    def budget(self) -> Budget:
        """The budget; 100 trials when nothing is set."""
        if self.trials is None and self.seconds is None and self.cost is None:
            return Budget(trials=100)
        return Budget(self.trials, self.seconds, self.cost)

    def estimator(self) -> Estimator:
        """The table, or training on the task.

        Raises:
            GraphnasError: unknown names, a table of another space, or training options for a table.
        """
        space = registry.get_space(self.space)
        tables, tasks = registry.names("table"), registry.names("task")
        if self.on in tables:
            training = {k: v for k in ("epochs", "data", "size", "repeats") if (v := getattr(self, k))}
            if training:
                raise GraphnasError(f"{self.on} is a table and trains nothing: leave out {', '.join(training)}")
            estimator: Estimator = registry.get_table(self.on)
            if estimator.space.name != space.name:
                fitting = [name for name in tables if name.startswith(f"{space.name}/")]
                raise GraphnasError(
                    f"table {self.on!r} holds architectures of {estimator.space.name}, not of {space.name}; "
                    f"use {', '.join(fitting) or 'a task'}"
                )
            return estimator
        if self.on not in tasks:
            raise unknown("task or table", self.on, [*tables, *tasks])
        from graphnas.estimators.fidelity import Fidelity
        from graphnas.estimators.training import TrainingEstimator

        task = registry.get_task(self.on)
        default = Fidelity.for_kind(task.signature.kind)
        fidelity = Fidelity(
            epochs=self.epochs or default.epochs,
            data=self.data or default.data,
            size=dict(self.size),
        )
        return TrainingEstimator(space, task, fidelity, repeats=self.repeats or 1)

    def gradient_search(
        self,
        store: str | None = None,
        on_epoch: Callable[[int, int, Mapping[str, Any]], None] | None = None,
        estimator: Estimator | None = None,
    ) -> GradientSearch:
        """The GradientSearch of these settings.

        Raises:
            GraphnasError: a budget, which these searches do not have, an unknown option, or a table without a task.
        """
        from graphnas.oneshot.gradient_search import GradientSearch

        if self.trials is not None or self.seconds is not None or self.cost is not None:
            raise GraphnasError(
                "a gradient-based search ends after its epochs: give --option search_epochs=N, no budget"
            )
        options = dict(self.options)
        named = {name: options.pop(name, None) for name in ("search_epochs", "batch", "steps", "score_every")}
        on_table = self.on in registry.names("table")
        task = options.pop("task", None if on_table else self.on)
        if task is None:
            raise GraphnasError(
                f"{self.on} is a table and trains nothing: name the task of the supernet, as in --option task=cifar10-16px"
            )
        return GradientSearch(
            self.space,
            task,
            estimator or self.estimator(),
            self.method or "darts1",
            epochs=named["search_epochs"],
            batch=named["batch"],
            steps=named["steps"],
            score_every=named["score_every"],
            memory=options.pop("memory", "store"),
            size=options,
            seed=self.seed,
            store=store,
            on_epoch=on_epoch,
            command=self.record(),
        )

    def search(
        self,
        store: str | None = None,
        progress: Callable[[Trial, Trial | None, int], None] | None = None,
        estimator: Estimator | None = None,
    ) -> Search:
        """The Search of these settings."""
        return Search(
            registry.get_space(self.space),
            estimator or self.estimator(),
            self.strategy,
            options=self.options,
            budget=self.budget(),
            seed=self.seed,
            store=store,
            workers=self.workers,
            time_limit=self.time_limit,
            batch=self.batch,
            progress=progress,
            command=self.record(),
        )

    def shell(self, store: str) -> str:
        """The command that repeats the search."""
        how = ["--strategy", self.strategy] if self.method is None else ["--method", self.method]
        words = ["graphnas", "search", self.space, "--on", self.on, *how]
        budget = self.budget()
        limits = (("budget", budget.trials), ("seconds", budget.seconds), ("cost", budget.cost))
        for flag, value in (
            *(limits if self.method is None else ()),
            ("epochs", self.epochs),
            ("data", self.data),
            ("repeats", self.repeats),
            ("batch", self.batch),
            ("time-limit", self.time_limit),
        ):
            if value is not None:
                words += [f"--{flag}", f"{value:g}" if isinstance(value, float) else str(value)]
        for flag, pairs in (("option", self.options), ("size", self.size)):
            for name, value in pairs.items():
                words += [f"--{flag}", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        words += ["--seed", str(self.seed), "--workers", str(self.workers), "--store", store]
        return shlex.join(words)


def parse_pairs(pairs: list[str], what: str) -> dict[str, Any]:
    """``["population=20", "move=first"]`` as a mapping; values are JSON where they can be, else text.

    Raises:
        GraphnasError: an entry without "=".
    """
    result: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise GraphnasError(f"--{what} takes NAME=VALUE, not {pair!r}")
        try:
            result[name.replace("-", "_")] = json.loads(text)
        except json.JSONDecodeError:
            result[name.replace("-", "_")] = text
    return result
