"""Concrete (Gumbel-softmax) samples: of SNAS, and with the coupled conditional sample of UNAS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graphnas.oneshot.base import Alpha, Group, Mix, Tensors
from graphnas.oneshot.relaxations.base import Relaxation, exponentials, log_softmax
from graphnas.oneshot.schedules import Constant, Linear, Schedule


@dataclass(frozen=True)
class Concrete(Relaxation):
    """``softmax((alpha + Gumbel) / temperature)`` (Maddison et al.; Jang et al.; ICLR 2017).

    ``Mix.log_probability`` is the logarithm of the density of the sample, which is held constant, so its gradient is the
    score function (Maddison et al., equation 10).

    Attributes:
        temperature: of the samples; SNAS (Xie et al., ICLR 2019) lowers it from 1 to 0.03.
        mean: of fresh parameters.
        deviation: of fresh parameters.
    """

    temperature: Schedule = Linear(1.0, 0.03)  # noqa: RUF009 - frozen
    mean: float = 1.0
    deviation: float = 0.01

    def initial(self, groups: Sequence[Group], generator: torch.Generator) -> Alpha:
        """Normal parameters."""
        return self.drawn(groups, generator, self.mean, self.deviation)

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """One relaxed sample for each row, or ``n`` of them."""
        heat = self.temperature(progress)
        weights: Tensors = {}
        density: Tensors = {}
        for g in groups:
            log = log_softmax(alpha[g.name], g.mask)
            noisy = (log - exponentials(log, generator, n).log()) / heat
            sample = noisy.log_softmax(-1)
            weights[g.name] = sample.exp()
            density[g.name] = concrete_log_density(log, sample.detach(), g.mask, heat)
        return Mix(weights, log_probability=density, rows=weights)

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """The probabilities of the options."""
        weights = {g.name: log_softmax(alpha[g.name], g.mask).exp() for g in groups}
        return Mix(weights, rows=weights)


def concrete_log_density(log: Tensor, sample: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """The logarithm of the concrete density.

    Args:
        log: ``[R, K]`` logarithms of the probabilities.
        sample: ``[..., R, K]`` logarithms of the sample.
        mask: ``[R, K]``.
        temperature: of the sample.

    Returns:
        ``[..., R]``.
    """
    k = mask.sum(-1).to(log.dtype)
    # Masked entries have no place in the sums; they are put to where they neither count nor make NaN.
    terms = log.masked_fill(~mask, 0.0) - temperature * sample.masked_fill(~mask, 0.0)
    jacobian = sample.masked_fill(~mask, 0.0).sum(-1)
    total = terms.masked_fill(~mask, -math.inf).logsumexp(-1)
    constant = torch.lgamma(k) + (k - 1) * math.log(temperature)
    return constant + terms.masked_fill(~mask, 0.0).sum(-1) - jacobian - k * total


@dataclass(frozen=True)
class CoupledConcrete(Relaxation):
    """A relaxed sample, its argmax, and a relaxed sample given that argmax, all from the same noise.

    With exponential noise E, an option with probability q_i comes at time E_i / q_i and the first one, k, is chosen.
    The first time T is independent of k, and what each other option still had to wait, S_i = E_i - q_i T, is again
    exponential. Holding T and S fixed, the times S_i / q_i + T are a sample given k. Its value is that of the original,
    its gradient is the conditional one (Tucker et al., NeurIPS 2017, appendix; Vahdat et al., CVPR 2020).

    Attributes:
        temperature: of the relaxed samples.
        per_example: whether each example has its own sample.
    """

    temperature: Schedule = Constant(0.4)  # noqa: RUF009 - frozen
    per_example: bool = True

    def initial(self, groups: Sequence[Group], generator: torch.Generator) -> Alpha:
        """Zeros: every option has the same probability (Vahdat et al.)."""
        return self.drawn(groups, generator, 0.0, 0.0)

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """One sample for each row, or ``n`` of them; ``log_probability`` is that of ``hard``."""
        heat = self.temperature(progress)
        weights: Tensors = {}
        hard: Tensors = {}
        twin: Tensors = {}
        probability: Tensors = {}
        for g in groups:
            log = log_softmax(alpha[g.name], g.mask)
            noise = exponentials(log, generator, n)
            # Minus the logarithms of the times.
            early = log - noise.log()
            chosen = early.argmax(-1, keepdim=True)
            hard[g.name] = torch.zeros_like(early).scatter_(-1, chosen, 1.0)
            weights[g.name] = (early / heat).softmax(-1)
            given = _given(log, noise, early.detach(), chosen, g.mask)
            twin[g.name] = (given / heat).softmax(-1)
            probability[g.name] = log.expand_as(early).gather(-1, chosen).squeeze(-1)
        return Mix(weights, hard=hard, twin=twin, log_probability=probability, rows=weights)

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """The probabilities of the options."""
        weights = {g.name: log_softmax(alpha[g.name], g.mask).exp() for g in groups}
        return Mix(weights, rows=weights)


def _given(log: Tensor, noise: Tensor, early: Tensor, chosen: Tensor, mask: Tensor) -> Tensor:
    log = log.masked_fill(~mask, 0.0)
    first = -early.gather(-1, chosen)  # log T
    wait = (noise - (log.detach() + first).exp()).clamp_min(torch.finfo(log.dtype).tiny)
    times = torch.logaddexp(wait.log() - log, first)
    times = torch.where(torch.zeros_like(times, dtype=torch.bool).scatter_(-1, chosen, True), first, times)
    return (-times).masked_fill(~mask, -math.inf)
