"""The development of a routability predictor: search by proxy training, then full training of the best (Chang et al., ICCAD 2021)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from eda.dataset import Dataset
from eda.metrics import Interval, over_designs
from eda.model import RoutabilityModel, build, space_of
from eda.tasks import HotspotTask, NetsTask, RoutabilityTask
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import isolated, train
from graphnas.estimators.training import TrainingEstimator
from graphnas.search import Search

_TASKS: dict[str, type[NetsTask] | type[HotspotTask]] = {"nets": NetsTask, "hotspots": HotspotTask}
CHANNELS = 16


@dataclass(frozen=True)
class Budget:
    """How much a development trains.

    Args:
        architectures: trained in the search.
        epochs, repeats, channels: of proxy training: short, several seeds averaged because metrics are noisy, narrow.
        finalists: the best of the search that are trained in full.
        full_epochs, full_repeats, full_channels: of that training.
    """

    architectures: int = 60
    epochs: int = 8
    repeats: int = 2
    channels: int = 8
    finalists: int = 3
    full_epochs: int = 40
    full_repeats: int = 3
    full_channels: int = CHANNELS


def task_of(name: str, dataset: Dataset, **settings: Any) -> RoutabilityTask:
    """The task "nets" or "hotspots" on a data set.

    Raises:
        GraphnasError: another name.
    """
    if name not in _TASKS:
        raise unknown("routability task", name, _TASKS)
    return _TASKS[name](dataset, **settings)


def develop(
    name: str,
    dataset: Dataset,
    *,
    strategy: str = "guide_dag",
    options: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    batch: int = 5,
    store: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[RoutabilityModel, list[dict[str, Any]]]:
    """Search, train the finalists in full, and return the one that validates best with all trials.

    The test part is not read.

    Args:
        name: "nets" or "hotspots".
        dataset: with parts train and validation.
        strategy, options, batch: of the search.
        budget: how much is trained.
        seed: of everything.
        store: file in which the search is kept, so that it can be resumed; None keeps it in memory.
        progress: called with a line now and then.
    """
    budget = budget or Budget()
    say = progress or (lambda line: None)
    task, space = task_of(name, dataset), space_of(name)
    begin = time.monotonic()
    estimator = TrainingEstimator(
        space, task, fidelity=Fidelity(budget.epochs, size={"channels": budget.channels}), repeats=budget.repeats
    )
    search = Search(
        space,
        estimator,
        strategy,
        options=options or {},
        budget=budget.architectures,
        seed=seed,
        batch=batch,
        store=store,
    )
    trials = [t for t in search.run().trials if t.status == "complete"]
    if not trials:
        raise GraphnasError("no architecture of the search could be trained; see the store for what failed")
    say(
        f"search: {len(trials)} architectures in {time.monotonic() - begin:.0f} s, best {task.metric.name} {max(t.score for t in trials):.4f}"
    )
    trials.sort(key=lambda t: -t.score)
    finalists = [(fit(name, task, t.architecture, budget, seed), t) for t in trials[: budget.finalists]]
    for model, trial in finalists:
        say(f"finalist {trial.number}: proxy {trial.score:.4f}, full {_validation(model, task):.4f}")
    best = max(finalists, key=lambda pair: _validation(pair[0], task))[0]
    return best, [
        {"number": t.number, "score": t.score, "decisions": list(space.encode(t.architecture))} for t in trials
    ]


def _validation(model: RoutabilityModel, task: RoutabilityTask) -> float:
    return evaluate(model, task, "validation")[task.metric.name]


def fit(name: str, task: RoutabilityTask, architecture: Architecture, budget: Budget, seed: int) -> RoutabilityModel:
    """Train an architecture in full, ``full_repeats`` networks; each keeps the epoch that validates best."""
    recipe = Recipe(**{**_defaults(), **dict(task.recipe)})
    networks = []
    for number in range(budget.full_repeats):
        first, second = np.random.SeedSequence([seed, number, 7]).generate_state(2).tolist()
        with isolated(first, 1, torch.device("cpu")):
            network = build(name, architecture, task.preparation.channels, budget.full_channels)
        generator = torch.Generator().manual_seed(second)
        train(network, task, recipe, Fidelity(budget.full_epochs), generator)
        networks.append(network)
    return RoutabilityModel(name, architecture, budget.full_channels, task.preparation, networks)


def _defaults() -> dict[str, Any]:
    return Recipe().describe()


def evaluate(model: RoutabilityModel, task: RoutabilityTask, split: str) -> dict[str, float]:
    """The metrics of a model on a part of the task's data."""
    samples = task.samples(split)
    return task.measure([model.outputs(s.features, s.recipe.layers) for s in samples], samples)


def metrics_with_intervals(
    outputs: Sequence[np.ndarray], task: RoutabilityTask, split: str, seed: int = 0
) -> dict[str, Interval]:
    """Every metric of outputs on a part, with its 95 % interval over designs."""
    samples = task.samples(split)

    def measure(rows: np.ndarray) -> dict[str, float]:
        return task.measure([outputs[i] for i in rows], [samples[i] for i in rows])

    return over_designs(measure, [s.design for s in samples], np.random.default_rng(seed))
