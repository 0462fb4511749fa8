"""The streams of a control task: what the supernet sees while it acts with its present weights (Miao et al., arXiv 2106.02229)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Mix, State, Tensors
from graphnas.oneshot.context import Context
from graphnas.tasks.base import Batch
from graphnas.tasks.control.objective import Experience
from graphnas.tasks.control.task import ControlTask

ROLES = ("inner", "outer")


class Acting:
    """Streams of batches that a supernet makes by playing; inner and outer ones have environments of their own.

    It plays with the mixing weights without noise, in the mode in which the supernet is trained. Every epoch begins with new
    episodes, so a search goes on from the end of an epoch as if nothing had happened. Batches come once and in order.

    Args:
        task: what is played.
        batch: largest size of a batch; the objective's own is not exceeded.
        seed: of episodes, actions and orders.

    Attributes:
        experiences: by role, as far as they have begun.
    """

    def __init__(self, task: ControlTask, batch: int, seed: int) -> None:
        self.task, self.seed = task.with_batch(batch), seed
        self.length = self.outer_length = self.task.objective.batches()
        self.experiences: dict[str, Experience] = {}
        self._context: Context | None = None
        self._passes: dict[str, Iterator[Batch]] = {}
        self._last: dict[str, tuple[int, Batch]] = {}

    def follow(self, context: Context) -> None:
        """See ``Follows``.

        Raises:
            GraphnasError: a search that goes on from within an epoch.
        """
        self._context = context
        if context.clock.step % context.clock.length == 0:
            self._passes.clear()
        elif not self._last:
            raise GraphnasError(
                f"a search of a control task goes on from the end of an epoch, and step {context.clock.step} is within one; start "
                "from an earlier state"
            )

    def inner(self, index: int) -> Batch:
        """The next batch for the weights, or the last one again."""
        return self._at("inner", index)

    def outer(self, index: int) -> Batch:
        """The next batch for the architecture, or the last one again."""
        return self._at("outer", index)

    def memory(self) -> Tensors:
        """What later epochs need of the earlier ones."""
        arrays = {
            f"{role}.{name}": value
            for role, experience in self.experiences.items()
            for name, value in experience.state().items()
        }
        return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}

    def restore(self, memory: Tensors) -> None:
        """Go on from what ``memory`` gave; who has begun to play goes on from there."""
        if self.experiences:
            return
        for role in dict.fromkeys(name.partition(".")[0] for name in memory):
            kept = {n.partition(".")[2]: t.numpy() for n, t in memory.items() if n.startswith(f"{role}.")}
            self._experience(role).restore(kept)

    def _at(self, role: str, index: int) -> Batch:
        known = self._last.get(role)
        if known is not None and known[0] == index:
            return known[1]
        if self._context is None:
            raise GraphnasError(
                "the batches of a control task come from a supernet that plays: search by gradients in one process (--method, "
                "without torchrun), or train each architecture"
            )
        if known is not None and index != known[0] + 1:
            raise GraphnasError(
                "this method looks at later or earlier batches, but those of a control task come once, as the supernet "
                "plays; choose rl_darts, darts1 or another one that takes them in order"
            )
        found = next(self._passes[role], None) if role in self._passes else None
        if found is None:
            words = np.random.SeedSequence([self.seed, ROLES.index(role), index]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(words[0] >> 1))
            self._passes[role] = self._experience(role)(generator, 1.0)
            found = next(self._passes[role])
        self._last[role] = index, found
        return found

    def _experience(self, role: str) -> Experience:
        if role not in self.experiences:
            self.experiences[role] = self.task.played_by(_Present(self))
        return self.experiences[role]


@dataclass(frozen=True, eq=False)
class _Present:
    """The supernet with the weights of the present step."""

    streams: Acting

    def __call__(self, x: Tensor) -> Tensor:
        return self.frozen()(x)

    def frozen(self) -> SupernetPolicy:
        context = self.streams._context
        assert context is not None
        return SupernetPolicy(context.problem, context.state, context.expected().detached())


@dataclass(frozen=True, eq=False)
class SupernetPolicy:
    """A supernet with weights that stay: nothing changes them in place, so this policy is always frozen.

    Attributes:
        problem: a ``SupernetProblem``.
        state: weights.
        mix: mixing weights.
    """

    problem: Any
    state: State
    mix: Mix

    def __call__(self, x: Tensor) -> Tensor:
        """See ``graphnas.tasks.control.policy.Policy``."""
        with torch.no_grad():
            made: Tensor = self.problem.output(self.state, self.mix, Batch((x,), x))[0]
        return made

    def frozen(self) -> SupernetPolicy:
        """Itself."""
        return self
