"""Cells, nets and tiles as one graph, in the manner of LHNN.

LHNN (Wang et al., "LHNN: Lattice Hypergraph Neural Network for VLSI Congestion Prediction", DAC 2022) passes messages between tiles
and the nets whose box touches them, and between neighbouring tiles. Here cells are vertices too: nets hear of their cells through
pins, and tiles of the cells that stand on them. Message passing is PyG's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import HeteroConv, SAGEConv

from eda.tile_graph import CELL_FEATURES, NET_FEATURES

RELATIONS = (
    ("cell", "pin", "net"),
    ("net", "pin", "cell"),
    ("cell", "on", "tile"),
    ("tile", "under", "cell"),
    ("net", "over", "tile"),
    ("tile", "under", "net"),
    ("tile", "beside", "tile"),
)


class LatticeHypergraph(nn.Module):
    """Logits ``[B, 1, H, W]`` of maps ``[B, C, H, W]`` and the graph of ``eda.tile_graph.joined``; 0 outside of the dies.

    The last channel of the maps tells the tiles of a die (1) from padding (0). A layer is
    ``h <- ReLU(norm(h + sum over relations (W1 mean over neighbours + W2 h)))`` for every kind of vertex.

    Args:
        channels: C.
        width: features of a vertex.
        depth: layers.
    """

    def __init__(self, channels: int, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        sizes = {"cell": CELL_FEATURES, "net": NET_FEATURES, "tile": channels}
        self.start = nn.ModuleDict({kind: nn.Linear(size, width) for kind, size in sizes.items()})
        self.layers = nn.ModuleList(
            HeteroConv({relation: SAGEConv((width, width), width) for relation in RELATIONS}) for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.ModuleDict({kind: nn.LayerNorm(width) for kind in sizes}) for _ in range(depth))
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor, cells: Tensor, nets: Tensor, pins: Tensor, places: Tensor, covers: Tensor) -> Tensor:
        """See the class."""
        inside = x[:, -1] > 0
        number = torch.cumsum(inside.flatten(), 0) - 1  # of every tile among those of dies
        standing = torch.stack([torch.arange(len(places), device=places.device), number[places]])
        over = torch.stack([covers[0], number[covers[1]]])
        edges = {
            ("cell", "pin", "net"): pins,
            ("net", "pin", "cell"): pins.flip(0),
            ("cell", "on", "tile"): standing,
            ("tile", "under", "cell"): standing.flip(0),
            ("net", "over", "tile"): over,
            ("tile", "under", "net"): over.flip(0),
            ("tile", "beside", "tile"): _beside(inside, number),
        }
        given = {"cell": cells, "net": nets, "tile": x.permute(0, 2, 3, 1)[inside]}
        state = {kind: torch.relu(self.start[kind](value)) for kind, value in given.items()}
        for layer, norms in zip(self.layers, self.norms, strict=True):
            heard: dict[str, Tensor] = layer(state, edges)
            assert isinstance(norms, nn.ModuleDict)
            state = {kind: torch.relu(norms[kind](value + heard[kind])) for kind, value in state.items()}
        score = self.last(state["tile"]).squeeze(1)
        return x.new_zeros(inside.shape).masked_scatter(inside, score).unsqueeze(1)


def _beside(inside: Tensor, number: Tensor) -> Tensor:
    """int64[2, e]: pairs of tiles of a die that share an edge, both ways."""
    place = number.view(inside.shape)
    pairs = []
    for axis in (1, 2):
        size = inside.shape[axis] - 1
        first, second = (slice_.narrow(axis, k, size) for slice_, k in ((inside, 0), (inside, 1)))
        both = first & second
        pairs.append(torch.stack([place.narrow(axis, 0, size)[both], place.narrow(axis, 1, size)[both]]))
    found = torch.cat(pairs, 1)
    return torch.cat([found, found.flip(0)], 1)
