"""How the network of NAO is trained: on labelled architectures, on structures alone, and on pseudo-labels (SemiNAS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor

from predictors.losses import Loss
from predictors.nao_latent import Inputs, Latent
from predictors.nao_network import NAONetwork


@dataclass(frozen=True)
class Examples:
    """What is learned from.

    Attributes:
        inputs: what the encoder reads of n architectures.
        decisions: ``[n, C]``, what the decoder writes for them.
        targets: ``[m]``, m <= n: scores of the first m; from the others only the writing is learned.
    """

    inputs: Inputs
    decisions: Tensor
    targets: Tensor

    def some(self, batch: int, generator: torch.Generator) -> Examples:
        """At most ``batch`` random ones with a score, and at most half as many without."""
        known, count = len(self.targets), len(self.decisions)
        scored = torch.randperm(known, generator=generator)[:batch]
        other = known + torch.randperm(count - known, generator=generator)[: (batch + 1) // 2]
        rows = torch.cat([scored, other])
        return Examples(self.inputs[rows], self.decisions[rows], self.targets[scored])


@dataclass(frozen=True)
class Objective:
    """The joint loss ``weight * error of the scores + (1 - weight) * negative log-likelihood of the writings``.

    Attributes:
        error: between predicted and true scores.
        weight: of the error, in [0, 1] (the paper's lambda).
    """

    error: Loss
    weight: float

    def __call__(self, network: NAONetwork, examples: Examples) -> Tensor:
        """The loss, a scalar."""
        latent: Latent = network.encoder(examples.inputs)
        known = len(examples.targets)
        predicted = network.score(Latent(latent.rows[:known], latent.mask[:known]))
        writing = network.decoder.loss(latent, examples.decisions)
        return self.weight * self.error(predicted, examples.targets) + (1 - self.weight) * writing


@dataclass(frozen=True)
class Schedule:
    """Optimisation by AdamW (Loshchilov & Hutter, 2019) with a cosine schedule to 0 and gradients of norm 5 at most.

    Attributes:
        steps: of the optimiser.
        batch: labelled architectures in a step, at most; half as many structures and as many pseudo-labelled ones join them.
        learning_rate: at the start.
        weight_decay: its strength.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class PseudoLabels:
    """The unlabelled part of SemiNAS (Luo et al., NeurIPS 2020), which joins for the last third of the steps.

    Attributes:
        make: the examples with the scores that the network of that moment predicts; called once.
        weight: of their loss beside that of the labelled ones. A step draws as many of either, so the labelled ones count as
            if they were repeated until there are as many as pseudo-labelled ones.
        generator: of their draws; those of the labelled part are what they would be without them.
    """

    make: Callable[[], Examples]
    weight: float
    generator: torch.Generator


def train(
    network: NAONetwork,
    known: Examples,
    objective: Objective,
    schedule: Schedule,
    generator: torch.Generator,
    pseudo: PseudoLabels | None = None,
) -> None:
    """Minimise the joint loss on random batches; the network is in evaluation mode afterwards.

    Args:
        network: what to train, in place.
        known: labelled architectures and structures.
        objective: the joint loss.
        schedule: how to optimise it.
        generator: of the draws.
        pseudo: unlabelled architectures for the joint training of SemiNAS.
    """
    parameters, rate = list(network.parameters()), schedule.learning_rate
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=schedule.weight_decay, fused=True)
    joint: Examples | None = None
    network.train()
    for step in range(schedule.steps):
        if pseudo is not None and step == schedule.steps - schedule.steps // 3:
            joint = pseudo.make()
        optimiser.param_groups[0]["lr"] = rate * (1 + cos(pi * step / schedule.steps)) / 2
        loss = objective(network, known.some(schedule.batch, generator))
        if joint is not None and pseudo is not None:
            loss = loss + pseudo.weight * objective(network, joint.some(schedule.batch, pseudo.generator))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
    network.eval()
