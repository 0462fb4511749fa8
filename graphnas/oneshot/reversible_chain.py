"""The steps of a reversible chain, forward, and backward with the states worked out again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from graphnas.oneshot.swapping import Swapping


class Step(NamedTuple):
    """``part += function(*reads, *sides)``: which part, which others it reads, which side inputs, and the function."""

    part: int
    reads: tuple[int, ...]
    sides: tuple[int, ...]
    function: nn.Module


class Chain(nn.Module):
    """Runs the steps in order; the backward pass keeps the last state, the side inputs and the weights only.

    ``forward(*parts, *sides)`` gives the parts at the end. The functions share their modules with the network
    that the chain lies in, which owns them. The backward pass runs every function once more, differentiates it, and takes it
    off the state: about 4 units of work in place of 3. Dropout is repeated as it was, from the state of the random
    generators, which is kept for the steps that draw from them (5 kB each on a CPU). The rounding error of reconstruction
    adds up along the chain. Gradients can be differentiated again; that takes the memory of a plain network.

    Args:
        parts: of the state.
        steps: at least one for every part.
    """

    def __init__(self, parts: int, steps: Sequence[Step]) -> None:
        super().__init__()
        self.parts = parts
        self.steps = tuple(steps)  # in a tuple, modules are not registered a second time
        self.places: list[Swapping] = []

    def forward(self, *arguments: Any) -> tuple[Tensor, ...]:
        """The last state for the first one and the side inputs: tensors, or tuples that hold some."""
        leaves, form = tree_flatten(list(arguments[self.parts :]))
        moving = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.places = self.places or [Swapping(step.function) for step in self.steps]
        number: dict[int, int] = {}
        tensors: list[Tensor] = []
        weights: list[list[int]] = []
        for places in self.places:
            here = places.now()
            for p in here:
                if id(p) not in number:
                    number[id(p)] = len(tensors)
                    tensors.append(p)
            weights.append([number[id(p)] for p in here])
        run = _Run(self.parts, self.steps, self.places, weights, form, leaves, moving)
        sides = [leaves[i] for i in moving]
        made: tuple[Tensor, ...] = _Reversible.apply(run, *arguments[: self.parts], *sides, *tensors)  # type: ignore[no-untyped-call]
        return made


class _Noise(NamedTuple):
    """The state of the random generators before a step."""

    cpu: Tensor
    devices: list[int]
    states: list[Tensor]


class _Run:
    """One forward pass: how its tensors make up the arguments of the steps, and the noise of each step."""

    def __init__(
        self,
        parts: int,
        steps: Sequence[Step],
        places: Sequence[Swapping],
        weights: Sequence[Sequence[int]],
        form: TreeSpec,
        leaves: Sequence[Any],
        moving: Sequence[int],
    ) -> None:
        self.parts, self.steps, self.places, self.weights, self.form = parts, steps, places, weights, form
        self.moving = moving
        self.fixed = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.noise: list[_Noise | None] = []

    def sides(self, tensors: Sequence[Tensor]) -> list[Any]:
        """The side inputs with these tensors."""
        leaves = list(self.fixed)
        for i, tensor in zip(self.moving, tensors, strict=True):
            leaves[i] = tensor
        made: list[Any] = tree_unflatten(leaves, self.form)
        return made


class _Reversible(torch.autograd.Function):
    """Of (run, parts, tensors of the side inputs, weights) the parts at the end."""

    @staticmethod
    def forward(ctx: Any, run: _Run, *tensors: Tensor) -> tuple[Tensor, ...]:
        """All steps in order, without a graph."""
        state, rest = list(tensors[: run.parts]), tensors[run.parts :]
        sides = run.sides(rest[: len(run.moving)])
        devices = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
        for step in run.steps:
            before = _noise(devices)
            added = step.function(*(state[i] for i in step.reads), *(sides[i] for i in step.sides))
            run.noise.append(before if _drew(before) else None)
            state[step.part] = state[step.part] + added
        ctx.run = run
        ctx.save_for_backward(*state, *rest)
        return tuple(state)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """From the last step to the first: the function once more, its gradients, and the state before it."""
        run: _Run = ctx.run
        again = torch.is_grad_enabled()  # these gradients are to be differentiated themselves
        state, rest = list(ctx.saved_tensors[: run.parts]), ctx.saved_tensors[run.parts :]
        slopes = list(gradients)
        totals: list[Tensor | None] = [None] * len(rest)
        asked = ctx.needs_input_grad[1 + run.parts :]
        count = len(run.moving)

        def leaf(x: Tensor) -> Tensor:
            return x.view_as(x) if again else x.detach().requires_grad_()

        for step, places, own, noise in reversed(list(zip(run.steps, run.places, run.weights, run.noise, strict=True))):
            with torch.enable_grad(), _repeated(noise):
                reads = [leaf(state[i]) for i in step.reads]
                used = [*range(count), *(i + count for i in own)]
                values = [leaf(rest[i]) if asked[i] else rest[i] for i in used]
                sides = run.sides(values[:count])
                with places.holding(values[count:], [b.clone() for b in places.buffers_now()]):
                    added = step.function(*reads, *(sides[i] for i in step.sides))
                wanted = [(i, value) for i, value in zip(used, values, strict=True) if asked[i]]
                found: Sequence[Tensor | None] = [None] * (len(reads) + len(wanted))
                if added.requires_grad:
                    found = torch.autograd.grad(
                        added,
                        [*reads, *(value for _, value in wanted)],
                        slopes[step.part],
                        create_graph=again,
                        allow_unused=True,
                    )
            state[step.part] = state[step.part] - (added if again else added.detach())
            for i, g in zip(step.reads, found, strict=False):
                slopes[i] = slopes[i] if g is None else slopes[i] + g
            for (i, _), g in zip(wanted, found[len(reads) :], strict=True):
                known = totals[i]
                totals[i] = known if g is None else g if known is None else known + g
        return None, *slopes, *totals


def _noise(devices: list[int]) -> _Noise:
    return _Noise(torch.get_rng_state(), devices, [torch.cuda.get_rng_state(i) for i in devices])


def _drew(before: _Noise) -> bool:
    """Whether anything was drawn since."""
    now = _noise(before.devices)
    return any(not torch.equal(a, b) for a, b in zip((before.cpu, *before.states), (now.cpu, *now.states), strict=True))


@contextmanager
def _repeated(noise: _Noise | None) -> Iterator[None]:
    """The random generators as they were; afterwards as they are now."""
    if noise is None:
        yield
        return
    with torch.random.fork_rng(devices=noise.devices):
        torch.set_rng_state(noise.cpu)
        for device, state in zip(noise.devices, noise.states, strict=True):
            torch.cuda.set_rng_state(state, device)
        yield
