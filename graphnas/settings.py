"""The settings of a search by names alone: what the command line takes, a store keeps, and ``resume`` reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from graphnas import registry
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.base import Estimator
from graphnas.objectives import SCORE, parse_constraints, parse_objectives
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
        scored_by: a registered estimator that scores by something else than training each architecture ("weight_sharing"; tasks
            only); ``epochs`` and ``size`` are then those of its supernet.
        scoring: arguments of that estimator.
        method: of gradient-based search, in place of a strategy; ``options`` are then ``search_epochs``, ``batch``, ``steps``,
            ``score_every``, ``memory``, ``task`` (what the supernet is trained on, if ``on`` is a table) and sizes of the
            supernet.
        objectives, constraints: see ``Search``.
        target: a cost and its target, ``{"latency": 5}``: the score becomes the latency reward of MnasNet.
        reward: "soft" (default) or "hard"; see ``LatencyReward``.
        latency_table: file of a ``LatencyTable``, which gives networks that are trained the metric ``latency`` (ms).
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
    scored_by: str | None = None
    scoring: Mapping[str, Any] = field(default_factory=dict)
    objectives: str = ""
    constraints: Sequence[str] = ()
    target: Mapping[str, float] = field(default_factory=dict)
    reward: str | None = None
    latency_table: str | None = None

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
        """The table, or training on the task; with the latency reward as its score where there is a target.

        Raises:
            GraphnasError: unknown names, a table of another space, training options for a table, or more than one target.
        """
        inner = self._estimator()
        if not self.target:
            if self.reward is not None:
                raise GraphnasError("a latency reward needs a target, as in --target latency=5")
            return inner
        if len(self.target) > 1:
            raise GraphnasError(f"the latency reward has one target, not {len(self.target)}: {', '.join(self.target)}")
        from graphnas.estimators.reward import LatencyReward

        ((cost, target),) = self.target.items()
        if isinstance(target, bool) or not isinstance(target, (int, float)):
            raise GraphnasError(f"the target of {cost} must be a number, not {target!r}")
        return LatencyReward(inner, cost, target, self.reward or "soft")

    def _figures(self) -> list[str]:
        """The metrics that objectives, constraints and the target name."""
        wanted = [o.name for o in (parse_objectives(self.objectives) if self.objectives else ())]
        wanted += [c.name for c in parse_constraints(self.constraints)]
        return list(dict.fromkeys([*wanted, *self.target]))

    def _estimator(self) -> Estimator:
        space = registry.get_space(self.space)
        tables, tasks = registry.names("table"), registry.names("task")
        if self.scoring and self.scored_by is None:
            raise GraphnasError(f"options of an estimator ({', '.join(self.scoring)}) need --estimator")
        if self.on in tables:
            if self.scored_by is not None:
                raise GraphnasError(
                    f"{self.on} is a table, which is looked up; estimator {self.scored_by!r} needs a task, as in --on digits"
                )
            training = {k: v for k in ("epochs", "data", "size", "repeats", "latency_table") if (v := getattr(self, k))}
            if training:
                raise GraphnasError(f"{self.on} is a table and trains nothing: leave out {', '.join(training)}")
            estimator: Estimator = registry.get_table(self.on)
            if estimator.space.name != space.name:
                fitting = [name for name in tables if name.startswith(f"{space.name}/")]
                raise GraphnasError(
                    f"table {self.on!r} holds architectures of {estimator.space.name}, not of {space.name}; "
                    f"use {', '.join(fitting) or 'a task'}"
                )
            known = (SCORE, estimator.metric, *getattr(estimator, "metrics", ()))
            missing = [name for name in self._figures() if name not in known]
            if missing:  # columns that are not reported unless asked for
                return registry.find("table", self.on)(metrics=(*getattr(estimator, "metrics", ()), *missing))  # type: ignore[no-any-return]
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
        if self.scored_by is not None:
            if self.repeats is not None:
                raise GraphnasError(f"estimator {self.scored_by!r} trains once; leave out the repeats")
            found: Any = registry.find("estimator", self.scored_by)
            made: Estimator = found.of_options(space, task, fidelity, **self.scoring)
            return self._costed(made, task.signature)
        trained = TrainingEstimator(space, task, fidelity, repeats=self.repeats or 1)
        return self._costed(trained, task.signature)

    def _costed(self, trained: Estimator, signature: Any) -> Estimator:
        """Multiply-adds and latency of the networks beside what is measured, where they are asked for."""
        if not self.latency_table and "macs" not in self._figures():
            return trained
        from graphnas.cost import LatencyTable
        from graphnas.estimators.costed import Costed, NetworkCosts

        costs = {"macs": NetworkCosts(trained.space, signature, self.size)}
        if self.latency_table:
            table = LatencyTable.load(self.latency_table)
            costs["latency"] = NetworkCosts(trained.space, signature, self.size, table)
        return Costed(trained, costs)

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
            self.space,
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
            objectives=self.objectives,
            constraints=self.constraints,
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
            ("objectives", self.objectives or None),
            ("reward", self.reward),
            ("latency-table", self.latency_table),
        ):
            if value is not None:
                words += [f"--{flag}", f"{value:g}" if isinstance(value, float) else str(value)]
        if self.scored_by is not None:
            words += ["--estimator", self.scored_by]
        for constraint in self.constraints:
            words += ["--constraint", constraint]
        for flag, pairs in (
            ("option", self.options),
            ("size", self.size),
            ("estimator-option", self.scoring),
            ("target", self.target),
        ):
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
