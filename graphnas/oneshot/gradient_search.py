"""A gradient-based search of a Space: supernet, streams, checkpoints, and derived architectures as trials of a store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator
from graphnas.estimators.fit import isolated
from graphnas.executors import Job, evaluate
from graphnas.oneshot import search as loop
from graphnas.oneshot.base import CARRIED, State, Tensors
from graphnas.oneshot.checkpoint import SearchState
from graphnas.oneshot.discretisers import ArgmaxPerRow, TopKInputs
from graphnas.oneshot.distributed import (
    average,
    join_norms,
    join_processes,
    joined,
    own_share,
    share_of_each_batch,
)
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods import get
from graphnas.oneshot.monitors import AlphaNorm, ParameterFree, RowEntropy
from graphnas.oneshot.region_problem import RegionProblem
from graphnas.oneshot.streams import Follows
from graphnas.oneshot.supernet import Supernet
from graphnas.oneshot.task_streams import streams_of
from graphnas.region import Region
from graphnas.search import Result, trial_of, trial_seed
from graphnas.space import Space
from graphnas.store import Store
from graphnas.strategies.base import Trial
from graphnas.tasks.base import Task

CHECKPOINT_SECONDS = 60.0


class GradientSearch:
    """Trains a supernet and its architecture parameters on a task, and has an Estimator score what is derived.

    Equal arguments give equal searches, bit for bit, on one machine. With a store, the state of the search is kept beside
    it (``<store>.checkpoint.npz``, after every epoch and at least once a minute), and a search that was interrupted goes on as if
    nothing had happened. On a control task it is kept after every epoch only, as batches come from what is played.

    Under ``torchrun`` the processes share every batch and find what one process finds with the whole batch, but for rounding
    and the noise of dropout and augmentation; the first one scores and writes.

    Args:
        space: a Space or a registered name.
        task: what the supernet is trained on.
        estimator: scores derived architectures of this space; None: none are scored, and there are no trials.
        method: a Method or a registered name; see ``graphnas.oneshot.methods``.
        epochs: of the search; None: the method's.
        batch: size of a batch; None: the method's.
        steps: weight steps of an epoch; None: as many as fill one with data.
        score_every: epochs between two derived architectures that are scored; None: 1 where scoring is cheap (a table), and
            otherwise only the last one is.
        memory: see Supernet.
        size: of the supernet; see ``space.network_size``.
        seed: fixes everything.
        store: SQLite file for the trials; an existing one is continued.
        threads: torch threads.
        on_epoch: called after every epoch with the epochs that are over, all epochs, and the figures.
        command: settings that the command line resumes from.
        region: search this part of the supernet's space alone; None: all of it.
        start: weights that the supernet begins with; None: drawn from the seed.

    Attributes:
        state: of the search, when it has begun.
        derived: the architecture at the end, when it is reached.

    Raises:
        GraphnasError: parts that do not fit, or a store that holds another search.
    """

    def __init__(
        self,
        space: Space | str,
        task: Task | str,
        estimator: Estimator | None = None,
        method: Method | str = "darts1",
        *,
        epochs: int | None = None,
        batch: int | None = None,
        steps: int | None = None,
        score_every: int | None = None,
        memory: str = "store",
        size: Mapping[str, Any] | None = None,
        seed: int = 0,
        store: str | Path | None = None,
        threads: int = 1,
        on_epoch: Callable[[int, int, Mapping[str, Any]], None] | None = None,
        command: Mapping[str, Any] | None = None,
        region: Region | None = None,
        start: State | None = None,
    ) -> None:
        self.space: Space = registry.get_space(space) if isinstance(space, str) else space
        self.task: Task = registry.get_task(task) if isinstance(task, str) else task
        self.method = get(method) if isinstance(method, str) else method
        self.estimator = estimator
        self.epochs = self.method.epochs if epochs is None else epochs
        self.batch = self.method.batch if batch is None else batch
        for name, value in (
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("steps", steps),
            ("score_every", score_every),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise GraphnasError(f"{name} of a gradient-based search must be a whole number above 0, not {value!r}")
        if estimator is not None and estimator.space.name != self.space.name:
            raise GraphnasError(
                f"estimator {estimator.name!r} scores architectures of space {estimator.space.name!r}, "
                f"not of {self.space.name!r}"
            )
        self.steps, self.memory, self.size, self.seed, self.threads = steps, memory, dict(size or {}), seed, threads
        cheap = estimator is not None and estimator.cheap
        self.score_every = score_every or (1 if cheap else None)
        self.store_path = None if store is None else Path(store)
        self.on_epoch, self.command = on_epoch, dict(command or {})
        self.state: SearchState | None = None
        self.derived: Architecture | None = None
        with isolated(0, threads, torch.device("cpu")):
            relaxation = self.method.relaxation
            self.supernet = Supernet(
                self.space,
                self.task.signature,
                seed,
                memory=memory,
                part=relaxation.channels,
                node_norm=relaxation.node_norm,
                **self.size,
            )
        drops = any(g.keep and any(len(rows) > g.keep for rows in g.nodes) for g in self.supernet.groups)
        if drops and isinstance(self.method.discretiser, ArgmaxPerRow):
            raise GraphnasError(
                f"method {self.method.name!r} keeps every edge, but sums of space {self.space.name!r} have "
                f"{self.supernet.groups[0].keep} inputs; search {self.supernet.space.name}"
            )
        self.region = region
        whole = region or Region.whole(self.supernet.space)
        self.rank, self.processes = join_processes()
        self.streams = streams_of(self.task, self.batch, self.method.split, seed)
        if self.processes > 1:
            self.streams = share_of_each_batch(self.streams, self.rank, self.processes)
            join_norms(self.supernet)  # before the problem looks where its tensors stand
        self.problem = RegionProblem(self.supernet, self.task, whole, start)

    @property
    def checkpoint(self) -> Path | None:
        """The file of the search's state."""
        return None if self.store_path is None else self.store_path.with_name(self.store_path.name + ".checkpoint.npz")

    def settings(self) -> dict[str, Any]:
        """What determines the search, as JSON values."""
        return {
            "space": self.space.name,
            "estimator": None if self.estimator is None else self.estimator.describe(),
            "strategy": self.method.name,
            "options": {
                "task": self.task.describe(),
                "epochs": self.epochs,
                "batch": self.batch,
                "steps": self.steps,
                "score_every": self.score_every,
                "memory": self.memory,
                "size": self.size,
                "threads": self.threads,
            },
            "seed": self.seed,
            **({} if self.region is None else {"region": [list(allowed) for allowed in self.region.options]}),
        }

    def run(self) -> Result:
        """Search to the end; the trials are the distinct architectures that were derived and scored, in order.

        A KeyboardInterrupt leaves a store behind that can be continued, and passes on.
        """
        store = None if self.store_path is None or self.rank else Store(self.store_path)
        try:
            with isolated(0, self.threads, torch.device("cpu")):
                return _Run(self, store).all()
        finally:
            if store is not None:
                store.close()

    def weights(self, state: SearchState) -> Tensors:
        """The mixing weights without noise, ``[R, K]`` for each group."""
        groups = tuple(g.masked(state.masks[g.name]) for g in self.supernet.groups)
        mix = self.method.relaxation.expected(groups, state.alpha, state.step / (self.epochs * self.length))
        return {name: w.detach() for name, w in mix.weights.items()}

    @property
    def length(self) -> int:
        """Weight steps of an epoch."""
        return self.streams.length if self.steps is None else self.steps


class _Run:
    def __init__(self, search: GradientSearch, store: Store | None) -> None:
        self.search, self.store = search, store
        self.start = self.saved = time.perf_counter()
        self.result = Result()
        self.known: dict[str, Trial] = {}
        self.history: list[dict[str, Any]] = []
        self.before = 0.0
        if store is not None:
            self._open(store)
        if search.checkpoint is not None and search.checkpoint.exists():
            search.state = state = SearchState.load(search.checkpoint)
            if search.processes > 1:
                own = own_share(state.weights.buffers, search.rank, search.processes)
                search.state = replace(state, weights=state.weights._replace(buffers=own))
            self.history = [entry for entry in self.history if entry["epoch"] <= len(search.state.history)]

    def _open(self, store: Store) -> None:
        search = self.search
        before, now = store.get("settings"), search.settings()
        if before is None:
            store.set("settings", now)
            store.set("command", search.command)
            groups = {g.name: {"rows": g.rows, "options": g.options} for g in search.supernet.groups}
            store.set("groups", groups)
        elif before != _as_json(now):
            name = next(name for name in now if _as_json(now)[name] != before.get(name))
            raise GraphnasError(
                f"store {store.path} holds another search ({name}: {before.get(name)} instead of {now[name]}); "
                "choose another store or the same settings"
            )
        store.set("budget", {"trials": None, "seconds": None, "cost": None})
        self.before = float(store.get("seconds", 0.0))
        self.history = store.get("weights", [])
        for trial in store.trials(search.space):
            self._note(trial)

    def all(self) -> Result:
        search, result = self.search, self.result
        try:
            found = loop.search(
                search.problem,
                search.method,
                search.streams,
                budget=loop.Budget(search.epochs, search.steps),
                seed=search.seed,
                state=search.state,
                monitors=(ParameterFree(), RowEntropy(), AlphaNorm()),
                after_step=self._after_step,
                average=average if search.processes > 1 else None,
            )
            search.state = found.state
            self._save(found.state)
            trial = self._derive(found.derived)
            search.derived = trial
            result.stopped = found.state.stopped
        finally:
            result.seconds = self.before + time.perf_counter() - self.start
            if self.store is not None:
                self.store.set("seconds", result.seconds)
                self.store.set("stopped", result.stopped or "interrupted")
        return result

    # -- after a step -------------------------------------------------------------------------------

    def _after_step(self, state: SearchState) -> None:
        self.search.state = state
        epoch, rest = divmod(state.step, self.search.length)
        if rest == 0 and state.history and state.history[-1]["epoch"] == epoch:
            self._end_epoch(state, epoch)
        # Some streams remember whole epochs only; and what processes carry from batch to batch is joined at a step that they agree on.
        whole = isinstance(self.search.streams, Follows) or self._carries(state)
        if rest == 0 or (not whole and time.perf_counter() - self.saved > CHECKPOINT_SECONDS):
            self._save(state)

    def _end_epoch(self, state: SearchState, epoch: int) -> None:
        search = self.search
        weights = search.weights(state)
        self.history.append({"epoch": epoch, "weights": {name: w.tolist() for name, w in weights.items()}})
        if self.store is not None:
            self.store.set("weights", self.history)
        figures = {k: v for k, v in state.history[-1].items() if k != "alpha"}
        if search.on_epoch is not None and search.rank == 0:
            search.on_epoch(epoch, search.epochs, figures)
        if search.score_every is not None and epoch % search.score_every == 0 and epoch < search.epochs:
            discretiser = search.method.discretiser
            if discretiser.needs_tools:
                discretiser = TopKInputs()  # looking at the supernet is for the end
            groups = tuple(g.masked(state.masks[g.name]) for g in search.supernet.groups)
            mix = search.method.relaxation.expected(groups, state.alpha, state.step / (search.epochs * search.length))
            self._derive(discretiser(groups, mix), last=False)

    def _carries(self, state: SearchState) -> bool:
        return self.search.processes > 1 and any(name.startswith(CARRIED) for name in state.weights.buffers)

    def _save(self, state: SearchState) -> None:
        if self.search.checkpoint is not None and self._carries(state):
            whole = joined(state.weights.buffers, self.search.rank)
            state = replace(state, weights=state.weights._replace(buffers=whole))
        if self.search.checkpoint is not None and self.search.rank == 0:
            state.save(self.search.checkpoint)
            self.saved = time.perf_counter()

    # -- trials -------------------------------------------------------------------------------------

    def _derive(self, matrices: Tensors, last: bool = True) -> Architecture | None:
        search = self.search
        try:
            architecture = search.supernet.decode(matrices)
        except GraphnasError:
            if last:
                raise
            return None
        if search.estimator is not None and search.rank == 0:
            key = search.space.key(architecture)
            trial = self.known.get(key)
            if trial is None:
                trial = self._score(search.estimator, architecture, key)
                if self.store is not None:
                    self.store.write(trial, search.space.encode(architecture))
                self._note(trial)
            if self.store is not None and last:
                self.store.set("derived", trial.number)
        return architecture

    def _score(self, estimator: Estimator, architecture: Architecture, key: str) -> Trial:
        number = len(self.result.trials)
        job = Job(number, architecture, trial_seed(self.search.seed, number))
        return trial_of(evaluate(estimator, job), job, key)

    def _note(self, trial: Trial) -> None:
        result = self.result
        result.trials.append(trial)
        self.known[trial.key] = trial
        if math.isfinite(trial.score) and (result.best is None or trial.score > result.best.score):
            result.best = trial


def _as_json(value: Any) -> Any:
    """A value as JSON gives it back."""
    import json

    return json.loads(json.dumps(value))
