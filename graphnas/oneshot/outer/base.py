"""What an outer step is and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from graphnas.oneshot.base import Alpha, Mix, Tensors
from graphnas.oneshot.context import Context


@dataclass(frozen=True, eq=False)
class WeightGradient:
    """The weights' half of a step.

    Attributes:
        loss: of the batch.
        gradients: by parameter.
        buffers: after the evaluation.
    """

    loss: Tensor
    gradients: Tensors
    buffers: Tensors


@dataclass(frozen=True, eq=False)
class Update:
    """What an outer step found: either a surrogate or a delta.

    Attributes:
        mix: the mixing weights that were evaluated, connected to alpha; regularisers act on them.
        surrogate: a number whose gradient with respect to alpha is the step's estimate of the gradient.
        delta: what to add to alpha as it is.
        weights: the weights' gradient of the same evaluation, where one backward pass serves both.
        log: figures worth keeping.
    """

    mix: Mix | None = None
    surrogate: Tensor | None = None
    delta: Alpha | None = None
    weights: WeightGradient | None = None
    log: dict[str, float] = field(default_factory=dict)


class Outer(Protocol):
    """One step of the architecture."""

    @property
    def gives_delta(self) -> bool:
        """Whether updates are added as they are, without the architecture's optimiser and regularisers."""

    def __call__(self, context: Context) -> Update:
        """The update at this moment; changes nothing but the count of evaluations."""
