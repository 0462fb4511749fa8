"""What a network is trained for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Signature:
    """What a network must accept and return, as far as a Space needs to know to build one.

    Attributes:
        kind: "image" (input ``x[B, C, H, W]``) or "node" (inputs ``x[N, F]`` and ``edge_index[2, E]``).
        input: shape of ``x`` without its first axis: (C, H, W) or (F,).
        outputs: number of classes or targets: the network returns ``[B, outputs]`` or ``[N, outputs]``.
        nodes, edges: size of the (largest) graph of a node task; multiply-adds depend on it.
    """

    kind: str
    input: tuple[int, ...]
    outputs: int
    nodes: int = 0
    edges: int = 0


@dataclass(frozen=True)
class Metric:
    """A named figure of merit and its direction."""

    name: str
    maximise: bool = True

    def score(self, value: float) -> float:
        """The value with the sign under which larger is better."""
        return value if self.maximise else -value


class Batch(NamedTuple):
    """``inputs`` go to the network in this order; ``rows`` selects the rows of the output that count (None: all)."""

    inputs: tuple[Tensor, ...]
    target: Tensor
    rows: Tensor | None = None


class Task(ABC):
    """Data splits, loss and metric. A Task knows nothing of architectures.

    Attributes:
        name: the registered name.
        signature: what the network must look like from outside.
        metric: selection is by this metric on the validation split.
    """

    name: str
    signature: Signature
    metric: Metric

    @abstractmethod
    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass over a split ("train", "validation", "test").

        Args:
            split: which split.
            generator: shuffles and augments when given; without it the order is fixed and nothing is augmented.
            share: part of the training data to use (a fixed subset), in (0, 1].
        """

    @abstractmethod
    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The mean training loss of a batch (a scalar)."""

    @abstractmethod
    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """All metrics of a network on a split, in evaluation mode and without gradients; leaves its mode as it was."""

    def describe(self) -> dict[str, Any]:
        """Settings that reproduce the task, as JSON values."""
        return {"name": self.name}
