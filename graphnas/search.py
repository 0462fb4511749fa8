"""The loop that joins a Space, an Estimator and a Strategy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator
from graphnas.executors import ExecutorRunner, Job, LocalRunner, Outcome, Runner, SerialRunner
from graphnas.objectives import (
    Constraint,
    Objective,
    check_figures,
    limited,
    named,
    parse_constraints,
    parse_objectives,
    violation,
)
from graphnas.result import Budget as Budget
from graphnas.result import Result as Result
from graphnas.space import Space
from graphnas.store import Store
from graphnas.strategies.base import Strategy, Trial

MAX_DUPLICATES = 1_000
"""A strategy that proposes this many known architectures in a row has nothing new to offer."""


class Search:
    """Asks a Strategy for architectures of a Space, has an Estimator score them, and tells the Strategy.

    Architectures are asked for ``batch`` at a time and told in the order of asking, so a seed gives the same trials for
    any number of workers. An architecture whose key is known is told with the known score, and costs nothing.

    Args:
        space: a Space or a registered name.
        estimator: scores architectures of this space.
        strategy: a registered name, a Strategy class, or a strategy that was already made.
        options: arguments of the strategy.
        budget: when to stop; a plain number means trials.
        seed: fixes the strategy's draws and every trial's seed.
        store: SQLite file for the trials; an existing one is continued.
        workers: processes on this machine; 1 evaluates in this process unless there is a time limit.
        executor: any ``concurrent.futures.Executor`` instead of local workers.
        time_limit: seconds after which a trial is killed and counts as failed.
        batch: how many architectures to ask for at a time; the estimator's ``batch`` by default.
        deduplicate: tell known architectures at no cost instead of evaluating them again.
        progress: called after every trial with (trial, best trial, number of trials).
        command: settings that the command line resumes from.
        objectives: figures to trade off, ``["validation", "-latency"]`` (the estimator's metric, or metrics of its evaluations;
            ``-`` for what is to be small). Strategies for several objectives search for all of them; the others search for the
            score alone. The front of all trials is ``Result.front()``.
        constraints: limits, ``["latency<=5"]``. A strategy that knows no constraints is told that trials which break one have failed.

    Raises:
        GraphnasError: parts that do not fit, or a store that holds another search.
    """

    def __init__(
        self,
        space: Space | str,
        estimator: Estimator,
        strategy: str | type[Strategy] | Strategy = "evolution",
        *,
        options: Mapping[str, Any] | None = None,
        budget: Budget | int = 100,
        seed: int = 0,
        store: str | Path | None = None,
        workers: int = 1,
        executor: Executor | None = None,
        time_limit: float | None = None,
        batch: int | None = None,
        deduplicate: bool = True,
        progress: Callable[[Trial, Trial | None, int], None] | None = None,
        command: Mapping[str, Any] | None = None,
        objectives: Sequence[str | Objective] | str = (),
        constraints: Sequence[str | Constraint] | str = (),
    ) -> None:
        if isinstance(space, str) and space == estimator.space.name and estimator.space.listed is not None:
            self.space = estimator.space  # a table of a few members of a large space: only those can be looked up
        else:
            self.space = registry.get_space(space) if isinstance(space, str) else space
        if estimator.space.name != self.space.name:
            raise GraphnasError(
                f"estimator {estimator.name!r} scores architectures of space {estimator.space.name!r}, "
                f"not of {self.space.name!r}"
            )
        self.estimator = estimator
        self.budget = budget if isinstance(budget, Budget) else Budget(trials=budget)
        self.seed = seed
        self.batch = estimator.batch if batch is None else batch
        if self.batch < 1 or workers < 1:
            raise GraphnasError(f"batch and workers must be at least 1, not {self.batch} and {workers}")
        if time_limit is not None and not time_limit > 0:
            raise GraphnasError(f"the time limit must be greater than 0 seconds, not {time_limit}")
        self.deduplicate = deduplicate
        self.store_path = None if store is None else Path(store)
        self.workers = workers
        self.executor = executor
        self.time_limit = time_limit
        self.progress = progress
        metric, maximise = estimator.metric, estimator.maximise
        self.objectives = tuple(
            named(o, metric, maximise) for o in (parse_objectives(objectives) if objectives else ())
        )
        self.constraints = tuple(limited(c, metric, maximise) for c in parse_constraints(constraints))
        self.command = dict(command or {})
        self._strategy_given = strategy
        self._options = dict(options or {})
        self.strategy_name = (
            strategy if isinstance(strategy, str) else getattr(strategy, "__name__", type(strategy).__name__)
        )
        self._make_strategy()  # so that wrong options are told before anything runs

    def _make_strategy(self) -> Strategy:
        given = self._strategy_given
        if isinstance(given, Strategy):
            if given.space is not self.space:
                raise GraphnasError("the strategy was made for another space than the search's")
            return given
        factory = registry.find("strategy", given) if isinstance(given, str) else given
        options = dict(self._options)
        if factory.takes_objectives:
            wanted = {"objectives": list(map(str, self.objectives)), "constraints": list(map(str, self.constraints))}
            options = {**{name: value for name, value in wanted.items() if value}, **options}
        try:
            return factory(self.space, np.random.default_rng(self.seed), **options)
        except TypeError as error:
            raise GraphnasError(f"strategy {self.strategy_name!r} does not take these options: {error}") from None

    def settings(self) -> dict[str, Any]:
        """What determines the trials, as JSON values."""
        return {
            "space": self.space.name,
            "estimator": self.estimator.describe(),
            "strategy": self.strategy_name,
            "options": self._options,
            "seed": self.seed,
            "batch": self.batch,
            "deduplicate": self.deduplicate,
            **({"objectives": list(map(str, self.objectives))} if self.objectives else {}),
            **({"constraints": list(map(str, self.constraints))} if self.constraints else {}),
        }

    def run(self) -> Result:
        """Search until the budget is used; an existing store is continued where it ended.

        A KeyboardInterrupt leaves a complete store behind and passes on.
        """
        store = None if self.store_path is None else Store(self.store_path)
        close: Callable[[], None] = lambda: None  # noqa: E731
        try:
            stored = self._open(store)
            runner: Runner
            if self.executor is not None:
                runner = ExecutorRunner(self.estimator, self.executor, self.time_limit)
            elif (self.workers > 1 and not self.estimator.cheap) or self.time_limit is not None:
                local = LocalRunner(self.estimator, self.workers, self.time_limit)
                runner, close = local, local.close
            else:
                runner = SerialRunner(self.estimator)
            return _Run(self, self._make_strategy(), runner, store, stored).loop()
        finally:
            close()
            if store is not None:
                store.close()

    def _open(self, store: Store | None) -> dict[int, Trial]:
        """Trials of earlier runs by number, after checking that they belong to this search."""
        if store is None:
            return {}
        before, now = store.get("settings"), self.settings()
        if before is None:
            store.set("settings", now)
            store.set("command", self.command)
        else:
            for name in (*now, "objectives", "constraints"):
                if _plain(now.get(name)) != before.get(name):
                    raise GraphnasError(
                        f"store {store.path} holds another search ({name}: {before.get(name)} instead of {now.get(name)}); "
                        "choose another store or the same settings"
                    )
        store.set("budget", asdict(self.budget))
        return {t.number: t for t in store.trials(self.space)}


class _Run:
    """One run of a search: replays the stored trials through the strategy, then goes on."""

    def __init__(
        self, search: Search, strategy: Strategy, runner: Runner, store: Store | None, stored: dict[int, Trial]
    ) -> None:
        self.search = search
        self.strategy = strategy
        self.runner = runner
        self.store = store
        self.stored = stored
        self.known: dict[str, Trial] = {}
        self.result = Result(objectives=search.objectives, constraints=search.constraints)
        self.hides = bool(search.constraints) and not strategy.takes_objectives
        self.start = time.perf_counter()
        self.before = float(store.get("seconds", 0.0)) if store else 0.0
        self.cost = 0.0
        self.in_a_row = 0

    def loop(self) -> Result:
        search, result = self.search, self.result
        trials = result.trials
        try:
            while not result.stopped:
                result.stopped = search.budget.reached(len(trials), self._seconds(), self.cost)
                if result.stopped:
                    break
                asked = self.strategy.ask(search.batch)
                if not asked:
                    result.stopped = "the strategy has nothing more to propose"
                    break
                told = self._evaluate(asked)
                if len(told) == len(asked):
                    self.strategy.tell([self._told(trial) for trial in told] if self.hides else told)
                if self.in_a_row >= MAX_DUPLICATES:
                    result.stopped = f"the strategy proposed {self.in_a_row} known architectures in a row"
        finally:
            result.seconds = self._seconds()
            if self.store is not None:
                self.store.set("seconds", result.seconds)
                self.store.set("duplicates", result.duplicates)
                self.store.set("stopped", result.stopped or "interrupted")
        return result

    def _told(self, trial: Trial) -> Trial:
        """The trial as a strategy without constraints should see it: what breaks one has failed."""
        if trial.status == "failed" or violation(trial, self.search.constraints) == 0:
            return trial
        limits = " and ".join(map(str, self.search.constraints))
        return replace(trial, status="failed", score=math.nan, error=f"does not keep {limits}")

    def _seconds(self) -> float:
        return self.before + time.perf_counter() - self.start

    def _evaluate(self, asked: list[Architecture]) -> list[Trial]:
        """Trials for all that was asked, in order; fewer when the budget of trials ends in between."""
        search, space, known = self.search, self.search.space, self.known
        limit = search.budget.trials
        jobs: list[Job] = []
        keys: list[str] = []
        slots: list[tuple[bool, int]] = []  # is it new?, trial number
        pending: dict[str, int] = {}
        number = first = len(self.result.trials)
        for architecture in asked:
            key = space.key(architecture)
            if search.deduplicate:
                earlier = known[key].number if key in known else pending.get(key)
                if earlier is not None:
                    slots.append((False, earlier))
                    continue
            if limit is not None and number >= limit:
                break
            pending[key] = number
            slots.append((True, number))
            keys.append(key)
            jobs.append(Job(number, architecture, trial_seed(search.seed, number)))
            number += 1
        new = self._trials(jobs, keys)
        self.result.trials.extend(new)
        told: list[Trial] = []
        for is_new, at in slots:
            trial = self.result.trials[at]
            if is_new:
                self._note(trial)
                self.in_a_row = 0
            else:
                trial = _duplicate(trial, asked[len(told)])
                self.in_a_row += 1
                self.result.duplicates += 1
            told.append(trial)
        assert number - first == len(new)
        return told

    def _trials(self, jobs: list[Job], keys: list[str]) -> list[Trial]:
        """Replay what is stored and evaluate the rest; every trial is committed as soon as it is finished."""
        found: dict[int, Trial] = {}
        missing: dict[int, tuple[Job, str]] = {}
        for job, key in zip(jobs, keys, strict=True):
            stored = self.stored.pop(job.number, None) if self.stored else None
            if stored is None:
                missing[job.number] = job, key
            else:
                self._check(stored, job, key)
                found[job.number] = stored
        if missing:
            for outcome in self.runner([job for job, _ in missing.values()]):
                job, key = missing[outcome.number]
                trial = trial_of(outcome, job, key)
                if self.store is not None:
                    self.store.write(trial, self.search.space.encode(job.architecture))
                found[outcome.number] = trial
        return [found[job.number] for job in jobs]

    def _check(self, stored: Trial, job: Job, key: str) -> None:
        if stored.key != key or stored.seed != job.seed:
            path = self.search.store_path
            raise GraphnasError(
                f"trial {job.number} of store {path} is not what this search asks for: the strategy or the space has "
                "changed since; start a new store"
            )

    def _note(self, trial: Trial) -> None:
        result = self.result
        self.known.setdefault(trial.key, trial)
        self.cost += trial.cost
        constraints = self.search.constraints
        if trial.status == "complete" and (constraints or result.objectives):
            names = [o.name for o in result.objectives] + [c.name for c in constraints]
            check_figures(names, trial.metrics, f"estimator {self.search.estimator.name!r}")
        if trial.score == trial.score and (result.best is None or trial.score > result.best.score):
            if violation(trial, constraints) == 0:
                result.best = trial
        if self.search.progress is not None:
            self.search.progress(trial, result.best, trial.number + 1)


def trial_of(outcome: Outcome, job: Job, key: str) -> Trial:
    """The trial that an outcome makes of a job; failed where there is no evaluation."""
    evaluation = outcome.evaluation
    if evaluation is None:
        nan = math.nan
        return Trial(
            job.number, job.architecture, key, "failed", nan, {}, job.seed, 0.0, outcome.seconds, outcome.error
        )
    return Trial(
        job.number,
        job.architecture,
        key,
        "complete",
        evaluation.score,
        evaluation.metrics,
        job.seed,
        evaluation.cost,
        outcome.seconds,
    )


def _duplicate(trial: Trial, architecture: Architecture) -> Trial:
    return Trial(
        trial.number,
        architecture,
        trial.key,
        "duplicate",
        trial.score,
        trial.metrics,
        trial.seed,
        trial.cost,
        trial.seconds,
    )


def _plain(value: Any) -> Any:
    import json

    return json.loads(json.dumps(value))


def trial_seed(seed: int, number: int) -> int:
    """A 31-bit seed for one trial, well spread over numbers and search seeds (SplitMix64 of Steele et al., 2014)."""
    mask = 0xFFFFFFFFFFFFFFFF
    z = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xD1342543DE82EF95) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 33
