"""The architecture at the end of a search."""

from __future__ import annotations

import torch

from graphnas.oneshot.base import Mix, State, Tensors
from graphnas.oneshot.context import Context
from graphnas.oneshot.derivatives import weight_gradient
from graphnas.oneshot.discretisers import Discretiser, Tools, TopKInputs


def derive(context: Context, discretiser: Discretiser, look: bool = True) -> Tensors:
    """For each group ``[R, K]``, 1 at what the architecture has.

    Args:
        context: of the search.
        discretiser: chooses.
        look: whether it may evaluate the supernet, if that is what it does; otherwise such a one is replaced by the
            greatest weights.
    """
    mix = context.expected().detached()
    if not discretiser.needs_tools:
        return discretiser(context.groups, mix)
    return discretiser(context.groups, mix, tools(context, mix)) if look else TopKInputs()(context.groups, mix)


def tools(context: Context, mix: Mix) -> Tools:
    """What a discretiser may use.

    It tunes a private copy of the weights with their own optimiser, at a tenth of the learning rate that the search
    began with (Wang et al., ICLR 2021).
    """
    streams, clock, rate = context.streams, context.clock, context.inner.rate(0.0) / 10
    weights, slots, made = context.state, context.slots, 0

    def accuracy(matrices: Tensors) -> float:
        candidate = mix.with_weights(matrices)
        values = [context.problem.accuracy(weights, candidate, streams.outer(i)) for i in range(streams.outer_length)]
        return context.value(torch.tensor(values, dtype=torch.float64).mean())

    def tune(matrices: Tensors, epochs: int) -> None:
        nonlocal weights, slots, made
        fixed = mix.with_weights(matrices).detached()
        for _ in range(epochs * clock.length):
            _, gradients, buffers = weight_gradient(context, weights, fixed, context.inner_batch(made))
            parameters, slots = context.inner.step(weights.parameters, gradients, slots, rate)
            weights, made = State(parameters, buffers), made + 1

    return Tools(accuracy, tune, context.generator("order"))
