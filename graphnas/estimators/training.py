"""Training from scratch as an Estimator."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import History, isolated, train
from graphnas.space import Space
from graphnas.tasks.base import Task

__all__ = ["Fidelity", "History", "Recipe", "TrainingEstimator", "train"]


class TrainingEstimator(Estimator):
    """Trains the network of an architecture and returns the validation metric of its best epoch (or minus the loss; see
    ``Recipe.select_by``).

    The same architecture and seed give the same score, bit for bit, on one machine: initialisation, order of batches,
    augmentation and dropout follow the seed, the number of threads is fixed, and torch's global state is left as it
    was. That state belongs to the process: evaluate in parallel in processes, not in threads. The test split is read
    by ``test`` alone.

    The metrics of an evaluation are ``validation_*`` (all metrics of the task), ``train_loss`` (both of the best
    epoch), ``epochs`` (run), ``best_epoch`` and ``params``; with several repeats they are means, and the standard
    deviation of the selection metric over the repeats is added as ``*_std``. The cost is the number of passes over the
    whole training data: epochs run times the share of the data, summed over the repeats. A loss or a metric that is
    not finite gives the score NaN.

    Args:
        space: whose ``network`` builds the networks.
        task: what they are trained for.
        fidelity: how long, on how much data, how large; by default that of the kind of task.
        recipe: how; by default that of the kind of task, with what the space recommends for its networks and then the
            task for its data.
        repeats: trainings from different seeds whose scores are averaged.
        threads: torch threads of one training.
        device: where to train. On a GPU, results are only as reproducible as its kernels.
        build: makes a module of a whole network, drawing its initial weights from torch's default generator;
            by default ``graphnas.compile.compile``. It must be a module-level function if the estimator is to be
            pickled.

    Raises:
        GraphnasError: the space builds no networks for this kind of task, or has no such size; or the recipe does not
            fit the task.
    """

    name = "training"
    batch = 8
    cheap = False

    def __init__(
        self,
        space: Space,
        task: Task,
        fidelity: Fidelity | None = None,
        recipe: Recipe | None = None,
        *,
        repeats: int = 1,
        threads: int = 1,
        device: str = "cpu",
        build: Callable[[Architecture], nn.Module] | None = None,
    ) -> None:
        kind = task.signature.kind
        if kind not in space.accepts:
            builds = (
                f"builds networks for {' or '.join(space.accepts)} tasks" if space.accepts else "builds no networks"
            )
            raise GraphnasError(f"space {space.name!r} {builds}, but the task {task.name!r} is of kind {kind!r}")
        space.check_inputs(task.signature)
        if repeats < 1 or threads < 1:
            raise GraphnasError(f"repeats ({repeats}) and threads ({threads}) must be at least 1")
        self.space = space
        self.task = task
        self.recipe = recipe or replace(Recipe.for_kind(kind), **{**space.recipe, **task.recipe})
        selects = self.recipe.metric(task)
        self.metric = f"validation {selects.name}"
        self.maximise = selects.maximise
        self.repeats = repeats
        self.threads = threads
        self.device = device
        self.build = build
        self._set_fidelity(fidelity or Fidelity.for_kind(kind))

    def _set_fidelity(self, fidelity: Fidelity) -> None:
        for size in fidelity.size:
            if size not in self.space.network_size:
                raise unknown(f"size of {self.space.name} networks", size, self.space.network_size)
        self.fidelity = fidelity

    def at(self, fidelity: Fidelity) -> TrainingEstimator:
        """The same estimator at another fidelity."""
        other = copy.copy(self)
        other._set_fidelity(fidelity)
        return other

    def network(self, architecture: Architecture) -> nn.Module:
        """The module of an architecture at this fidelity, initialised from torch's default generator."""
        whole = self.space.network(architecture, self.task.signature, **self.fidelity.size)
        if self.build is not None:
            return self.build(whole).to(self.device)
        from graphnas.compile import compile

        return compile(whole).to(self.device)

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """Train ``repeats`` times and average the validation metric; see the class."""
        runs: list[dict[str, float]] = []
        for number in range(self.repeats):
            network, history = self.train(architecture, seed=seed, repeat=number)
            best = history.best_epoch
            if best is None or history.status == "diverged":
                nan = {"epochs": float(len(history.epochs)), "train_loss": history.epochs[-1].train_loss}
                cost = self.fidelity.data * (len(history.epochs) + sum(run["epochs"] for run in runs))
                return Evaluation(math.nan, nan, cost)
            runs.append(
                {
                    **{f"validation_{name}": value for name, value in best.validation.items()},
                    "train_loss": best.train_loss,
                    "epochs": float(len(history.epochs)),
                    "best_epoch": float(best.number),
                    "params": float(sum(p.numel() for p in network.parameters())),
                }
            )
        selects = self.recipe.metric(self.task)
        metrics = _summary(runs, f"validation_{selects.name}")
        score = selects.score(metrics[f"validation_{selects.name}"])
        return Evaluation(score, metrics, self.fidelity.data * sum(run["epochs"] for run in runs))

    def test(self, architecture: Architecture, *, seed: int = 0) -> dict[str, float]:
        """Train again as ``evaluate`` does with this seed, and read the test split: all its metrics as ``test_*``.

        Empty when the task has no test split; NaN where training diverges.
        """
        if "test" not in getattr(self.task, "splits", ("test",)):
            return {}
        runs = []
        for number in range(self.repeats):
            network, history = self.train(architecture, seed=seed, repeat=number)
            with isolated(0, self.threads, torch.device(self.device)):
                values = self.task.evaluate(network, "test")
            broken = history.status == "diverged"
            runs.append({f"test_{name}": math.nan if broken else value for name, value in values.items()})
        return _summary(runs, f"test_{self.task.metric.name}")

    def train(self, architecture: Architecture, *, seed: int, repeat: int = 0) -> tuple[nn.Module, History]:
        """The trained network, with the weights of its best epoch, and how training went.

        Args:
            architecture: a member of the space.
            seed: that of the trial, to get the network that the trial scored.
            repeat: which of the trainings that ``evaluate`` averages.
        """
        first, second = (
            int(s) for s in np.random.SeedSequence([seed, repeat]).generate_state(2, np.uint64) >> np.uint64(1)
        )
        with isolated(first, self.threads, torch.device(self.device)):
            network = self.network(architecture)
        generator = torch.Generator().manual_seed(second)
        return network, train(network, self.task, self.recipe, self.fidelity, generator, self.threads)

    def describe(self) -> dict[str, Any]:
        """Settings that reproduce the estimates, as JSON values."""
        return {
            **super().describe(),
            "task": self.task.describe(),
            "fidelity": self.fidelity.describe(),
            "recipe": self.recipe.describe(),
            "repeats": self.repeats,
            "threads": self.threads,
            "device": self.device,
            **({} if self.build is None else {"build": getattr(self.build, "__qualname__", repr(self.build))}),
        }


def _summary(runs: list[dict[str, float]], selection: str) -> dict[str, float]:
    """Means over runs; of the selection metric also the standard deviation (n - 1) when there are several."""
    means = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    if len(runs) > 1:
        means[f"{selection}_std"] = float(np.std([run[selection] for run in runs], ddof=1))
    return means
