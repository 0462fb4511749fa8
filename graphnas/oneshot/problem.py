"""A supernet on a task as the pure functions that the methods of gradient-based search work with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from graphnas.oneshot.base import Group, Mix, State, Tensors
from graphnas.oneshot.supernet import Supernet, rows_of
from graphnas.tasks.base import Batch, Task


class SupernetProblem:
    """The losses of a supernet on a task.

    Every evaluation is in training mode (batch normalisation by the statistics of the batch, as DARTS searches)
    and leaves the supernet, the given weights and buffers, and torch's random state as they were.

    Args:
        supernet: holds the structure; its own weights are used by ``initial`` only.
        task: its training loss is both the inner and the outer loss.
        seed: of the randomness inside the network (dropout, noise): evaluations of one batch with one state agree.

    Attributes:
        groups: the decisions of the supernet.
    """

    def __init__(self, supernet: Supernet, task: Task, seed: int = 0) -> None:
        self.supernet = supernet.train()
        self.task = task
        self.seed = seed
        self.groups: tuple[Group, ...] = supernet.groups

    def initial(self, seed: int) -> State:
        """Fresh weights from a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in self.supernet.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
        return self.state()

    def state(self) -> State:
        """Copies of the supernet's weights and buffers."""
        parameters = {name: p.detach().clone() for name, p in self.supernet.named_parameters()}
        return State(parameters, {name: b.detach().clone() for name, b in self.supernet.named_buffers()})

    def load(self, state: State) -> None:
        """Put weights and buffers into the supernet."""
        self.supernet.load_state_dict({**state.parameters, **state.buffers})

    def output(self, state: State, mix: Mix, batch: Batch) -> tuple[Tensor, Tensors]:
        """The network's output on a batch, and the buffers after it."""
        buffers = {name: b.clone() for name, b in state.buffers.items()}
        rows = {name: rows_of(w, rest=mix.sampled) for name, w in mix.weights.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = functional_call(self.supernet, {**state.parameters, **buffers}, batch.inputs, {"mix": rows})
        return made, buffers

    def inner_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """The task's loss on a training batch, and the buffers after it."""
        output, buffers = self.output(state, mix, batch)
        return self._loss(output, batch, reduce), buffers

    def outer_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """The same loss on a validation batch."""
        return self.inner_loss(state, mix, batch, reduce)

    def _loss(self, output: Tensor, batch: Batch, reduce: bool) -> Tensor:
        if reduce:
            return self.task.loss(output, batch)
        rows = output if batch.rows is None else output[batch.rows]
        each = [self.task.loss(rows[i : i + 1], Batch(batch.inputs, batch.target[i : i + 1])) for i in range(len(rows))]
        return torch.stack(each)

    def accuracy(self, state: State, mix: Mix, batch: Any) -> float:
        """Percent of a batch whose largest output is the target."""
        with torch.no_grad():
            output, _ = self.output(state, mix.detached(), batch)
        rows = output if batch.rows is None else output[batch.rows]
        return 100.0 * float((rows.argmax(-1) == batch.target).float().mean())

    def costs(self) -> Tensors:
        """Parameters and multiply-adds of every option, ``[R, K, 2]``."""
        return self.supernet.costs()

    def examples(self, batch: Any) -> int:
        """The number of examples in a batch."""
        return len(batch.target)
