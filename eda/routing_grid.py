"""The three-dimensional grid of tracks on which the router works, and which of its nodes pins and wires touch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eda.placement import Placement, Tracks, turn
from eda.technology import Macro, Technology
from eda.wires import Wiring
from graphnas.errors import GraphnasError

Nodes = NDArray[np.int64]


@dataclass(frozen=True)
class RoutingGrid:
    """Nodes where tracks cross, the same columns and rows on every layer.

    Node (layer, row, column) has the number (layer * rows + row) * columns + column.

    Args:
        layers: names of the routing layers, from the lowest; the lowest holds the pins.
        vertical: for each layer, whether its wires run vertically.
        strides: for each layer, one track in how many it uses across its direction.
        start: x and y of node (0, 0) in database units.
        step: distance of columns and of rows.
        columns: number of columns.
        rows: number of rows.
    """

    layers: tuple[str, ...]
    vertical: tuple[bool, ...]
    strides: tuple[int, ...]
    start: tuple[int, int]
    step: tuple[int, int]
    columns: int
    rows: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(layers, rows, columns)."""
        return len(self.layers), self.rows, self.columns

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.layers) * self.rows * self.columns

    def nearest(self, x: float, y: float) -> tuple[int, int]:
        """(row, column) of the node nearest to a point, inside the grid."""
        column = round((x - self.start[0]) / self.step[0])
        row = round((y - self.start[1]) / self.step[1])
        return min(max(row, 0), self.rows - 1), min(max(column, 0), self.columns - 1)

    def number(self, layer: int, row: int, column: int) -> int:
        """Number of a node."""
        return (layer * self.rows + row) * self.columns + column

    def covered(self, layer: int, box: Sequence[float], slack: float = 0.0) -> Nodes:
        """Nodes of a layer inside a rectangle (x1, y1, x2, y2), which is first widened by ``slack`` steps."""
        first, last = [], []
        for axis, count in ((0, self.columns), (1, self.rows)):
            low = (box[axis] - self.start[axis]) / self.step[axis] - slack
            high = (box[axis + 2] - self.start[axis]) / self.step[axis] + slack
            first.append(max(0, int(np.ceil(low - 1e-9))))
            last.append(min(count - 1, int(np.floor(high + 1e-9))))
        rows = np.arange(first[1], last[1] + 1)
        columns = np.arange(first[0], last[0] + 1)
        return ((layer * self.rows + rows)[:, None] * self.columns + columns).ravel()

    def positions(self, nodes: Nodes) -> tuple[Nodes, Nodes, Nodes]:
        """Layer, and x and y in database units, of nodes."""
        layer, row, column = np.unravel_index(nodes, self.shape)
        return layer, self.start[0] + column * self.step[0], self.start[1] + row * self.step[1]


def routing_grid(placement: Placement, technology: Technology) -> RoutingGrid:
    """The grid of a placement's tracks.

    Raises:
        GraphnasError: fewer than two layers above the first have tracks, or they do not alternate between directions.
    """
    tracks: dict[str, Tracks] = {}
    for line in placement.tracks:
        for name in line.layers:
            # A DEF may give tracks in the other direction too; the layer's own direction counts.
            if (line.axis == "X") == (
                technology.layers[name].direction == "VERTICAL" if name in technology.layers else True
            ):
                tracks.setdefault(name, line)
    layers = []
    for layer in technology.routing_layers:
        if layer.name not in tracks:
            break
        layers.append(layer)
    vertical = tuple(layer.direction == "VERTICAL" for layer in layers)
    if len(layers) < 3 or not any(vertical[1:]) or all(vertical[1:]):
        raise GraphnasError(
            f"{len(layers)} routing layers of the technology have TRACKS; a vertical and a horizontal one are needed above the first"
        )
    base = []
    for upright in (True, False):
        lines = [tracks[layer.name] for layer, way in zip(layers[1:], vertical[1:], strict=True) if way == upright]
        base.append(min(lines, key=lambda line: line.step))
    if min(line.step for line in base) <= 0 or min(line.count for line in base) < 1:
        raise GraphnasError("the TRACKS of a routing layer have no step or no count")
    strides = tuple(
        max(1, round(tracks[layer.name].step / base[0 if way else 1].step))
        for layer, way in zip(layers, vertical, strict=True)
    )
    return RoutingGrid(
        tuple(layer.name for layer in layers),
        vertical,
        strides,
        (base[0].start, base[1].start),
        (base[0].step, base[1].step),
        base[0].count,
        base[1].count,
    )


def wire_nodes(grid: RoutingGrid, wiring: Wiring) -> list[Nodes]:
    """The nodes of each wire and via: one array for each, whose nodes hang together.

    Ends that are off the grid (stubs inside a pin) go to their nearest node.
    """
    found = []
    for layer, x1, y1, x2, y2 in wiring.segments.tolist():
        if layer >= len(grid.layers):
            raise GraphnasError(f"a wire lies on a layer above {grid.layers[-1]}, which has no tracks")
        (row1, column1), (row2, column2) = grid.nearest(x1, y1), grid.nearest(x2, y2)
        rows = np.arange(min(row1, row2), max(row1, row2) + 1)
        columns = np.arange(min(column1, column2), max(column1, column2) + 1)
        found.append(((layer * grid.rows + rows)[:, None] * grid.columns + columns).ravel())
    for low, x, y in wiring.vias.tolist():
        row, column = grid.nearest(x, y)
        found.append(np.array([grid.number(low, row, column), grid.number(low + 1, row, column)]))
    return found


class PinNodes:
    """Which nodes the pins of a placement touch.

    Args:
        grid: the routing grid.
        placement: the placed design.
        technology: its library.
    """

    def __init__(self, grid: RoutingGrid, placement: Placement, technology: Technology) -> None:
        self.grid = grid
        self.placement = placement
        self.technology = technology
        self.macros = [technology.macro(name) for name in placement.cells.macros]
        self._index: Mapping[str, int] = {name: place for place, name in enumerate(grid.layers)}

    def shapes(self, pin: int) -> list[tuple[int, NDArray[np.float64]]]:
        """The shapes of one pin of a net: (layer, rectangle in database units), on the layers of the grid."""
        nets = self.placement.nets
        cell, index = int(nets.pin_cell[pin]), int(nets.pin_index[pin])
        if cell < 0:
            return self._port(index)
        macro = self.macros[self.placement.cells.macro[cell]]
        of_macro = macro.pin(nets.pin_names[index])
        boxes = self._turned(macro, of_macro.rectangles, cell)
        return [
            (self._index[name], box) for name, box in zip(of_macro.layers, boxes, strict=True) if name in self._index
        ]

    def _port(self, index: int) -> list[tuple[int, NDArray[np.float64]]]:
        ports = self.placement.ports
        if ports.layers[index] not in self._index or ports.status[index] == 0:
            return []
        corners = ports.rectangle[index].reshape(2, 2).astype(np.float64)
        turned = turn(corners, ports.orientation[[index, index]], np.zeros((2, 2)))
        place = np.array([ports.x[index], ports.y[index]])
        box = np.concatenate([turned.min(0) + place, turned.max(0) + place])
        return [(self._index[ports.layers[index]], box)]

    def _turned(self, macro: Macro, rectangles: NDArray[np.float64], cell: int) -> NDArray[np.float64]:
        cells, units = self.placement.cells, self.placement.units
        corners = (rectangles.reshape(-1, 2) + np.array(macro.origin)) * units
        count = len(corners)
        orientation = np.full(count, cells.orientation[cell], np.int8)
        size = np.tile(np.array([macro.width, macro.height]) * units, (count, 1))
        points = turn(corners, orientation, size).reshape(-1, 2, 2)
        place = np.array([cells.x[cell], cells.y[cell]])
        return np.concatenate([points.min(1) + place, points.max(1) + place], 1)

    def access(self, pin: int, shapes: Sequence[tuple[int, NDArray[np.float64]]]) -> Nodes:
        """Nodes where a wire may reach a pin: those under its shapes, else the node nearest to its first shape.

        Raises:
            GraphnasError: the pin has no shape on a layer of the grid.
        """
        nodes = [self.grid.covered(layer, box.tolist()) for layer, box in shapes]
        touched = np.unique(np.concatenate(nodes)) if nodes else np.zeros(0, np.int64)
        if len(touched):
            return touched
        if not shapes:
            raise GraphnasError(f"pin {pin} of {self.placement.design!r} has no shape on a routing layer")
        layer, box = shapes[0]
        row, column = self.grid.nearest(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
        return np.array([self.grid.number(layer, row, column)])

    def above_lowest(self) -> Iterator[tuple[int, Nodes]]:
        """Net and nodes of every pin and port with a shape above the lowest layer; the net takes these nodes."""
        nets = self.placement.nets
        owner = nets.net_of_pin()
        high = {
            (kind, place)
            for kind, macro in enumerate(self.macros)
            for place, name in enumerate(nets.pin_names)
            if name in macro.pins and any(self._index.get(layer, 0) > 0 for layer in macro.pins[name].layers)
        }
        for pin, (cell, place) in enumerate(zip(nets.pin_cell.tolist(), nets.pin_index.tolist(), strict=True)):
            if cell < 0:
                yield int(owner[pin]), self.access(pin, self.shapes(pin))
            elif (int(self.placement.cells.macro[cell]), place) in high:
                # A wire within half a track of a shape would touch it or come too near; qrouter keeps clear of these nodes.
                nodes = [self.grid.covered(layer, box.tolist(), 0.5) for layer, box in self.shapes(pin) if layer > 0]
                yield int(owner[pin]), np.unique(np.concatenate(nodes))

    def blocked(self) -> Nodes:
        """Nodes above the lowest layer that an obstruction of a cell covers."""
        found = [np.zeros(0, np.int64)]
        for kind, macro in enumerate(self.macros):
            upper = [place for place, name in enumerate(macro.obstruction_layers) if self._index.get(name, 0) > 0]
            if not upper:
                continue
            for cell in np.flatnonzero(self.placement.cells.macro == kind).tolist():
                boxes = self._turned(macro, macro.obstructions[upper], cell)
                for place, box in zip(upper, boxes, strict=True):
                    found.append(self.grid.covered(self._index[macro.obstruction_layers[place]], box.tolist()))
        return np.unique(np.concatenate(found))
