"""Training a few epochs from inherited weights as an Estimator: the parameter sharing of AGNN and of GraphNAS."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Evaluation
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import History, isolated, train
from graphnas.estimators.sharing import GraphLayer, Sharing, Verdict, graph_layers
from graphnas.estimators.training import TrainingEstimator
from graphnas.estimators.weight_store import Ancestor, WeightStore
from graphnas.space import Space
from graphnas.tasks.base import Task

FEW = 20
"""Epochs of an offspring by default: a tenth of training a node classifier from scratch."""


class Inheritance(NamedTuple):
    """A network with what it inherited.

    Attributes:
        network: the module; inherited tensors are copies, all others are fresh.
        layers: its graph layers by name.
        verdicts: what was inherited of each graph layer, and why.
        tensors: full names of the tensors that were copied.
    """

    network: nn.Module
    layers: dict[str, GraphLayer]
    verdicts: dict[str, Verdict]
    tensors: tuple[str, ...]


class InheritedTraining(TrainingEstimator):
    """Starts from the weights of the best architecture so far where ``sharing`` allows it, and trains a few epochs.

    With ``capacity`` 1 there is one ancestor: the architecture with the best score that this estimator has given (of equal
    ones the first), which in a search by AGNN is the parent of every offspring. With more, each layer inherits from the best
    ancestor from which it inherits anything. What is not inherited is drawn anew, as in training from scratch. The first
    architecture of all has no ancestor and is trained for ``first``.

    An evaluation thus depends on those before it, unlike those of other estimators. So it runs in one process: sending
    the estimator to workers is refused. A search that is stored needs ``weights``, a file of its own: when the search is
    resumed it finds its ancestors there, and goes on as if it had not been interrupted. Delete the file with the store.

    Beside the metrics of ``TrainingEstimator`` there are ``inherited_layers`` and ``inherited_params``. The cost is the number of
    epochs. ``test`` and ``scratch`` train without any inheritance.

    Args:
        space: of AGNN layers.
        task: what they are trained for.
        fidelity: of an offspring; by default 20 epochs.
        recipe: see ``TrainingEstimator``.
        sharing: what is inherited.
        first: fidelity without any ancestor; by default like all others.
        final: fidelity of ``scratch``; by default that of the kind of task.
        capacity: how many ancestors there are.
        weights: file that keeps their weights.
        threads: torch threads of one training.
        device: where to train.

    Raises:
        GraphnasError: the space has no AGNN layers, the file is not one of this estimator, or as ``TrainingEstimator``.
    """

    name = "inherited_training"
    batch = 1

    def __init__(
        self,
        space: Space,
        task: Task,
        fidelity: Fidelity | None = None,
        recipe: Recipe | None = None,
        *,
        sharing: Sharing | None = None,
        first: Fidelity | None = None,
        final: Fidelity | None = None,
        capacity: int = 1,
        weights: str | Path | None = None,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        super().__init__(space, task, fidelity or Fidelity(FEW), recipe, threads=threads, device=device)
        if not any(n.op == "agnn" for n in space.template):
            raise GraphnasError(
                f"space {space.name!r} has no AGNN layers, so nothing can be inherited; use TrainingEstimator"
            )
        self.sharing = sharing or Sharing()
        self.first = first or self.fidelity
        self.scratch = TrainingEstimator(
            space, task, final or Fidelity.for_kind(task.signature.kind), self.recipe, threads=threads, device=device
        )
        self.capacity = capacity
        settings = json.dumps(self.describe(), sort_keys=True)
        self.store = WeightStore(capacity, None if weights is None else Path(weights), settings)

    def at(self, fidelity: Fidelity) -> InheritedTraining:
        """The same estimator at another fidelity, without ancestors."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.store = WeightStore(self.capacity)
        other._set_fidelity(fidelity)
        return other

    def __getstate__(self) -> dict[str, Any]:
        raise GraphnasError(
            "inherited weights stay in one process; search with workers=1, no executor and no time limit"
        )

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """Inherit, train a few epochs, and keep the weights if they are among the best."""
        made, history = self._train(architecture, seed)
        epochs = float(len(history.epochs))
        best = history.best_epoch
        params = {name: p.numel() for name, p in made.network.named_parameters()}
        counted = {
            "epochs": epochs,
            "params": float(sum(params.values())),
            "inherited_layers": float(sum(v.shared for v in made.verdicts.values())),
            "inherited_params": float(sum(params.get(name, 0) for name in made.tensors)),
        }
        if best is None or history.status == "diverged":
            return Evaluation(math.nan, counted, self.fidelity.data * epochs)
        selects = self.recipe.metric(self.task)
        score = selects.score(best.validation[selects.name])
        layers = made.layers
        own = {n: t for n, t in made.network.state_dict().items() if any(n.startswith(f"{name}.") for name in layers)}
        self.store.add(Ancestor(self.space.key(architecture), seed, score, layers, own))
        measured = {f"validation_{name}": value for name, value in best.validation.items()}
        more = {"train_loss": best.train_loss, "best_epoch": float(best.number)}
        return Evaluation(score, {**measured, **more, **counted}, self.fidelity.data * epochs)

    def inherit(self, architecture: Architecture, *, seed: int) -> Inheritance:
        """The network of an architecture before its training, with the weights that it inherits now.

        Args:
            architecture: a member of the space.
            seed: of the trial; fresh weights are those of ``TrainingEstimator`` with this seed.
        """
        first = int(np.random.SeedSequence([seed, 0]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        with isolated(first, self.threads, torch.device(self.device)):
            network = self.network(architecture)
        whole = self.space.network(architecture, self.task.signature, **self.fidelity.size)
        state = network.state_dict()
        layers = graph_layers(whole, {name: tuple(value.shape) for name, value in state.items()})
        verdicts = {name: Verdict((), "there is no ancestor yet") for name in layers}
        tensors: list[str] = []
        ancestors = self.store.ancestors(self.space.key(architecture), seed)
        for name, layer in layers.items():
            for ancestor in ancestors:
                verdict = self.sharing.judge(layer, ancestor.layers.get(name))
                if verdict.shared or ancestor is ancestors[0]:
                    verdicts[name] = verdict
                if verdict.shared:
                    for tensor in verdict.tensors:
                        state[f"{name}.{tensor}"].copy_(ancestor.tensors[f"{name}.{tensor}"])
                        tensors.append(f"{name}.{tensor}")
                    break
        return Inheritance(network, layers, verdicts, tuple(tensors))

    def train(self, architecture: Architecture, *, seed: int, repeat: int = 0) -> tuple[nn.Module, History]:
        """The network trained from what it inherits now (which ``evaluate`` changes), and how training went."""
        if repeat:
            raise GraphnasError("inherited training has no repeats; use scratch.train")
        made, history = self._train(architecture, seed)
        return made.network, history

    def _train(self, architecture: Architecture, seed: int) -> tuple[Inheritance, History]:
        made = self.inherit(architecture, seed=seed)
        orphan = not self.store.ancestors(self.space.key(architecture), seed)
        fidelity = self.first if orphan else self.fidelity
        second = int(np.random.SeedSequence([seed, 0]).generate_state(2, np.uint64)[1] >> np.uint64(1))
        generator = torch.Generator().manual_seed(second)
        return made, train(made.network, self.task, self.recipe, fidelity, generator, self.threads)

    def test(self, architecture: Architecture, *, seed: int = 0) -> dict[str, float]:
        """Train from scratch at the final fidelity and read the test split."""
        return self.scratch.test(architecture, seed=seed)

    def describe(self) -> dict[str, Any]:
        """Settings that reproduce the estimates in their order, as JSON values."""
        return {
            **super().describe(),
            "sharing": asdict(self.sharing),
            "first": self.first.describe(),
            "final": self.scratch.fidelity.describe(),
            "capacity": self.capacity,
        }
