"""Second-order DARTS: the gradient through one step of the weights."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from graphnas.errors import unknown
from graphnas.oneshot.base import State
from graphnas.oneshot.context import Context
from graphnas.oneshot.derivatives import dot, leaves, mixed_difference, named, norm, surrogate, through_step
from graphnas.oneshot.outer.base import Update
from graphnas.ops.twice import TwiceDifferentiable

MODES = ("exact", "finite_difference")


@dataclass(frozen=True)
class Unrolled:
    """The gradient of ``outer_loss(step(weights, alpha), alpha)`` (Liu, Simonyan & Yang, ICLR 2019, equations 6 to 8).

    The virtual step is the optimiser's own, with its momentum, weight decay and clipping. The authors' code for images
    does not clip in the virtual step, although it does in the real one.

    Attributes:
        xi: learning rate of the virtual step; None: the present one.
        mode: "exact" differentiates twice, "finite_difference" takes central differences of gradients.
        step: length of the displacement of all weights jointly for these differences.
    """

    xi: float | None = None
    mode: str = "finite_difference"
    step: float = 0.01

    gives_delta = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("mode of the unrolled gradient", self.mode, MODES)

    def __call__(self, context: Context) -> Update:
        """Two forward and backward passes, and one (exact) or two (differences) for the correction."""
        exact = self.mode == "exact"
        rate = context.rate if self.xi is None else self.xi
        state, train, validation = context.state, context.inner_batch(), context.outer_batch()
        mix = context.mix(batch=validation)
        asked = mix.cut()
        wanted = list(asked.weights.values())

        parameters = leaves(state.parameters)
        with TwiceDifferentiable() if exact else nullcontext():
            inner, _ = context.inner_loss(State(parameters, state.buffers), asked if exact else mix.detached(), train)
        local = context.differentiate(inner, list(parameters.values()), keep=exact)
        gradients = named(parameters, context.averaged(local))
        moved, _ = context.inner.step(state.parameters, gradients, context.slots, rate)

        moved = leaves(moved)
        outer = context.outer_loss(State(moved, state.buffers), asked, validation)
        found = context.gradient(outer, [*moved.values(), *wanted])
        slope = named(moved, found[: len(moved)])
        sensitivities = named(asked.weights, found[len(moved) :])

        direction = through_step(context, gradients, slope, context.slots, rate)
        if exact:
            product = dot(named(parameters, local), direction)
            correction = named(asked.weights, context.averaged(context.differentiate(product, wanted, second=True)))
        else:
            correction = mixed_difference(context, state, mix.detached(), train, direction, self.step)
        total = {name: s + correction[name] for name, s in sensitivities.items()}
        log = {"outer_loss": context.value(outer), "correction": float(norm(correction))}
        return Update(mix, surrogate(mix, total), log=log)
