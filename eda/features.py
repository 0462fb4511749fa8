"""Feature maps of a placement, one number a tile. RUDY: Spindler and Johannes, "Fast and Accurate Routing Demand
Estimation for Efficient Routability-driven Placement", DATE 2007.

With a net's box of width w and height h (each at least one wire pitch) on tiles of area A:

    RUDY          sum over nets of (1/w + 1/h) |box ∩ tile| / A; 1/h is the horizontal part, 1/w the vertical one
    short, long   the same over nets whose pins all lie in one tile, and over all others
    pin RUDY      sum over pins in the tile of (1/w + 1/h) of their nets

All maps are divided by the tile's own area, also at the upper and right edge where tiles may be smaller. Pins beyond the
grid count in the nearest tile. Unplaced cells and their pins count nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from eda import flylines
from eda.capacity import capacity
from eda.geometry import Geometry, Wires, geometry_of, wires_of
from eda.grid import Floats, Grid, Places
from eda.placement import Placement
from eda.rasters import counted, covered, spans_of, touched
from eda.technology import Technology
from graphnas.errors import GraphnasError, unknown

_Tracks = Callable[[], tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class Maps:
    """Feature maps.

    Args:
        names: m names.
        values: float64[m, ny, nx], row j from the bottom, column i from the left.
        grid: the tiles.
        units: database units of a micron.
    """

    names: tuple[str, ...]
    values: Floats
    grid: Grid
    units: float

    def __getitem__(self, name: str) -> Floats:
        if name not in self.names:
            raise unknown("feature map", name, self.names)
        found: Floats = self.values[self.names.index(name)]
        return found


class _Work:
    """What several maps share, computed once."""

    def __init__(
        self, geometry: Geometry, grid: Grid, widen: str, tracks: _Tracks | None, names: Collection[str]
    ) -> None:
        self.geometry, self.grid, self.names = geometry, grid, names
        self.wires: Wires = wires_of(geometry, grid, widen)
        self._tracks = tracks

    @cached_property
    def rudy(self) -> dict[str, Floats]:
        """Horizontal and vertical RUDY of short and long nets, per micron."""
        wires, units = self.wires, self.geometry.units
        weights = np.stack([units / wires.height, units / wires.width])
        short = wires.short
        long_h, long_v = covered(wires.boxes[~short], self.grid, weights[:, ~short])
        short_h, short_v = covered(wires.boxes[short], self.grid, weights[:, short])
        return {"long_h": long_h, "long_v": long_v, "short_h": short_h, "short_v": short_v}

    def whole_rudy(self) -> Floats:
        if _PARTS & set(self.names):
            return self.rudy_of("long_h", "long_v", "short_h", "short_v")
        wires = self.wires  # no part is asked for: one pass instead of four
        weight = self.geometry.units * (1 / wires.height + 1 / wires.width)
        found: Floats = covered(wires.boxes, self.grid, weight[None])[0]
        return found

    def rudy_of(self, *parts: str) -> Floats:
        total = np.zeros(self.grid.shape)
        for part in parts:
            total += self.rudy[part]
        return total

    @cached_property
    def pin_weights(self) -> Floats:
        wires, units = self.wires, self.geometry.units
        return wires.of_pins(units / wires.width + units / wires.height)

    @cached_property
    def cell_boxes(self) -> Floats:
        boxes = self.geometry.cells
        return boxes[~np.isnan(boxes[:, 0])]

    @cached_property
    def capacity(self) -> tuple[Floats, Floats]:
        if self._tracks is None:
            raise GraphnasError("capacity needs tracks: make the maps from a placement and its LEF")
        return self._tracks()

    def shares(self, low: int, high: int) -> Floats:
        """1 / number of rows or columns that a net touches, summed in the tiles that it touches."""
        spans = self.wires.spans
        return touched(spans, self.grid, 1.0 / (spans[:, high] - spans[:, low] + 1))

    def ports(self) -> Floats:
        ports = self.geometry.ports
        return counted(ports[~np.isnan(ports[:, 0])], self.grid)

    def cell_pins(self) -> Floats:
        return counted(self.wires.pins[~self.wires.is_port], self.grid)

    def pin_rudy(self) -> Floats:
        return counted(self.wires.pins, self.grid, self.pin_weights)

    def long_pin_rudy(self) -> Floats:
        is_long = np.repeat(~self.wires.short, np.diff(self.wires.start))
        return counted(self.wires.pins[is_long], self.grid, self.pin_weights[is_long])

    def cell_density(self) -> Floats:
        return self._fill(self.cell_boxes)

    def cell_count(self) -> Floats:
        # An edge that lies on a line between tiles does not reach into the next one.
        boxes = self.cell_boxes - [0.0, 0.0, 1e-3, 1e-3]
        return touched(spans_of(boxes, self.grid), self.grid)

    def macros(self) -> Floats:
        boxes = self.geometry.cells[self.geometry.blocks]
        return np.minimum(self._fill(boxes[~np.isnan(boxes[:, 0])]), 1.0)

    def _fill(self, boxes: Floats) -> Floats:
        fraction: Floats = covered(boxes, self.grid, np.ones((1, len(boxes))))[0]
        return fraction

    def lines(self, kind: Callable[[Floats, Places], tuple[Floats, Floats]]) -> Floats:
        wires = self.wires
        if not len(wires.pins):
            return np.zeros(self.grid.shape)
        begin, end = kind(wires.pins, wires.start)
        return flylines.lengths(begin, end, self.grid) / np.sqrt(self.grid.areas)


class Feature(NamedTuple):
    """A kind of map: its unit, what it is, and how it is made."""

    unit: str
    meaning: str
    make: Callable[[_Work], Floats]


FEATURES: dict[str, Feature] = {
    "cell_density": Feature("1", "fraction covered by cells", _Work.cell_density),
    "pin_density": Feature("pins", "pins of cells, as far as they are on a net", _Work.cell_pins),
    "rudy": Feature("1/um", "RUDY", _Work.whole_rudy),
    "rudy_long": Feature("1/um", "RUDY of nets over several tiles", lambda w: w.rudy_of("long_h", "long_v")),
    "rudy_short": Feature("1/um", "RUDY of nets within one tile", lambda w: w.rudy_of("short_h", "short_v")),
    "pin_rudy": Feature("1/um", "1/w + 1/h of the net of every pin", _Work.pin_rudy),
    "h_net_density": Feature("1", "1 / rows that the net touches", lambda w: w.shares(1, 3)),
    "v_net_density": Feature("1", "1 / columns that the net touches", lambda w: w.shares(0, 2)),
    "net_count": Feature("nets", "nets whose box touches the tile", lambda w: touched(w.wires.spans, w.grid)),
    "io_density": Feature("ports", "ports of the design", _Work.ports),
    "flyline": Feature("tiles", "lines from pins to the mean of their net's pins", lambda w: w.lines(flylines.stars)),
    "rudy_horizontal": Feature("1/um", "horizontal part of RUDY", lambda w: w.rudy_of("long_h", "short_h")),
    "rudy_vertical": Feature("1/um", "vertical part of RUDY", lambda w: w.rudy_of("long_v", "short_v")),
    "pin_rudy_long": Feature("1/um", "pin_rudy of nets over several tiles", _Work.long_pin_rudy),
    "cell_count": Feature("cells", "cells that touch the tile (CircuitNet's cell_density)", _Work.cell_count),
    "macro_region": Feature("1", "fraction covered by hard macros", _Work.macros),
    "flyline_tree": Feature("tiles", "edges of the net's minimum spanning tree", lambda w: w.lines(flylines.trees)),
    "h_capacity": Feature("tracks", "free horizontal tracks", lambda w: w.capacity[0]),
    "v_capacity": Feature("tracks", "free vertical tracks", lambda w: w.capacity[1]),
}

_PARTS = {"rudy_long", "rudy_short", "rudy_horizontal", "rudy_vertical"}

STANDARD = tuple(list(FEATURES)[:11])
"""The maps of the data set that graphnas ships, in the order of its channels."""

ON_REQUEST = ("flyline_tree",)
"""The slowest map takes as long as all others together, and is made only when it is named."""

SWAPS = {
    "h_net_density": "v_net_density",
    "rudy_horizontal": "rudy_vertical",
    "h_capacity": "v_capacity",
}
"""Maps that change places when the die is turned by 90 degrees."""


def geometry_maps(
    geometry: Geometry,
    grid: Grid,
    names: Iterable[str] | None = None,
    *,
    widen: str = "middle",
    tracks: _Tracks | None = None,
) -> Maps:
    """Feature maps of bare numbers.

    Args:
        geometry: cells, pins and nets.
        grid: the tiles.
        names: which maps, of FEATURES; by default all that can be made, but those of ON_REQUEST.
        widen: how a net's box narrower than a wire grows, see ``wires_of``.
        tracks: gives the horizontal and vertical capacity when asked.

    Raises:
        GraphnasError: an unknown name, or capacity without tracks.
    """
    if names is None:
        absent = ON_REQUEST if tracks is not None else (*ON_REQUEST, "h_capacity", "v_capacity")
        names = [name for name in FEATURES if name not in absent]
    names = tuple(names)
    for name in names:
        if name not in FEATURES:
            raise unknown("feature map", name, FEATURES)
    work = _Work(geometry, grid, widen, tracks, names)
    values = np.empty((len(names), *grid.shape))
    for number, name in enumerate(names):
        values[number] = FEATURES[name].make(work)
    return Maps(names, values, grid, geometry.units)


def feature_maps(
    placement: Placement,
    technology: Technology,
    grid: Grid,
    names: Iterable[str] | None = None,
    *,
    widen: str = "middle",
) -> Maps:
    """Feature maps of a placement on a grid (``tile_grid`` or ``gcell_grid``); see ``geometry_maps``."""
    geometry = geometry_of(placement, technology)
    return geometry_maps(geometry, grid, names, widen=widen, tracks=lambda: capacity(placement, technology, grid))


def congestion(tracks: Floats, used: Floats) -> Floats:
    """Overflow per track, max(0, used - tracks) / tracks; 0 where there are no tracks (CircuitNet, "overflow based")."""
    return np.divide(np.maximum(used - tracks, 0.0), tracks, out=np.zeros_like(tracks), where=tracks > 0)


def utilisation(tracks: Floats, used: Floats) -> Floats:
    """Used share of the tracks, 1 - remaining / tracks; 0 where there are none (CircuitNet, "utilization based")."""
    return np.divide(used, tracks, out=np.zeros_like(tracks), where=tracks > 0)
