"""Weights and architecture from one backward pass on one training batch: SNAS, RL-DARTS."""

from __future__ import annotations

from dataclasses import dataclass

from graphnas.oneshot.base import State
from graphnas.oneshot.context import Context
from graphnas.oneshot.derivatives import leaves, named, surrogate
from graphnas.oneshot.outer.base import Update, WeightGradient


@dataclass(frozen=True)
class Joint:
    """The gradient of the inner loss with respect to alpha, with the weights' gradient of the same evaluation.

    Single-level: no part of the data is kept for the architecture (Xie et al., ICLR 2019; Miao et al., arXiv 2106.02229).
    """

    gives_delta = False

    def __call__(self, context: Context) -> Update:
        """One forward and one backward pass for both."""
        batch = context.inner_batch()
        mix = context.mix(batch=batch)
        asked = mix.cut()
        parameters = leaves(context.state.parameters)
        loss, buffers = context.inner_loss(State(parameters, context.state.buffers), asked, batch)
        found = context.gradient(loss, [*parameters.values(), *asked.weights.values()])
        gradients = named(parameters, found[: len(parameters)])
        sensitivities = named(asked.weights, found[len(parameters) :])
        return Update(
            mix,
            surrogate(mix, sensitivities),
            weights=WeightGradient(loss.detach(), gradients, buffers),
            log={"outer_loss": context.value(loss)},
        )
