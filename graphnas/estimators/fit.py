"""The training loop: one network, one task, the best epoch kept."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphnas.estimators.averaging import Averaged
from graphnas.estimators.consistency import disagreement
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.ops.modules import DropPath
from graphnas.tasks.augment import cutout
from graphnas.tasks.base import Batch, Task
from graphnas.tasks.measure import device_of


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data.

    Attributes:
        number: from 1.
        learning_rate: during this epoch (at its end, where it changes with every step).
        train_loss: mean over the examples as they were seen (dropout and augmentation included).
        validation: all metrics of the task on the validation split after this epoch; empty when the loss was not
            finite.
    """

    number: int
    learning_rate: float
    train_loss: float
    validation: dict[str, float]


@dataclass(frozen=True)
class History:
    """What happened in training.

    Attributes:
        epochs: every epoch that was run.
        best: number of the epoch whose weights the network has now; 0 when no epoch had a finite metric.
        status: "finished", "stopped" (patience ran out) or "diverged" (the loss or metric was NaN or infinite).
    """

    epochs: tuple[Epoch, ...]
    best: int
    status: str

    @property
    def best_epoch(self) -> Epoch | None:
        """The epoch whose weights the network has now."""
        return self.epochs[self.best - 1] if self.best else None


@contextmanager
def isolated(seed: int, threads: int | None, device: torch.device) -> Iterator[None]:
    """Torch's default generators seeded and its thread count set inside; both as before afterwards.

    The result of a floating point sum depends on the number of threads that share it, so a fixed number is part of
    what makes a score reproducible.
    """
    before = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            if threads is not None:
                torch.set_num_threads(threads)
            yield
        finally:
            torch.set_num_threads(before)


def train(
    network: nn.Module,
    task: Task,
    recipe: Recipe | None = None,
    fidelity: Fidelity | None = None,
    generator: torch.Generator | None = None,
    threads: int | None = 1,
) -> History:
    """Train a network in place and leave it, in evaluation mode, with the weights of its best epoch.

    The best epoch is the first with the best validation metric (or loss; see ``Recipe.select_by``); weights include buffers such as running means. Neither
    the state of torch's default generator nor its number of threads is changed.

    Args:
        network: called as ``network(*batch.inputs)``; trained on the device that its parameters are on.
        task: data, loss and metric; the test split is not touched.
        recipe: optimiser and schedule; by default that of the kind of task.
        fidelity: epochs and part of the data (``size`` has no meaning here); by default that of the kind of task.
        generator: on the CPU; source of the order of batches, augmentation and dropout (seed 0 when not given).
        threads: torch threads to use; None leaves the number alone.

    Raises:
        GraphnasError: the recipe does not fit the task; see ``Recipe.metric``.
    """
    recipe = recipe or Recipe.for_kind(task.signature.kind)
    fidelity = fidelity or Fidelity.for_kind(task.signature.kind)
    generator = generator or torch.Generator().manual_seed(0)
    seed = int(torch.randint(2**62, (), generator=generator))
    device = device_of(network)
    with isolated(seed, threads, device):
        return _train(network, task, recipe, fidelity, generator, device)


def _train(
    network: nn.Module, task: Task, recipe: Recipe, fidelity: Fidelity, generator: torch.Generator, device: torch.device
) -> History:
    metric = recipe.metric(task)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = make_optimiser(parameters, recipe) if parameters else None
    mean = Averaged(parameters, recipe.window) if recipe.optimiser == "asgd" else None
    experience = task.experience(network)
    epochs: list[Epoch] = []
    best, best_score, best_state = 0, -math.inf, None
    status = "finished"
    steps = itertools.count(1)
    for number in range(1, fidelity.epochs + 1):
        rate = learning_rate(recipe, number, fidelity.epochs)
        if optimiser is not None:
            for group in optimiser.param_groups:
                group["lr"] = rate
        for module in network.modules():
            if isinstance(module, DropPath):
                module.set_progress((number - 1) / fidelity.epochs)
        loss = _pass(
            network, task, experience, optimiser, parameters, recipe, generator, fidelity.data, device, steps, mean
        )
        rate = rate if optimiser is None else optimiser.param_groups[0]["lr"]
        with nullcontext() if mean is None else mean.in_place():
            metrics = task.evaluate(network, "validation") if math.isfinite(loss) else {}
            score = metric.score(metrics[metric.name]) if metrics else math.nan
            state = copy.deepcopy(network.state_dict()) if score > best_score else None
        epochs.append(Epoch(number, rate, loss, metrics))
        if not math.isfinite(score):
            status = "diverged"
            break
        if mean is not None:
            mean.judge(score)
        if state is not None:
            best, best_score, best_state = number, score, state
        elif recipe.patience is not None and number - best >= recipe.patience:
            status = "stopped"
            break
    if best_state is not None:
        network.load_state_dict(best_state)
    network.eval()
    return History(tuple(epochs), best, status)


def _pass(
    network: nn.Module,
    task: Task,
    experience: Callable[[torch.Generator | None, float], Iterator[Batch]],
    optimiser: torch.optim.Optimizer | None,
    parameters: list[Tensor] | list[nn.Parameter],
    recipe: Recipe,
    generator: torch.Generator,
    share: float,
    device: torch.device,
    steps: Iterator[int],
    mean: Averaged | None,
) -> float:
    """One epoch; returns the mean loss, or the first loss that is not finite."""
    network.train()
    total, count = 0.0, 0
    carried: tuple[Tensor, ...] = ()
    for batch in experience(generator, share):
        if recipe.cutout and task.signature.kind == "image":
            batch = batch._replace(inputs=(cutout(batch.inputs[0], recipe.cutout, generator), *batch.inputs[1:]))
        batch = batch.to(device)
        inputs = (*batch.inputs[: len(batch.inputs) - len(carried)], *carried)
        output = network(*inputs)
        loss, carried = task.loss(output, batch), task.carried(output)
        if recipe.consistency:
            views = [output, *(network(*inputs) for _ in range(recipe.views - 1))]
            loss = sum((task.loss(view, batch) for view in views[1:]), loss) / len(views)
            loss = loss + recipe.consistency * disagreement(views, recipe.temperature)
            del views
        del output
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        if optimiser is not None and loss.requires_grad:
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(parameters, recipe.clip)
            if recipe.schedule == "inverse_sqrt":
                for group in optimiser.param_groups:
                    group["lr"] = inverse_sqrt(recipe, next(steps))
            pace = task.pace(batch)
            with _at_pace(optimiser, pace) if pace != 1 else nullcontext():
                optimiser.step()
            if mean is not None:
                mean.add()
        size = len(batch.target if batch.rows is None else batch.rows)
        total += value * size
        count += size
    return total / count


@contextmanager
def _at_pace(optimiser: torch.optim.Optimizer, pace: float) -> Iterator[None]:
    """Learning rates times a factor inside."""
    rates = [group["lr"] for group in optimiser.param_groups]
    for group in optimiser.param_groups:
        group["lr"] *= pace
    yield
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate


def learning_rate(recipe: Recipe, epoch: int, epochs: int) -> float:
    """The learning rate of an epoch, counted from 1 to ``epochs``, as far as it follows epochs."""
    if recipe.schedule != "cosine":
        return recipe.learning_rate
    return recipe.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2


def inverse_sqrt(recipe: Recipe, step: int) -> float:
    """The learning rate of a step, counted from 1: the recipe's at the end of the warm-up."""
    return recipe.learning_rate * min(step / recipe.warmup, math.sqrt(recipe.warmup / step))


def make_optimiser(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The torch optimiser that a recipe names."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=recipe.betas, weight_decay=decay)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, betas=recipe.betas, weight_decay=decay)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(parameters, lr=rate, momentum=recipe.momentum, weight_decay=decay, nesterov=nesterov)
