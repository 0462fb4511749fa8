"""The manual models by name, for both tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from eda.models.convolutional import FLNet, JNet, UNet
from eda.models.lattice import LatticeHypergraph
from eda.models.pros import PROS
from eda.models.routenet import RouteNetCount, RouteNetFCN
from graphnas.errors import unknown


@dataclass(frozen=True)
class Manual:
    """A hand-made model.

    Args:
        build: makes it for a number of channels.
        graph: it reads the graph of ``eda.tile_graph`` after the maps.
    """

    build: Callable[[int], nn.Module]
    graph: bool = False


class Counting(nn.Module):
    """A map model as a counter: the mean of its map over the tiles of the die, ``[B, 1]``.

    Args:
        network: maps ``[B, C, H, W]``, the last channel of which is 1 on the die, to ``[B, 1, H, W]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """See the class."""
        inside = x[:, -1:]
        score: Tensor = self.network(x, *more)
        return (score * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)


HOTSPOTS: Mapping[str, Manual] = {
    "RouteNet": Manual(RouteNetFCN),
    "PROS": Manual(PROS),
    "U-Net": Manual(UNet),
    "FLNet": Manual(FLNet),
    "J-Net": Manual(JNet),
    "LHNN": Manual(LatticeHypergraph, graph=True),
}


def _counting(manual: Manual) -> Manual:
    return Manual(lambda channels: Counting(manual.build(channels)), manual.graph)


NETS: Mapping[str, Manual] = {
    "RouteNet": Manual(RouteNetCount),
    **{name: _counting(manual) for name, manual in HOTSPOTS.items() if name != "RouteNet"},
    "RouteNet FCN": _counting(HOTSPOTS["RouteNet"]),
}
MODELS: Mapping[str, Mapping[str, Manual]] = {"nets": NETS, "hotspots": HOTSPOTS}


def manual(task: str, name: str) -> Manual:
    """A manual model of a task, "nets" or "hotspots".

    Raises:
        GraphnasError: there is no such task or model.
    """
    if task not in MODELS:
        raise unknown("routability task", task, MODELS)
    if name not in MODELS[task]:
        raise unknown("manual model", name, MODELS[task])
    return MODELS[task][name]
