"""The development of a routability predictor: search by proxy training, then full training of the best (Chang et al., ICCAD 2021)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from eda.dataset import Dataset
from eda.folds import FoldTraining, folds
from eda.metrics import Interval, over_designs
from eda.model import RoutabilityModel, build, size_of, space_of
from eda.tasks import HotspotTask, NetsTask, RoutabilityTask
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.base import Estimator
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import isolated, train
from graphnas.estimators.training import TrainingEstimator
from graphnas.search import Search
from graphnas.strategies.base import Trial

_TASKS: dict[str, type[NetsTask] | type[HotspotTask]] = {"nets": NetsTask, "hotspots": HotspotTask}
CHANNELS = 24


@dataclass(frozen=True)
class Budget:
    """How much a development trains.

    Args:
        architectures: trained in the search.
        epochs, channels: of proxy training: short and narrow.
        folds: proxy trainings of an architecture, each with other designs held out, because metrics are noisy.
        finalists: the best of the search that are evaluated again.
        again: how often, from other seeds; the best mean is trained in full.
        full_epochs, full_repeats, full_channels: of that training.
    """

    architectures: int = 60
    epochs: int = 4
    channels: int = 8
    folds: int = 3
    finalists: int = 5
    again: int = 2
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


def proxy(name: str, dataset: Dataset, budget: Budget, seed: int = 0, graph: bool = False) -> FoldTraining:
    """The estimator of a search: short trainings of narrow networks, averaged over folds; the test part is not read.

    With ``graph``, of the space with messages through nets.
    """
    space, size = space_of(name, graph), size_of(name, budget.channels)
    tasks = [task_of(name, each, graph=graph) for each in folds(dataset, budget.folds, seed)]
    return FoldTraining([TrainingEstimator(space, task, fidelity=Fidelity(budget.epochs, size=size)) for task in tasks])


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
    graph: bool | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[RoutabilityModel, list[dict[str, Any]]]:
    """Search, evaluate the finalists again, train the best in full, and return it with all trials.

    The test part is not read.

    Args:
        name: "nets" or "hotspots".
        dataset: with parts train and validation.
        strategy, options, batch: of the search.
        budget: how much is trained.
        seed: of everything.
        store: file in which the search is kept, so that it can be resumed; None keeps it in memory.
        graph: search the space with messages through nets; None does so where all samples carry their nets.
        progress: called with a line now and then.
    """
    budget = budget or Budget()
    say = progress or (lambda line: None)
    graph = dataset.graphs if graph is None else graph
    space, estimator = space_of(name, graph), proxy(name, dataset, budget, graph=graph)
    begin = time.monotonic()
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
    spent = time.monotonic() - begin
    say(f"search: {len(trials)} architectures in {spent:.0f} s, best {max(t.score for t in trials):.4f}")
    architecture, mean = chosen(trials, estimator, budget, seed)
    if budget.again:
        say(f"of the best {budget.finalists}, evaluated {budget.again} more times, the best has a mean of {mean:.4f}")
    model = fit(name, task_of(name, dataset, graph=graph), architecture, budget, seed)
    trials.sort(key=lambda t: -t.score)
    return model, [
        {"number": t.number, "score": t.score, "decisions": list(space.encode(t.architecture))} for t in trials
    ]


def chosen(trials: Sequence[Trial], estimator: Estimator, budget: Budget, seed: int) -> tuple[Architecture, float]:
    """Of the best trials the one with the best mean over further evaluations, which no search has selected by.

    Args:
        trials: complete ones.
        estimator: of the search.
        budget: ``finalists`` and ``again``; with ``again`` 0 the best trial is taken as it is.
        seed: of the further evaluations.
    """
    best = sorted(trials, key=lambda t: -t.score)[: budget.finalists]
    if not budget.again or len(best) == 1:
        return best[0].architecture, best[0].score
    seeds = np.random.SeedSequence([seed, 13]).generate_state(budget.again).tolist()
    means = [float(np.mean([estimator.evaluate(t.architecture, seed=s).score for s in seeds])) for t in best]
    place = int(np.argmax(np.nan_to_num(means, nan=-np.inf)))
    return best[place].architecture, means[place]


def fit(name: str, task: RoutabilityTask, architecture: Architecture, budget: Budget, seed: int) -> RoutabilityModel:
    """Train an architecture in full, ``full_repeats`` networks; each keeps the epoch that validates best.

    The architecture is one of the space with messages through nets if the task gives networks the graph.
    """
    recipe = Recipe(**{**_defaults(), **dict(task.recipe)})
    networks = []
    for number in range(budget.full_repeats):
        first, second = np.random.SeedSequence([seed, number, 7]).generate_state(2).tolist()
        with isolated(first, 1, torch.device("cpu")):
            network = build(name, architecture, task.preparation.channels, budget.full_channels, task.graph)
        generator = torch.Generator().manual_seed(second)
        train(network, task, recipe, Fidelity(budget.full_epochs), generator)
        networks.append(network)
    return RoutabilityModel(name, architecture, budget.full_channels, task.preparation, networks, graph=task.graph)


def _defaults() -> dict[str, Any]:
    return Recipe().describe()


def evaluate(model: RoutabilityModel, task: RoutabilityTask, split: str) -> dict[str, float]:
    """The metrics of a model on a part of the task's data."""
    samples = task.samples(split)
    return task.measure([model.outputs(s.features, s.recipe.layers, s.graph) for s in samples], samples)


def metrics_with_intervals(
    outputs: Sequence[np.ndarray], task: RoutabilityTask, split: str, seed: int = 0
) -> dict[str, Interval]:
    """Every metric of outputs on a part, with its 95 % interval over designs."""
    samples = task.samples(split)

    def measure(rows: np.ndarray) -> dict[str, float]:
        return task.measure([outputs[i] for i in rows], [samples[i] for i in rows])

    return over_designs(measure, [s.design for s in samples], np.random.default_rng(seed))


def ceiling(task: RoutabilityTask, split: str) -> list[np.ndarray]:
    """What the labels of the highest other effort say of these: labels agree no better with themselves.

    For hotspots the other map is smoothed by a Gaussian of one tile, as a shorted node moves by a tile easily.
    """
    other = max(e for e in task.dataset.efforts if e != task.effort)
    samples = task.samples(split)
    if isinstance(task, NetsTask):
        return [np.array([np.sqrt(s.labels[other].rate)]) for s in samples]
    from scipy.ndimage import gaussian_filter

    return [gaussian_filter(s.labels[other].hotspots.astype(float), 1.0)[None] for s in samples]
