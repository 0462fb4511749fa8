"""GCN, GAT, GraphSAGE and GIN with their usual hyper-parameters: what a searched GNN is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from graphnas.architecture import INPUT, Architecture, node
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.training import TrainingEstimator
from graphnas.space import Space
from graphnas.tasks.base import Signature, Task
from spaces.skeletons import Builder

BASELINES = ("gcn", "gat", "sage", "gin")
WIDTHS = (16, 32, 64, 128, 256)
HEADS = (1, 2, 4, 8)
LAYERS = (2, 3)
DROPOUTS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8)
LEARNING_RATES = (0.005, 0.1)
"""The learning rate is drawn log-uniformly between these."""
WEIGHT_DECAYS = (0.0, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3)


@lru_cache(maxsize=8)
def baseline(kind: str) -> Space:
    """The space with one architecture, "gcn", "gat", "sage" or "gin"; sizes are width, heads, layers and dropout.

    Layers of ``width`` features with ReLU (GAT: ELU), dropout before each, and a last one as wide as the
    task's outputs. GAT divides the width among its heads and has one head at the end, as for citation graphs in the paper; the
    perceptrons of GIN have a hidden layer of ``width``.

    Sources: Kipf & Welling, ICLR 2017; Veličković et al., ICLR 2018; Hamilton et al., NeurIPS 2017 (mean aggregation); Xu
    et al., ICLR 2019.

    Raises:
        GraphnasError: another name.
    """
    if kind not in BASELINES:
        raise unknown("baseline", kind, BASELINES)
    return Space(
        f"{kind}_baseline",
        [node("input"), node(kind, (0,)), node("output", (1,))],
        network=partial(_network, kind),
        size={"width": 64, "heads": 8, "layers": 2, "dropout": 0.5},
        accepts=("node",),
        description=f"{kind} with the usual hyper-parameters",
    )


def _network(
    kind: str, architecture: Architecture, signature: Signature, *, width: int, heads: int, layers: int, dropout: float
) -> Architecture:
    b = Builder()
    raw = b.add(INPUT, name="x", shape=(signature.nodes, *signature.input))
    edges = b.add(INPUT, name="edge_index", shape=(2, signature.edges))
    h = b.add("feature_dropout", [raw], p=dropout, name="input.dropout")
    for number in range(1, layers + 1):
        last = number == layers
        several = {"gat": {"heads": 1 if last else heads}, "gin": {"hidden": width}}.get(kind, {})
        features = signature.outputs if last else width
        h = b.add(kind, [h, edges], features=features, name=f"layer{number}.conv", **several)
        if not last:
            h = b.add("elu" if kind == "gat" else "relu", [h], name=f"layer{number}.activation")
            h = b.add("dropout", [h], p=dropout, name=f"layer{number}.dropout")
    return b.finish(h)


@dataclass(frozen=True)
class Tuned:
    """The best of the hyper-parameters that were tried.

    Attributes:
        estimator: trains with them.
        score: larger is better, on the validation split.
        scores: of all that were tried, in order; NaN where training diverged.
    """

    estimator: TrainingEstimator
    score: float
    scores: tuple[float, ...]

    @property
    def architecture(self) -> Architecture:
        """The only architecture of the space."""
        return self.estimator.space.decode(())


def draw(
    kind: str,
    task: Task,
    rng: np.random.Generator,
    epochs: int,
    patience: int | None,
    recipe: Recipe | None = None,
) -> TrainingEstimator:
    """Random hyper-parameters: width, heads (GAT), layers, dropout, learning rate and weight decay.

    All else in the recipe is that of the kind of task, or of ``recipe``.
    """

    size = {"width": _one(rng, WIDTHS), "heads": _one(rng, HEADS), "layers": _one(rng, LAYERS)}
    dropout, recipe = draw_recipe(rng, recipe or Recipe.for_kind(task.signature.kind))
    size, recipe = {**size, "dropout": dropout}, replace(recipe, patience=patience)
    return TrainingEstimator(baseline(kind), task, Fidelity(epochs, size=size), recipe)


def draw_recipe(rng: np.random.Generator, recipe: Recipe) -> tuple[float, Recipe]:
    """A random dropout, and the recipe with random learning rate and weight decay."""
    dropout = _one(rng, DROPOUTS)
    low, high = np.log(LEARNING_RATES)
    rate = float(np.exp(low + (high - low) * rng.random()))
    return dropout, replace(recipe, learning_rate=rate, weight_decay=_one(rng, WEIGHT_DECAYS))


def _one(rng: np.random.Generator, options: tuple[float, ...]) -> float:
    return options[int(rng.random() * len(options))]


def tune(
    kind: str,
    task: Task,
    trainings: int,
    rng: np.random.Generator,
    epochs: int = 200,
    patience: int | None = None,
    recipe: Recipe | None = None,
) -> Tuned:
    """Random search over the hyper-parameters of a baseline; the best by validation.

    Args:
        kind: "gcn", "gat", "sage" or "gin".
        task: node classification.
        trainings: how many hyper-parameters are tried.
        rng: draws them, and the seeds of the trainings.
        epochs: of each training, at most.
        patience: see ``Recipe``.
        recipe: what is not drawn; by default that of the kind of task.

    Raises:
        GraphnasError: another kind, no trainings, or every training diverged.
    """
    if trainings < 1:
        raise GraphnasError(f"tuning needs at least 1 training, not {trainings}")
    tried = [draw(kind, task, rng, epochs, patience, recipe) for _ in range(trainings)]
    scores = [e.evaluate(e.space.decode(()), seed=int(rng.integers(2**31))).score for e in tried]
    if not np.isfinite(scores).any():
        raise GraphnasError(f"all {trainings} trainings of {kind} on {task.name} diverged")
    best = int(np.nanargmax(scores))
    return Tuned(tried[best], scores[best], tuple(scores))
