"""What a network is trained for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SPLITS = ("train", "validation", "test")


class Extra(NamedTuple):
    """A further input of a network, after ``x``: what describes all examples of a batch together, so without a batch axis.

    Attributes:
        name: of the argument.
        shape: with usual sizes for one example, which only multiply-adds depend on.
        points_to: of whole numbers, what those of each row number: rows of the input of that name, or all pixels of "x".
    """

    name: str
    shape: tuple[int, ...]
    points_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """What a network must accept and return, as far as a Space needs to know to build one.

    Attributes:
        kind: "image" (input ``x[B, C, H, W]``) or "node" (inputs ``x[N, F]`` and ``edge_index[2, E]``). Tasks on whole
            graphs and on links are of kind "node" too: they pool or pair the rows that the network returns. Or
            "translation" (inputs ``source[B, S]`` and ``target[B, T]``, tokens; scores ``[B, T, outputs]`` of the tokens
            that follow those of the target). Or "text" (inputs ``tokens[B, T]`` and ``state[B, H]``, [B, 0] at the beginning;
            the network returns scores ``[B, T, outputs]`` of the next tokens and all states ``[B, T, H]``).
        input: shape of ``x`` without its first axis: (C, H, W), (F,) or (T,); of a translation the usual lengths (S, T),
            which only multiply-adds depend on.
        outputs: number of classes, targets or (for links) features: the network returns ``[B, outputs]`` or
            ``[N, outputs]``.
        nodes, edges: size of the (largest) graph of a node task; multiply-adds depend on it.
        extra: inputs after ``x``. Networks of spaces that take such inputs have all of them as arguments, read or not.
    """

    kind: str
    input: tuple[int, ...]
    outputs: int
    nodes: int = 0
    edges: int = 0
    extra: tuple[Extra, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A named figure of merit and its direction."""

    name: str
    maximise: bool = True

    def score(self, value: float) -> float:
        """The value with the sign under which larger is better."""
        return value if self.maximise else -value


class Batch(NamedTuple):
    """One step of training or measurement.

    ``inputs`` go to the network in this order; ``rows`` selects the rows of the output that count (None: all);
    ``parts`` tells how rows of the output make up an example, where they are more than one: the graph of each node
    ``[N]``, or the two ends of each link ``[2, L]``.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    rows: Tensor | None = None
    parts: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        rows = None if self.rows is None else self.rows.to(device)
        parts = None if self.parts is None else self.parts.to(device)
        return Batch(tuple(value.to(device) for value in self.inputs), self.target.to(device), rows, parts)


class Task(ABC):
    """Data splits, loss and metric. A Task knows nothing of architectures.

    Attributes:
        name: the registered name.
        signature: what the network must look like from outside.
        metric: selection is by this metric on the validation split.
        recipe: what the task's literature does otherwise than the default of its kind, as arguments of ``Recipe``; it
            comes before what a space recommends.
    """

    name: str
    signature: Signature
    metric: Metric
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @abstractmethod
    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass over a split ("train", "validation", "test").

        Args:
            split: which split.
            generator: shuffles and augments when given; without it the order is fixed and nothing is augmented.
            share: part of the training data to use (a fixed subset), in (0, 1].
        """

    def experience(self, network: nn.Module) -> Callable[[torch.Generator | None, float], Iterator[Batch]]:
        """What a network is trained with: from a generator and a share to the training batches of an epoch.

        Those of ``batches``, unless what there is to learn from depends on what the network does (control).
        """
        return partial(self.batches, "train")

    @abstractmethod
    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The mean training loss of a batch (a scalar)."""

    @abstractmethod
    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """All metrics of a network on a split, in evaluation mode and without gradients; leaves its mode as it was."""

    def carried(self, output: Any) -> tuple[Tensor, ...]:
        """What takes the place of the last inputs of the next batch, without gradients: the state of a recurrent network."""
        return ()

    def pace(self, batch: Batch) -> float:
        """A factor of the learning rate for a batch."""
        return 1.0

    def describe(self) -> dict[str, Any]:
        """Settings that reproduce the task, as JSON values."""
        return {"name": self.name}
