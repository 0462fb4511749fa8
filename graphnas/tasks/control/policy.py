"""What acts: a network, a supernet, or chance."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from graphnas.errors import GraphnasError
from graphnas.tasks.measure import device_of, evaluating


class Policy(Protocol):
    """From observations to outputs, as they are at the moment of the call, without gradient."""

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs ``[N, outputs]`` for ``x[N, C, H, W]`` (float)."""

    def frozen(self) -> Policy:
        """This policy as it is now, whatever becomes of its weights."""


@dataclass(frozen=True, eq=False)
class NetworkPolicy:
    """A network in evaluation mode, on its own device."""

    network: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        """See ``Policy``."""
        with evaluating(self.network):
            made = self.network(x.to(device_of(self.network)))
        if not isinstance(made, Tensor):
            raise GraphnasError(
                f"the network of an agent gives {len(made)} results, not one; leave out an auxiliary head"
            )
        return made.cpu()

    def frozen(self) -> NetworkPolicy:
        """See ``Policy``."""
        return NetworkPolicy(copy.deepcopy(self.network))


@dataclass(frozen=True)
class Indifferent:
    """The same output for everything: every action is as good as another."""

    outputs: int

    def __call__(self, x: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros(len(x), self.outputs)

    def frozen(self) -> Indifferent:
        """See ``Policy``."""
        return self


def prepared(observations: np.ndarray) -> Tensor:
    """What a network sees of images of uint8: float32 between 0 and 1."""
    return torch.from_numpy(observations).float() / 255
