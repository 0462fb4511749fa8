"""The weights of torch modules as arrays, for files without pickle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn


def weights_of(network: nn.Module, prefix: str = "network") -> dict[str, np.ndarray]:
    """Parameters and buffers by name, each name after the prefix and a dot; the arrays are copies."""
    return {f"{prefix}.{name}": value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}


def set_weights(network: nn.Module, arrays: Mapping[str, np.ndarray], prefix: str = "network") -> None:
    """The inverse of ``weights_of``, for arrays from a file; nothing is changed unless all of them fit.

    Raises:
        KeyError: one is missing.
        ValueError: one has another shape or type, or entries that are not finite.
    """
    weights = {}
    for name, value in network.state_dict().items():
        found = arrays[f"{prefix}.{name}"]
        wanted = value.detach().cpu().numpy()
        if found.dtype != wanted.dtype or found.shape != wanted.shape or not np.isfinite(found).all():
            raise ValueError(f"the weight {name} is not finite {wanted.dtype} of the shape {list(wanted.shape)}")
        weights[name] = torch.from_numpy(found.copy())
    network.load_state_dict(weights)
