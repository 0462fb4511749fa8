"""The implicit gradient with a truncated Neumann series: iDARTS."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from graphnas.errors import GraphnasError, unknown
from graphnas.oneshot.base import Mix, State, Tensors
from graphnas.oneshot.context import Context
from graphnas.oneshot.derivatives import (
    dot,
    leaves,
    mixed_difference,
    moved_by,
    named,
    norm,
    surrogate,
    weight_gradient,
)
from graphnas.oneshot.outer.base import Update
from graphnas.oneshot.outer.unrolled import MODES
from graphnas.ops.twice import TwiceDifferentiable

LIMIT = 10.0
"""A term that is so many times longer than the first tells that the series diverges."""


@dataclass(frozen=True)
class Neumann:
    """``d_alpha Lv - gamma J^T sum_{k <= K} (I - gamma H)^k d_w Lv`` (Zhang et al., ICML 2021, equation 12).

    H and J are the second derivatives of the inner loss by the weights, and by the weights and alpha, on one training
    batch. The series converges to the inverse of H for ``gamma < 2 / greatest eigenvalue``. With symmetric H the
    lengths of the terms are log-convex, so once they grow they never stop; terms from the one on that is ten times
    longer than the first are left out, and the history tells it (``neumann_terms`` below K + 1).

    The weights' own steps between two updates are the loop's (gate ``Every(T)``), with the real weights; the authors' notebook makes
    them on a copy.

    Attributes:
        terms: K.
        gamma: scale of the series; None: the present learning rate of the weights.
        mode: "exact" differentiates twice, "finite_difference" takes central differences of gradients.
        step: length of the displacement of all weights jointly for these differences. It is divided by the norm of what
            is multiplied, the vector at hand; the authors' code divides by that of ``d_w Lv`` throughout.
        on_divergence: "truncate" or "raise".
    """

    terms: int = 2
    gamma: float | None = None
    mode: str = "exact"
    step: float = 0.01
    on_divergence: str = "truncate"

    gives_delta = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("mode of the Neumann series", self.mode, MODES)
        if self.on_divergence not in ("truncate", "raise"):
            raise unknown("answer to divergence", self.on_divergence, ("truncate", "raise"))
        if self.terms < 0:
            raise GraphnasError(f"a Neumann series cannot have {self.terms} further terms; give 0 or more")

    def __call__(self, context: Context) -> Update:
        """Exact: two forward passes and 3 + K differentiations; by differences: 3 + 2 K of both."""
        validation = context.outer_batch()
        mix = context.mix(batch=validation)
        asked = mix.cut()
        state = context.state
        parameters = leaves(state.parameters)
        outer = context.outer_loss(State(parameters, state.buffers), asked, validation)
        found = context.gradient(outer, [*parameters.values(), *asked.weights.values()])
        slope = named(parameters, found[: len(parameters)])
        sensitivities = named(asked.weights, found[len(parameters) :])

        gamma = context.rate if self.gamma is None else self.gamma
        curvature = _Exact(context, mix) if self.mode == "exact" else _Differences(context, mix, self.step)
        total, used = self._series(curvature, slope, gamma)
        mixed = curvature.mixed(total)
        joined = {name: s - gamma * mixed[name] for name, s in sensitivities.items()}
        log = {"outer_loss": context.value(outer), "neumann_terms": float(used)}
        return Update(mix, surrogate(mix, joined), log=log)

    def _series(self, curvature: _Exact | _Differences, first: Tensors, gamma: float) -> tuple[Tensors, int]:
        term, total = first, dict(first)
        start = float(norm(first))
        for k in range(1, self.terms + 1):
            product = curvature.times(term)
            term = {name: t - gamma * product[name] for name, t in term.items()}
            length = float(norm(term))
            if not math.isfinite(length) or length > LIMIT * start:
                if self.on_divergence == "raise":
                    raise GraphnasError(
                        f"the Neumann series diverges: term {k} has {length / start:.3g} times the length of the first; "
                        f"choose a gamma below {gamma:g} (2 over the greatest eigenvalue of the inner Hessian)"
                    )
                return total, k
            total = {name: t + term[name] for name, t in total.items()}
        return total, self.terms + 1


class _Exact:
    """Products with second derivatives; the first derivative's graph is made once for all of them."""

    def __init__(self, context: Context, mix: Mix) -> None:
        self.context = context
        self.asked = mix.cut()
        self.parameters = leaves(context.state.parameters)
        state = State(self.parameters, context.state.buffers)
        with TwiceDifferentiable():
            loss, _ = context.inner_loss(state, self.asked, context.inner_batch())
        self.slope = named(self.parameters, context.differentiate(loss, list(self.parameters.values()), keep=True))

    def times(self, vector: Tensors) -> Tensors:
        return named(self.parameters, self._product(vector, self.parameters))

    def mixed(self, vector: Tensors) -> Tensors:
        return named(self.asked.weights, self._product(vector, self.asked.weights))

    def _product(self, vector: Tensors, inputs: Tensors) -> list[Tensor]:
        product = dot(self.slope, vector)
        return self.context.averaged(self.context.differentiate(product, list(inputs.values()), second=True))


class _Differences:
    """The same products by central differences of gradients."""

    def __init__(self, context: Context, mix: Mix, step: float) -> None:
        self.context, self.mix, self.step = context, mix.detached(), step
        self.batch = context.inner_batch()

    def times(self, vector: Tensors) -> Tensors:
        length = float(norm(vector))
        if length == 0:
            return vector
        sides = [
            weight_gradient(self.context, self._moved(vector, sign * self.step / length), self.mix, self.batch)[1]
            for sign in (1, -1)
        ]
        return {name: (plus - sides[1][name]) * (length / (2 * self.step)) for name, plus in sides[0].items()}

    def mixed(self, vector: Tensors) -> Tensors:
        return mixed_difference(self.context, self.context.state, self.mix, self.batch, vector, self.step)

    def _moved(self, vector: Tensors, factor: float) -> State:
        return moved_by(self.context.state, vector, factor)
