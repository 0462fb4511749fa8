"""A supernet on a task as the pure functions that the methods of gradient-based search work with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphnas.compile import compile
from graphnas.errors import GraphnasError
from graphnas.oneshot.base import CARRIED, Group, Mix, State, Tensors
from graphnas.oneshot.supernet import Supernet, rows_of
from graphnas.oneshot.swapping import Swapping
from graphnas.oneshot.task_streams import Drawn, Following
from graphnas.ops.mixture import Row
from graphnas.tasks.base import Batch, Task


class SupernetProblem:
    """The losses of a supernet on a task.

    Every evaluation is in training mode (batch normalisation by the statistics of the batch, as DARTS searches)
    and leaves the supernet, the given weights and buffers, and torch's random state as they were. The randomness inside
    the network (dropout, noise) follows the seed of the batch (``Drawn``; 0 for a plain Batch), so that evaluations of
    one batch with one state agree, and other batches have other noise.

    Args:
        supernet: holds the structure.
        task: its training loss is both the inner and the outer loss.

    Attributes:
        groups: the decisions of the supernet.
    """

    def __init__(self, supernet: Supernet, task: Task) -> None:
        self.supernet = supernet.train()
        self.task = task
        self.groups: tuple[Group, ...] = supernet.groups
        self._swapping = Swapping(self.supernet)

    def initial(self, seed: int) -> State:
        """Fresh weights, those of a supernet that is made with this seed; the supernet's own stay."""
        fresh = compile(self.supernet.architecture, seed)
        own = self.state()
        drawn = State(dict(fresh.named_parameters()), dict(fresh.named_buffers()))
        made = [
            {name: t.detach().to(like[name]) for name, t in _prefixed(part).items()}
            for part, like in zip(drawn, own, strict=True)
        ]
        return State(*made)

    def state(self) -> State:
        """Copies of the supernet's weights and buffers."""
        parameters = {name: p.detach().clone() for name, p in self.supernet.named_parameters()}
        return State(parameters, {name: b.detach().clone() for name, b in self.supernet.named_buffers()})

    def load(self, state: State) -> None:
        """Put weights and buffers into the supernet."""
        self.supernet.load_state_dict({**state.parameters, **_of_network(state.buffers)})

    def output(self, state: State, mix: Mix, batch: Batch | Drawn, stream: str = "inner") -> tuple[Any, Tensors]:
        """The network's output on a batch, and the buffers after it.

        What a network carries from batch to batch is among the buffers, for each of the streams "inner" and "outer".

        Raises:
            GraphnasError: mixing weights for a supernet of another kind.
        """
        self._check(mix)
        given, seed = batch if isinstance(batch, Drawn) else (batch, 0)
        parameters = [state.parameters[name] for name in self._swapping.parameters]
        buffers = [state.buffers[name].clone() for name in self._swapping.buffers]
        own = f"{CARRIED}.{stream}."
        goes_on = isinstance(batch, Following)
        before = [b for name, b in state.buffers.items() if goes_on and name.startswith(own)]
        inputs = (*given.inputs[: len(given.inputs) - len(before)], *before)
        with torch.random.fork_rng(devices=[]), self._swapping.holding(parameters, buffers):
            torch.manual_seed(seed)
            made = self.supernet(*laid_out(inputs), mix=self.rows(mix))
            now = self._swapping.buffers_now()
        others = {k: b for k, b in state.buffers.items() if k.startswith(CARRIED) and not k.startswith(own)}
        after = {f"{own}{i}": value for i, value in enumerate(self.task.carried(made))}
        return made, {**dict(zip(self._swapping.buffers, now, strict=True)), **others, **after}

    def rows(self, mix: Mix) -> dict[str, tuple[Row, ...]]:
        """The mixing weights as the supernet takes them: which options run, and how their weights get a gradient."""
        live = mix.live or {}
        return {name: rows_of(w, mix.sampled, live.get(name)) for name, w in mix.weights.items()}

    def _check(self, mix: Mix) -> None:
        supernet = self.supernet
        if mix.channels != supernet.part:
            raise GraphnasError(
                f"the method passes one channel in {mix.channels} through the operations, the supernet one in "
                f"{supernet.part}; make it with part={mix.channels}"
            )
        if mix.node_norm != supernet.node_norm:
            raise GraphnasError(
                f"the method {'needs' if mix.node_norm else 'does not have'} normalised sums; make the supernet with "
                f"node_norm={mix.node_norm}"
            )

    def inner_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """The task's loss on a training batch, and the buffers after it."""
        output, buffers = self.output(state, mix, batch)
        return self._loss(output, _plain(batch), reduce), buffers

    def outer_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """The same loss on a validation batch."""
        output, buffers = self.output(state, mix, batch, "outer")
        return self._loss(output, _plain(batch), reduce), buffers

    def _loss(self, output: Any, batch: Batch, reduce: bool) -> Tensor:
        if reduce:
            return self.task.loss(output, batch)
        if batch.rows is not None or batch.parts is not None:
            raise GraphnasError(
                f"an architecture for each example needs examples that do not read each other, which those of "
                f"{self.task.name} do; choose a method with one architecture a batch"
            )
        each = [
            self.task.loss(_example(output, i), Batch(batch.inputs, batch.target[i : i + 1]))
            for i in range(len(batch.target))
        ]
        return torch.stack(each)

    def accuracy(self, state: State, mix: Mix, batch: Any) -> float:
        """Percent of a batch whose largest output is the target; minus the loss for tasks that measure otherwise."""
        given = _plain(batch)
        with torch.no_grad():
            alone = Drawn(*batch) if isinstance(batch, Drawn) else batch
            output, _ = self.output(state, mix.detached(), alone)
            if self.task.metric.name != "accuracy" or given.parts is not None:
                return -float(self.task.loss(output, given))
        every = slice(None) if given.rows is None else given.rows
        return 100.0 * float((output[every].argmax(-1) == given.target[every]).float().mean())

    def costs(self) -> Tensors:
        """Parameters and multiply-adds of every option, ``[R, K, 2]``."""
        return self.supernet.costs()

    def examples(self, batch: Any) -> int:
        """The number of examples in a batch."""
        return len(_plain(batch).target)


def laid_out(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Images with the channels last in memory: all that follows keeps this order, in which a CPU convolves faster."""
    return tuple(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs)


def _example(output: Any, i: int) -> Any:
    """One example of an output, or of each of several."""
    return tuple(o[i : i + 1] for o in output) if isinstance(output, tuple) else output[i : i + 1]


def _of_network(buffers: Tensors) -> Tensors:
    """The buffers that the network has."""
    return {name: b for name, b in buffers.items() if not name.startswith(CARRIED)}


def _plain(batch: Batch | Drawn) -> Batch:
    return batch.batch if isinstance(batch, Drawn) else batch


def _prefixed(tensors: Tensors) -> Tensors:
    return {f"network.{name}": t for name, t in tensors.items()}
