"""Measuring a classifier: evaluation mode that leaves no trace, and the running sums of its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphnas.errors import GraphnasError


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every submodule has the mode that it had before."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def device_of(network: nn.Module) -> torch.device:
    """Where the parameters of a network live; the CPU when it has none."""
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def check_output(output: Tensor, rows: int, classes: int) -> None:
    """Check that a network returned one row of logits an example.

    Raises:
        GraphnasError: the shape is not ``[rows, classes]``.
    """
    if tuple(output.shape) != (rows, classes):
        raise GraphnasError(f"the network returned shape {list(output.shape)}, but the task needs [{rows}, {classes}]")


class Classification:
    """Running accuracy (in %) and mean cross entropy (in nats) over batches of logits.

    Both are NaN as soon as one logit is NaN: a broken network must not win by the class that ``argmax`` happens to
    return.
    """

    def __init__(self) -> None:
        self.count = 0
        self.correct = 0
        self.nats = 0.0
        self.broken = False

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch of logits ``[B, classes]`` and labels ``[B]``."""
        self.count += len(labels)
        self.correct += int((logits.argmax(dim=1) == labels).sum())
        self.nats += float(functional.cross_entropy(logits.double(), labels, reduction="sum"))
        self.broken = self.broken or bool(torch.isnan(logits).any())

    def result(self) -> dict[str, float]:
        """The metrics ``accuracy`` and ``cross_entropy`` of everything added so far."""
        if self.broken or self.count == 0:
            return {"accuracy": float("nan"), "cross_entropy": float("nan")}
        return {"accuracy": 100 * self.correct / self.count, "cross_entropy": self.nats / self.count}
