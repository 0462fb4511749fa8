"""Dropout that draws sixteen random bits a number: on a CPU, drawing takes most of the time of training a small GNN."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from graphnas.ops.aggregate import eager

_LEVELS = 1 << 16


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Zero each entry with probability p, rounded to a multiple of 2^-16, and rescale the others to keep the mean.

    Draws from torch's default generator. On other devices than the CPU, and where a network is compiled, exported or
    transformed, it is ``torch.nn.functional.dropout``.
    """
    dropped = round(p * _LEVELS)
    if not training or dropped == 0:
        return x
    if x.device.type != "cpu" or not x.is_floating_point() or dropped == _LEVELS or not eager():
        return functional.dropout(x, p, training)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


class Dropout(torch.nn.Dropout):
    """``torch.nn.Dropout`` with the faster draw."""

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape."""
        return dropout(x, self.p, self.training)
