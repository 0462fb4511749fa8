"""Losses that fit predicted scores to true ones, by value, by pairs and by lists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

Loss = Callable[[Tensor, Tensor], Tensor]


def mse(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean squared error of predicted scores ``[n]`` (0 for n = 0)."""
    return (predicted - true).square().sum() / max(len(true), 1)


def pair_hinge(predicted: Tensor, true: Tensor, margin: float = 0.1) -> Tensor:
    """Mean of ``max(0, margin - (s_i - s_j))`` over all ordered pairs with ``y_i > y_j``; 0 without such pairs.

    Depends on the true scores ``[n]`` by their order alone (as GATES trains, Ning et al., ECCV 2020).
    """
    better = true[:, None] > true
    gaps = predicted[:, None] - predicted
    return (margin - gaps).clamp_min(0).mul(better).sum() / better.sum().clamp_min(1)


def pair_bce(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean of ``log(1 + exp(-(s_i - s_j)))`` over all ordered pairs with ``y_i > y_j``; 0 without such pairs.

    The negative log-likelihood of the pairs' order (RankNet, Burges et al., ICML 2005).
    """
    better = true[:, None] > true
    gaps = predicted[:, None] - predicted
    each = binary_cross_entropy_with_logits(gaps, torch.ones_like(gaps), reduction="none")
    return each.mul(better).sum() / better.sum().clamp_min(1)


def listmle(predicted: Tensor, true: Tensor) -> Tensor:
    """Negative log-likelihood per item of the true order, best first, under Plackett-Luce (Xia et al., ICML 2008).

    With the scores s in the order of the true ones: ``mean_i [log sum_{j >= i} exp s_j - s_i]``; of equal true scores the
    earlier comes first.
    """
    if not len(true):
        return predicted.sum()
    ordered = predicted[torch.argsort(true, descending=True, stable=True)]
    return (ordered.flip(0).logcumsumexp(0).flip(0) - ordered).mean()


def loss_of(name: str, margin: float) -> Loss:
    """The loss of this name; ``margin`` is that of ``pair_hinge``."""
    return partial(pair_hinge, margin=margin) if name == "pair_hinge" else LOSSES[name]


LOSSES: dict[str, Loss] = {"listmle": listmle, "mse": mse, "pair_bce": pair_bce, "pair_hinge": pair_hinge}
