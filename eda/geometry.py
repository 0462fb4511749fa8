"""Cells, pins and nets as bare numbers: what feature maps are made of, from whatever reader."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eda.grid import Floats, Grid, Places
from eda.placement import Placement, boxes_of
from eda.technology import Technology
from graphnas.errors import GraphnasError


@dataclass(frozen=True, eq=False)
class Geometry:
    """A placement in database units; whatever is unplaced is NaN.

    Args:
        cells: float64[n, 4], (x1, y1, x2, y2).
        blocks: bool[n], which cells are hard macros.
        pins: float64[p, 2].
        is_port: bool[p], which pins are ports of the design.
        start: int64[nets + 1], the pins of net k are start[k] .. start[k + 1].
        ports: float64[m, 2].
        units: database units of a micron (or of whatever unit lengths are to be told in).
        least: smallest width and height of a net's box, one pitch of the wires that it would take.
    """

    cells: Floats
    blocks: NDArray[np.bool_]
    pins: Floats
    is_port: NDArray[np.bool_]
    start: Places
    ports: Floats
    units: float
    least: tuple[float, float]

    def __post_init__(self) -> None:
        if not (self.least[0] > 0 and self.least[1] > 0):
            raise GraphnasError(
                "the LEF names no vertical and horizontal routing layer with a pitch above the first one; "
                "give the technology LEF too"
            )

    def placed(self) -> Geometry:
        """Without the pins that have no place (NaN), and without the nets that then have none."""
        # One column is enough: a pin has both coordinates or none.
        placed = ~np.isnan(self.pins[:, 0])
        if placed.all() and (np.diff(self.start) > 0).all():
            return self
        before = np.append(0, np.cumsum(placed))
        count = np.diff(before[self.start])
        start = np.append(0, np.cumsum(count[count > 0]))
        return replace(self, pins=self.pins[placed], is_port=self.is_port[placed], start=start)


def geometry_of(placement: Placement, technology: Technology) -> Geometry:
    """The numbers of a placement, without pins that have no place.

    Raises:
        GraphnasError: macros, pins or the pitches of the routing layers are missing from the LEF.
    """
    macros = [technology.macro(name) for name in placement.cells.macros]
    blocks = np.array([macro.is_block for macro in macros], np.bool_)[placement.cells.macro]
    across, up = technology.wire_pitch()
    return Geometry(
        placement.cell_boxes(technology),
        blocks,
        placement.pin_positions(technology),
        placement.nets.pin_cell < 0,
        placement.nets.start,
        placement.port_positions(),
        float(placement.units),
        (across * placement.units, up * placement.units),
    ).placed()


@dataclass(frozen=True, eq=False)
class Wires:
    """The nets of a geometry that have a placed pin, on a grid.

    Args:
        pins: float64[p, 2], placed pins; those beyond the grid moved to its border.
        is_port: bool[p].
        start: int64[n + 1].
        boxes: float64[n, 4], around the pins, width and height at least the smallest allowed.
        width: float64[n], of these boxes.
        height: float64[n].
        spans: int64[n, 4], (i1, j1, i2, j2): the first and last column and row that the pins touch.
    """

    pins: Floats
    is_port: NDArray[np.bool_]
    start: Places
    boxes: Floats
    width: Floats
    height: Floats
    spans: Places

    def of_pins(self, values: Floats) -> Floats:
        """Values of nets, for every pin."""
        return np.repeat(values, np.diff(self.start))

    @property
    def short(self) -> NDArray[np.bool_]:
        """bool[n]: nets of which all pins lie in one tile."""
        i1, j1, i2, j2 = self.spans.T
        found: NDArray[np.bool_] = (i1 == i2) & (j1 == j2)
        return found


def wires_of(geometry: Geometry, grid: Grid, widen: str = "middle") -> Wires:
    """The nets on a grid.

    Args:
        geometry: the placement.
        grid: the tiles.
        widen: how a box narrower than a wire grows: "middle" (to both sides) or "corner" (up and to the right).

    Raises:
        GraphnasError: another word than these.
    """
    if widen not in ("middle", "corner"):
        raise GraphnasError(f"widen is 'middle' or 'corner', not {widen!r}")
    geometry = geometry.placed()
    pins, start = geometry.pins, geometry.start
    tight = boxes_of(pins, start)
    inside = grid.clip(tight)
    if inside is not tight:  # a look at the boxes spares one at the pins, of which there are four times as many
        pins = np.clip(pins, [grid.x[0], grid.y[0]], [grid.x[-1], grid.y[-1]])
        tight = inside
    edges = np.ascontiguousarray(tight.T)  # numbers side by side are read several times faster
    spans = np.empty((4, len(tight)), np.int64).T
    boxes = np.empty((4, len(tight))).T
    sizes = []
    for axis, lines, tile in ((0, grid.x, grid.columns), (1, grid.y, grid.rows)):
        low, high = edges[axis], edges[axis + 2]
        spans[:, axis], spans[:, axis + 2] = tile(low), tile(high)
        size = np.maximum(high - low, geometry.least[axis])
        begin = low if widen == "corner" else (low + high - size) / 2
        # Grown boxes stay on the grid, so that no wire is lost.
        begin = np.maximum(np.minimum(begin, lines[-1] - size), lines[0])
        end = begin + size
        boxes[:, axis], boxes[:, axis + 2] = begin, end
        sizes.append(end - begin)
    return Wires(pins, geometry.is_port, start, boxes, sizes[0], sizes[1], spans)
