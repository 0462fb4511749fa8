"""Other tensors in the place of a module's own, for a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

_Places = list[tuple[dict[str, Any], str, int]]


class Swapping:
    """Where a module keeps its parameters and buffers, so that others can take their places for a call.

    What ``torch.func.functional_call`` does, which looks for all places again in every call. A tensor that stands in several
    places is swapped in all of them. The module may not get other layers later.

    Args:
        module: whose tensors are swapped.

    Attributes:
        parameters: the name of every parameter, as ``named_parameters`` gives it.
        buffers: those of ``named_buffers``.
    """

    def __init__(self, module: nn.Module) -> None:
        modules = list(module.modules())
        of_parameter = {id(p): (i, name) for i, (name, p) in enumerate(module.named_parameters())}
        of_buffer = {id(b): (i, name) for i, (name, b) in enumerate(module.named_buffers())}
        self.parameters = [name for _, name in of_parameter.values()]
        self.buffers = [name for _, name in of_buffer.values()]
        self._places: _Places = [
            (m._parameters, name, of_parameter[id(p)][0])
            for m in modules
            for name, p in m._parameters.items()
            if p is not None
        ]
        self._buffer_places: _Places = [
            (m._buffers, name, of_buffer[id(b)][0]) for m in modules for name, b in m._buffers.items() if b is not None
        ]

    def now(self) -> list[Tensor]:
        """The tensors that stand where parameters stand, in the order of ``parameters``."""
        return _standing(self._places, len(self.parameters))

    def buffers_now(self) -> list[Tensor]:
        """The tensors that stand where buffers stand, in the order of ``buffers``."""
        return _standing(self._buffer_places, len(self.buffers))

    @contextmanager
    def holding(self, parameters: Sequence[Tensor], buffers: Sequence[Tensor]) -> Iterator[None]:
        """These parameters and buffers for a while; a network that counts writes into these buffers."""
        before, kept = self.now(), self.buffers_now()
        _put(self._places, parameters)
        _put(self._buffer_places, buffers)
        try:
            yield
        finally:
            _put(self._places, before)
            _put(self._buffer_places, kept)


def _standing(places: _Places, count: int) -> list[Tensor]:
    found: dict[int, Tensor] = {number: holder[name] for holder, name, number in places}
    return [found[i] for i in range(count)]


def _put(places: _Places, tensors: Sequence[Tensor]) -> None:
    for holder, name, number in places:
        holder[name] = tensors[number]
