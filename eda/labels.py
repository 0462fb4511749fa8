"""Located violations of a placement: it is routed, and the nets that are left over are completed and judged."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eda.grid import Grid
from eda.placement import Placement
from eda.qrouter import Routed, route_detailed
from eda.routing_grid import Nodes, PinNodes, RoutingGrid, routing_grid, wire_nodes
from eda.shorts import OpenNet, Shorts, complete, pieces_of
from eda.technology import Technology
from graphnas.errors import GraphnasError

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Label:
    """Violations of one placement routed at one effort.

    Args:
        effort: of qrouter's rip-up.
        nets: number of nets (of two pins or more).
        failed_first: number of nets that failed when each was routed once.
        failed: number of nets that were not wholly routed at the end.
        clean: failed nets that could be completed without a short.
        unresolved: failed nets that could not be completed at all.
        nodes: int16[n, 3], (layer, row, column) of every shorted node of the routing grid, ascending.
        violated: int64[m], the nets that share a node, ascending.
        hotspots: int64[ny, nx], shorted nodes in every tile.
        usage: int64[layers, ny, nx], nodes in use in every tile, counted once for each net.
        wirelength: of the router's wires, microns.
        vias: of the router.
        seconds: for routing and for completing.
    """

    effort: int
    nets: int
    failed_first: int
    failed: int
    clean: int
    unresolved: int
    nodes: NDArray[np.int16]
    violated: Counts
    hotspots: Counts
    usage: Counts
    wirelength: float
    vias: int
    seconds: tuple[float, float]

    @property
    def rate(self) -> float:
        """Violated nets / nets."""
        return len(self.violated) / self.nets if self.nets else 0.0


def label(
    placement: Placement,
    technology: Technology,
    lef: Path,
    efforts: Iterable[int],
    tiles: Grid,
    *,
    time_limit: float = 900.0,
) -> tuple[Label, ...]:
    """Route a placement at one or several efforts and locate what is left.

    Args:
        placement: all cells placed, with TRACKS for every layer to be used.
        technology: what the LEF says.
        lef: the LEF file.
        efforts: of qrouter's rip-up.
        tiles: for the maps of the labels.
        time_limit: seconds for each run of the router.

    Raises:
        GraphnasError: qrouter is missing or fails, or the placement is incomplete.
    """
    if not len(placement.cells) or (placement.cells.status == 0).any():
        raise GraphnasError(f"design {placement.design!r} has unplaced cells; place it first")
    grid = routing_grid(placement, technology)
    pins = PinNodes(grid, placement, technology)
    labels: list[Label] = []
    for effort in sorted(set(efforts)):
        if labels and not labels[-1].failed:
            # Rip-up ended with every net routed; a higher effort, which only bounds how long it tries, does the same.
            done = labels[-1]
            labels.append(Label(**{**vars(done), "effort": effort, "seconds": (0.0, 0.0)}))
            continue
        routed = route_detailed(placement, technology, lef, effort=effort, time_limit=time_limit)
        labels.append(_labelled(placement, grid, pins, routed, tiles, effort))
    return tuple(labels)


def _labelled(
    placement: Placement, grid: RoutingGrid, pins: PinNodes, routed: Routed, tiles: Grid, effort: int
) -> Label:
    start = time.perf_counter()
    nets = placement.nets
    wires = {net: wire_nodes(grid, wiring) for net, wiring in routed.wires.items()}
    parts = {net: list(found) for net, found in wires.items() if found}
    for net, found in pins.above_lowest():  # ports, and the few pins of cells that reach above the lowest layer
        parts.setdefault(net, []).append(found)
    used = {net: np.unique(np.concatenate(found)) for net, found in parts.items()}
    spans = placement.net_boxes(pins.technology)
    size = spans[:, 2] - spans[:, 0] + spans[:, 3] - spans[:, 1]
    opened = []
    for net in sorted(routed.failed, key=lambda each: (float(size[each]), each)):  # short nets first
        pieces = pieces_of(pins, range(int(nets.start[net]), int(nets.start[net + 1])), wires.get(net, []))
        if len(pieces) > 1:
            opened.append(OpenNet(net, pieces))
    shorts = complete(grid, used, opened, pins.blocked())
    return Label(
        effort=effort,
        nets=len(nets),
        failed_first=len(routed.failed_first),
        failed=len(routed.failed),
        clean=shorts.clean,
        unresolved=len(shorts.unresolved),
        nodes=np.stack(np.unravel_index(shorts.nodes, grid.shape), 1).astype(np.int16),
        violated=shorts.nets,
        hotspots=_per_tile(grid, shorts.nodes, tiles).sum(0),
        usage=_usage(grid, used, shorts, tiles),
        wirelength=sum(wiring.length for wiring in routed.wires.values()) / placement.units,
        vias=sum(len(wiring.vias) for wiring in routed.wires.values()),
        seconds=(routed.seconds, time.perf_counter() - start),
    )


def _usage(grid: RoutingGrid, used: dict[int, Nodes], shorts: Shorts, tiles: Grid) -> Counts:
    everything = np.concatenate([np.zeros(0, np.int64), *used.values(), *shorts.paths.values()])
    return _per_tile(grid, everything, tiles)


def _per_tile(grid: RoutingGrid, nodes: Nodes, tiles: Grid) -> Counts:
    """int64[layers, ny, nx]: nodes in every tile; those beyond the tiles count in the nearest one."""
    layer, x, y = grid.positions(nodes)
    rows, columns = tiles.shape
    place_ = (layer * rows + tiles.rows(y.astype(np.float64))) * columns + tiles.columns(x.astype(np.float64))
    counts = np.bincount(place_, minlength=len(grid.layers) * rows * columns)
    return counts.reshape(len(grid.layers), rows, columns)
