"""Training a supernet one path at a time: only the operations of the drawn architecture run, and only they learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Tensors
from graphnas.oneshot.optimisers import SGD, Slots
from graphnas.oneshot.paths import SAMPLERS, sampler
from graphnas.oneshot.problem import laid_out
from graphnas.oneshot.schedules import Clock, Cosine
from graphnas.oneshot.supernet import Supernet
from graphnas.oneshot.task_streams import Drawn, streams_of
from graphnas.region import Region
from graphnas.tasks.base import Batch, Task


@dataclass(frozen=True)
class PathTraining:
    """How a supernet is trained by single paths: SGD with Nesterov momentum and a cosine schedule.

    The defaults are those of few-shot NAS on NAS-Bench-201 (Zhao et al., ICML 2021) but for the epochs, which are 600
    there.

    Attributes:
        epochs: passes over the training data, each batch with one path (or the several of one step).
        batch: examples in a batch.
        sampling: "uniform", "fair" or "sandwich"; see ``graphnas.oneshot.paths``.
        learning_rate: at the start.
        final_rate: in the end.
        momentum: of SGD.
        weight_decay: L2 penalty on the weights that a step uses.
        clip: largest norm of the gradient; None does not clip.
    """

    epochs: int = 100
    batch: int = 64
    sampling: str = "uniform"
    learning_rate: float = 0.025
    final_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float | None = 5.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise GraphnasError(
                f"a supernet is trained for at least 1 epoch with batches of at least 1 example, not {self.epochs} and {self.batch}"
            )
        if self.sampling not in SAMPLERS:
            raise GraphnasError(f"paths are sampled by {', '.join(SAMPLERS)}, not by {self.sampling!r}")
        if not (self.learning_rate > 0 <= self.final_rate and self.weight_decay >= 0 and 0 <= self.momentum < 1):
            raise GraphnasError(
                "training a supernet needs learning_rate > 0, final_rate >= 0, weight_decay >= 0 and 0 <= momentum < 1, "
                f"not {self.learning_rate}, {self.final_rate}, {self.weight_decay} and {self.momentum}"
            )
        if self.clip is not None and not self.clip > 0:
            raise GraphnasError(f"the gradient is clipped at {self.clip}; the norm must be positive, or None")

    def rule(self) -> SGD:
        """The optimiser."""
        rate = Cosine(self.learning_rate, self.final_rate)
        return SGD(rate, self.momentum, self.momentum > 0, self.weight_decay, self.clip)

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass
class PathState:
    """Where the training of a supernet is.

    Attributes:
        weights: weights and buffers of the supernet.
        step: steps made.
        slots: what the optimiser remembers.
        losses: mean training loss of every epoch that is over.
        total: sum of the losses of the present epoch.
    """

    weights: Tensors
    step: int = 0
    slots: Slots = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    total: float = 0.0


class PathTrainer:
    """Trains a supernet in place; every draw is a function of the seed and the number of the step, so it can stop and go on.

    Weights that a step does not use stay as they are: neither momentum nor weight decay moves them.

    Args:
        supernet: is changed in place.
        task: its training split is all used for the weights; validation data are not touched.
        training: how.
        seed: of batches, augmentation and paths.
        region: of the space that the supernet holds, from which paths are drawn; by default all of it.

    Raises:
        GraphnasError: a task without batches by number, or a sampler that does not suit the space.
    """

    def __init__(
        self, supernet: Supernet, task: Task, training: PathTraining, seed: int, region: Region | None = None
    ) -> None:
        self.supernet, self.task, self.training, self.seed = supernet, task, training, seed
        self.streams = streams_of(task, training.batch, None, seed)
        self.paths = sampler(training.sampling, supernet, region or Region.whole(supernet.space))
        self.rule = training.rule()
        self.parameters = dict(supernet.named_parameters())

    @property
    def length(self) -> int:
        """Steps of an epoch."""
        return self.streams.length

    def start(self, weights: Tensors) -> PathState:
        """The beginning, from these weights and buffers."""
        return PathState({name: w.detach().clone() for name, w in weights.items()})

    def run(self, state: PathState, after_epoch: Callable[[PathState], None] | None = None) -> PathState:
        """Go on from a state to the end; the supernet and the state then hold the trained weights.

        Args:
            state: is changed in place; ``start`` makes the first.
            after_epoch: called with the state after every epoch.

        Raises:
            GraphnasError: the loss is not finite.
        """
        supernet, length = self.supernet, self.length
        supernet.load_state_dict(state.weights)
        supernet.train()
        while state.step < self.training.epochs * length:
            rate = self.rule.rate(Clock(state.step, length, self.training.epochs).progress)
            loss = self._step(state, rate)
            if not math.isfinite(loss):
                raise GraphnasError(
                    f"the loss of the supernet is {loss} at step {state.step}; choose a smaller learning rate than "
                    f"{self.training.learning_rate:g}"
                )
            state.step += 1
            state.total += loss / length
            if state.step % length == 0:
                state.losses.append(state.total)
                state.total = 0.0
                if after_epoch is not None:
                    state.weights = weights_of(supernet)
                    after_epoch(state)
        state.weights = weights_of(supernet)
        return state

    def _step(self, state: PathState, rate: float) -> float:
        paths = self.paths(np.random.default_rng([self.seed, 11, state.step]))
        given = self.streams.inner(state.step)
        batch, seed = given if isinstance(given, Drawn) else (given, 0)
        parameters = self.parameters
        for p in parameters.values():
            p.grad = None
        total = 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for path in paths:
                loss = self.task.loss(self.output(path, batch), batch)
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach()) / len(paths)
        gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        used = {name: parameters[name].detach() for name in gradients}
        moved, state.slots = self.rule.step(used, gradients, state.slots, rate)
        with torch.no_grad():
            for name, value in moved.items():
                parameters[name].copy_(value)
        return total

    def output(self, path: Architecture, batch: Batch) -> torch.Tensor:
        """The supernet's output on a batch when it is one architecture."""
        return self.supernet(*laid_out(batch.inputs), mix=self.supernet.one_hot(path))  # type: ignore[no-any-return]


def weights_of(supernet: Supernet) -> Tensors:
    """Copies of the weights and buffers of a supernet."""
    return {name: value.detach().clone() for name, value in supernet.state_dict().items()}
