"""First-order DARTS."""

from __future__ import annotations

from dataclasses import dataclass

from graphnas.oneshot.context import Context
from graphnas.oneshot.derivatives import named, surrogate
from graphnas.oneshot.outer.base import Update


@dataclass(frozen=True)
class FirstOrder:
    """The gradient of the outer loss at the present weights (Liu, Simonyan & Yang, ICLR 2019, with xi = 0).

    The loss is differentiated with respect to the mixing weights only; weights get no gradient.
    """

    gives_delta = False

    def __call__(self, context: Context) -> Update:
        """One forward and one backward pass."""
        batch = context.outer_batch()
        mix = context.mix(batch=batch)
        asked = mix.cut()
        loss = context.outer_loss(context.state, asked, batch)
        found = context.gradient(loss, list(asked.weights.values()))
        return Update(mix, surrogate(mix, named(asked.weights, found)), log={"outer_loss": context.value(loss)})
