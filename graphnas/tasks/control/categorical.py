"""Distributions of returns over fixed atoms (C51: Bellemare, Dabney & Munos, ICML 2017)."""

from __future__ import annotations

import torch
from torch import Tensor


def project(probabilities: Tensor, returns: Tensor, discounts: Tensor, atoms: Tensor) -> Tensor:
    """The distribution of ``return + discount * Z`` on the atoms of Z (algorithm 1), ``[B, K]``.

    What falls between two atoms is shared among them in proportion to its nearness, what falls outside goes to the end.

    Args:
        probabilities: of Z, ``[B, K]``.
        returns: ``[B]``.
        discounts: ``[B]``; 0 where nothing follows.
        atoms: ``[K]``, rising in equal steps.
    """
    low, high, step = float(atoms[0]), float(atoms[-1]), float(atoms[1] - atoms[0])
    moved = (returns[:, None] + discounts[:, None] * atoms).clamp(low, high)
    nearness = (1 - (moved[:, None, :] - atoms[:, None]).abs() / step).clamp(0, 1)  # [B, atom, moved atom]
    return (nearness * probabilities[:, None, :]).sum(2)


def duelling(output: Tensor, atoms: int) -> Tensor:
    """Logits ``[B, actions, atoms]`` of a value and advantages, ``[B, (1 + actions) * atoms]`` (Wang et al., ICML 2016, equation 9)."""
    each = output.view(len(output), -1, atoms)
    value, advantage = each[:, :1], each[:, 1:]
    return value + advantage - advantage.mean(1, keepdim=True)


def expected(logits: Tensor, atoms: Tensor) -> Tensor:
    """The mean return of every action, ``[B, actions]``."""
    return logits.softmax(-1) @ atoms


def support(low: float, high: float, count: int) -> Tensor:
    """The atoms ``[count]``."""
    return torch.linspace(low, high, count)
