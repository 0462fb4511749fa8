"""How much memory autograd keeps between the forward and the backward pass."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn


class SavedBytes:
    """Counts what a forward pass keeps for the backward pass, the weights of a module apart; each piece of memory once.

    ``with SavedBytes(module) as kept: output = module(x)``; then ``kept.bytes``. The output must still be alive by then. What is
    recomputed in a backward pass within the block counts too, so leave that outside.
    """

    def __init__(self, module: nn.Module) -> None:
        self._own = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self._sizes: dict[int, int] = {}
        self._hooks: Any = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda x: x)

    @property
    def bytes(self) -> int:
        """The sum so far."""
        return sum(self._sizes.values())

    def _pack(self, x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._sizes[storage.data_ptr()] = storage.nbytes()
        return x

    def __enter__(self) -> SavedBytes:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)
