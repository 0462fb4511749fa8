"""Learning from examples without labels: noisy passes of a network are to agree on them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def disagreement(outputs: Sequence[Tensor], temperature: float) -> Tensor:
    """How far the predictions of several passes lie from their sharpened mean (a scalar).

    With ``p_s`` the softmax of pass s, ``m`` their mean and ``q`` proportional to ``m ** (1 / temperature)``, which gets no gradient,
    this is the mean over rows and passes of ``|p_s - q|^2``. Passes differ by what is random in the network: dropout.

    Source: Feng et al., "Graph random neural networks for semi-supervised learning on graphs", NeurIPS 2020, equations 4 and 5
    (a mean over rows instead of the sum, as in their released code).

    Args:
        outputs: class scores ``[B, C]`` of each pass.
        temperature: in (0, 1]; at 1 the mean is taken as it is.
    """
    predictions = [output.softmax(-1) for output in outputs]
    with torch.no_grad():
        mean = torch.stack(predictions).mean(0)
        target = mean.log().div(temperature).softmax(-1)  # powers as logarithms: no underflow for a low temperature
    return torch.stack([(p - target).square().sum(-1).mean() for p in predictions]).mean()
