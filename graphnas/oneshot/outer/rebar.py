"""The unbiased estimator of UNAS, its generalisation gap and its latency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Mix, Tensors
from graphnas.oneshot.context import Context
from graphnas.oneshot.derivatives import dot, named, surrogate
from graphnas.oneshot.outer.base import Update
from graphnas.oneshot.schedules import Constant, Schedule


@dataclass(frozen=True, eq=False)
class LinearSurrogate:
    """A cost that is linear in the choices, fitted by ridge regression.

    Attributes:
        weights: for each group ``[R, K]``.
        constant: the cost of no choice at all.
    """

    weights: Tensors
    constant: float

    @classmethod
    def fit(cls, choices: Tensors, cost: Tensor, ridge: float = 1.0) -> LinearSurrogate:
        """Least squares with ``ridge`` times the squared weights; the constant is free.

        Args:
            choices: for each group ``[N, R, K]`` one-hot matrices of N architectures.
            cost: ``[N]`` what was measured.
            ridge: Vahdat et al. take 1 with 10,000 architectures.

        Raises:
            GraphnasError: numbers of architectures that differ, or none.
        """
        n = len(cost)
        if n == 0 or any(len(c) != n for c in choices.values()):
            raise GraphnasError("a surrogate is fitted to one cost for each architecture, and to at least one")
        x = torch.cat([c.reshape(n, -1) for c in choices.values()], 1).double()
        y = cost.double()
        mean = x.mean(0)
        centred = x - mean
        gram = centred.T @ centred + ridge * torch.eye(x.shape[1], dtype=x.dtype)
        solution = torch.linalg.solve(gram, centred.T @ (y - y.mean()))
        parts = solution.split([c[0].numel() for c in choices.values()])
        weights = {name: p.view(c.shape[1:]) for (name, c), p in zip(choices.items(), parts, strict=True)}
        return cls(weights, float(y.mean() - mean @ solution))

    def __call__(self, choices: Tensors) -> Tensor:
        """The cost of ``[..., R, K]`` choices, relaxed ones too: ``[...]``, differentiable."""
        terms = [(choices[name] * w.to(choices[name])).sum((-2, -1)) for name, w in self.weights.items()]
        return torch.stack(terms).sum(0) + self.constant


@dataclass(frozen=True, eq=False)
class Latency:
    """``coefficient * relu(latency - target)``, for a latency that can be measured but not differentiated.

    Attributes:
        measure: the latency ``[]`` or ``[B]`` of one-hot matrices ``[R, K]`` or ``[B, R, K]``.
        surrogate: the control variate.
        target: no penalty below it.
        coefficient: a schedule; Vahdat et al. raise it to 0.1.
    """

    measure: Callable[[Tensors], Tensor]
    surrogate: LinearSurrogate
    target: float
    coefficient: Schedule = Constant(0.1)  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Rebar:
    """REBAR's estimator of the gradient of ``E[L(z)]`` over one-hot architectures z (Vahdat et al., CVPR 2020).

    With a relaxed sample s, its argmax z and a relaxed sample s' given z, the gradient of
    ``stop(L(z) - L(s)) log p(z) + L(s) - L(s')`` is unbiased. Since s' has the value of s, one relaxed evaluation serves
    for both. Per-example samples give every example its own architecture.

    Attributes:
        gap: L is ``Lt + gap * |Lv - Lt|`` for a training and a validation batch of equal size; None: L is the outer loss.
        latency: added to L, with an independent sample.
    """

    gap: float | None = 0.5
    latency: Latency | None = None

    gives_delta = False

    def __call__(self, context: Context) -> Update:
        """Two forward passes for each batch, and one backward pass for each."""
        batch = context.outer_batch()
        mix = context.mix(batch=batch)
        if mix.hard is None or mix.twin is None or mix.log_probability is None:
            raise GraphnasError(
                f"the REBAR estimator needs coupled samples, which {type(context.relaxation).__name__} does not draw; "
                "use CoupledConcrete"
            )
        with torch.no_grad():
            hard = self._objective(context, mix.with_weights(mix.hard), batch)
        asked = mix.cut()
        soft = self._objective(context, asked, batch)
        losses = 1 if self.gap is None else 2
        found = named(asked.weights, context.gradient(soft.mean(), list(asked.weights.values()), losses=losses))
        total = three_terms(mix, hard - soft.detach(), found)
        log = {"outer_loss": context.value(hard.mean()), "relaxed_loss": context.value(soft.mean())}
        if self.latency is not None:
            term, log["latency"] = self._latency(context, self.latency, batch)
            total = total + term
        return Update(mix, total, log=log)

    def _objective(self, context: Context, mix: Mix, batch: Any) -> Tensor:
        """``[B]`` when examples have their own samples, else a number."""
        reduce = not context.relaxation.per_example
        validation = context.outer_loss(context.state, mix, batch, reduce)
        if self.gap is None:
            return validation
        train, _ = context.inner_loss(context.state, mix, context.inner_batch(), reduce)
        if train.shape != validation.shape:
            raise GraphnasError(
                f"the generalisation gap of each example needs batches of one size, not {len(train)} and "
                f"{len(validation)}"
            )
        return train + self.gap * (validation - train).abs()

    def _latency(self, context: Context, latency: Latency, batch: Any) -> tuple[Tensor, float]:
        mix = context.mix(batch=batch, purpose="latency")
        assert mix.hard is not None
        assert mix.twin is not None
        factor = latency.coefficient(context.clock.progress)
        measured = latency.measure(mix.hard).to(next(iter(mix.weights.values())))

        def control(choices: Tensors) -> Tensor:
            return factor * (latency.surrogate(choices) - latency.target).relu()

        relaxed = control(mix.weights)
        learnt = factor * (measured - latency.target).relu() - relaxed.detach()
        term = (learnt * _log_probability(mix)).mean() + relaxed.mean() - control(mix.twin).mean()
        return term, float(measured.mean())


def three_terms(mix: Mix, advantage: Tensor, sensitivities: Tensors) -> Tensor:
    """The number whose gradient is REBAR's estimate.

    Args:
        mix: coupled samples.
        advantage: ``L(z) - L(s)``, ``[B]`` or a number, held constant.
        sensitivities: the gradient of the mean of L(s) with respect to s.
    """
    assert mix.twin is not None
    score = (advantage.detach() * _log_probability(mix)).mean()
    return score + surrogate(mix, sensitivities) - dot(mix.twin, {n: s.detach() for n, s in sensitivities.items()})


def _log_probability(mix: Mix) -> Tensor:
    assert mix.log_probability is not None
    return torch.stack([p.sum(-1) for p in mix.log_probability.values()]).sum(0)
