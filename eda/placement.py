"""A placement as arrays: what a DEF file says, in database units, with a million nets in mind.

Cells, ports and nets are structs of arrays; an entry's index is its identity. Text that no reader here interprets is kept
as it was written (``extras``, ``routes``), so that a placement can be written again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eda.technology import Technology

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Index = NDArray[np.int32]
Small = NDArray[np.int8]

ORIENTATIONS = ("N", "W", "S", "E", "FN", "FW", "FS", "FE")
STATUSES = ("UNPLACED", "PLACED", "FIXED", "COVER")
_DENSE = 20_000_000  # largest table of (macro, pin name) pairs that is kept dense


def _ints() -> Ints:
    return np.zeros(0, np.int64)


def _index() -> Index:
    return np.zeros(0, np.int32)


def _small() -> Small:
    return np.zeros(0, np.int8)


def _boxes() -> Ints:
    return np.zeros((0, 4), np.int64)


def _one_zero() -> Ints:
    return np.zeros(1, np.int64)


def _no_die() -> Ints:
    return np.zeros((2, 2), np.int64)


@dataclass(frozen=True, eq=False)
class Cells:
    """n placed components.

    Args:
        names: n names, as in the DEF (escapes kept).
        macros: the names of the macros in use.
        macro: int32[n], index into ``macros``.
        x: int64[n], left edge of the oriented cell; 0 when unplaced.
        y: int64[n], lower edge.
        orientation: int8[n], index into ORIENTATIONS.
        status: int8[n], index into STATUSES.
        extras: index -> further properties, verbatim ("+ SOURCE TIMING").
    """

    names: Sequence[str] = ()
    macros: tuple[str, ...] = ()
    macro: Index = field(default_factory=_index)
    x: Ints = field(default_factory=_ints)
    y: Ints = field(default_factory=_ints)
    orientation: Small = field(default_factory=_small)
    status: Small = field(default_factory=_small)
    extras: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.macro)


@dataclass(frozen=True, eq=False)
class Ports:
    """n pins of the design itself.

    Args:
        names: n names.
        nets: n names of nets.
        directions: n words (INPUT, OUTPUT, INOUT, FEEDTHRU or empty).
        uses: n words (SIGNAL, POWER...; empty when not said).
        layers: layer of the first shape; empty without one.
        rectangle: int64[n, 4], first shape in the port's own frame.
        x: int64[n], where the port's own (0, 0) lies; 0 when unplaced.
        y: int64[n].
        orientation: int8[n], index into ORIENTATIONS; about the port's own (0, 0).
        status: int8[n], index into STATUSES.
        extras: index -> further shapes and properties, verbatim.
    """

    names: Sequence[str] = ()
    nets: Sequence[str] = ()
    directions: Sequence[str] = ()
    uses: Sequence[str] = ()
    layers: Sequence[str] = ()
    rectangle: Ints = field(default_factory=_boxes)
    x: Ints = field(default_factory=_ints)
    y: Ints = field(default_factory=_ints)
    orientation: Small = field(default_factory=_small)
    status: Small = field(default_factory=_small)
    extras: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Nets:
    """n nets with p pins in compressed rows: the pins of net k are start[k] .. start[k + 1].

    Args:
        names: n names.
        start: int64[n + 1].
        pin_cell: int32[p], index of the cell, or -1 when the pin is a port.
        pin_index: int32[p], index into ``pin_names`` for a cell's pin; index of the port for a port.
        pin_names: the names of macro pins in use.
        uses: index -> USE (SIGNAL where absent).
        routes: index -> regular wiring, verbatim ("+ ROUTED metal2 ( 0 0 ) ...").
        extras: index -> further properties, verbatim.
    """

    names: Sequence[str] = ()
    start: Ints = field(default_factory=_one_zero)
    pin_cell: Index = field(default_factory=_index)
    pin_index: Index = field(default_factory=_index)
    pin_names: tuple[str, ...] = ()
    uses: Mapping[int, str] = field(default_factory=dict)
    routes: Mapping[int, str] = field(default_factory=dict)
    extras: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.start) - 1

    def net_of_pin(self) -> Index:
        """int32[p]: the net of every pin."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.start))


@dataclass(frozen=True)
class Row:
    """A row of sites; step in database units."""

    name: str
    site: str
    x: int
    y: int
    orientation: str = "N"
    count_x: int = 1
    count_y: int = 1
    step_x: int = 0
    step_y: int = 0


@dataclass(frozen=True)
class Tracks:
    """Routing tracks: ``axis`` X means vertical lines at x = start + k step, k < count, on the layers named."""

    axis: str
    start: int
    count: int
    step: int
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class GCells:
    """Lines of the global routing grid: at start + k step, k < count, across ``axis``."""

    axis: str
    start: int
    count: int
    step: int


@dataclass(frozen=True)
class Blockage:
    """A blockage: its layer (empty: a placement blockage), int rectangles (x1, y1, x2, y2), further words verbatim."""

    layer: str
    rectangles: tuple[tuple[int, int, int, int], ...]
    extra: str = ""


@dataclass(frozen=True, eq=False)
class SpecialNets:
    """Power and ground.

    Args:
        names: n names.
        texts: n bodies, verbatim: all that stands between the name and the closing semicolon.
        layers: the names of the layers in use.
        stripe_net: int32[m], net of each wire.
        stripe_layer: int32[m], index into ``layers``.
        stripes: int64[m, 4], the wires as rectangles (vias are not among them).
    """

    names: Sequence[str] = ()
    texts: Sequence[str] = ()
    layers: tuple[str, ...] = ()
    stripe_net: Index = field(default_factory=_index)
    stripe_layer: Index = field(default_factory=_index)
    stripes: Ints = field(default_factory=_boxes)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Placement:
    """A design on its die; coordinates in database units.

    Args:
        design: its name.
        units: database units of a micron.
        die: int64[k, 2]; two points are opposite corners of a rectangle, more are the corners of a rectilinear polygon.
        cells: components.
        ports: pins of the design.
        nets: regular nets.
        special: special nets.
        rows: rows of sites.
        tracks: routing tracks.
        gcells: lines of the global routing grid.
        blockages: for placement and for routing.
        sections: name -> statements of other sections (VIAS, REGIONS, GROUPS, NONDEFAULTRULES, ...), verbatim.
        header: VERSION, DIVIDERCHAR, BUSBITCHARS and other single statements, verbatim, without the semicolon.
    """

    design: str = "design"
    units: int = 1000
    die: Ints = field(default_factory=_no_die)
    cells: Cells = field(default_factory=Cells)
    ports: Ports = field(default_factory=Ports)
    nets: Nets = field(default_factory=Nets)
    special: SpecialNets = field(default_factory=SpecialNets)
    rows: tuple[Row, ...] = ()
    tracks: tuple[Tracks, ...] = ()
    gcells: tuple[GCells, ...] = ()
    blockages: tuple[Blockage, ...] = ()
    sections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    header: tuple[str, ...] = ("VERSION 5.8", 'DIVIDERCHAR "/"', 'BUSBITCHARS "[]"')

    @property
    def die_box(self) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2) of the box around the die."""
        x1, y1 = self.die.min(0)
        x2, y2 = self.die.max(0)
        return int(x1), int(y1), int(x2), int(y2)

    def cell_boxes(self, technology: Technology) -> Floats:
        """float64[n, 4]: (x1, y1, x2, y2) of every cell in database units; NaN for unplaced cells.

        Raises:
            GraphnasError: a macro is not in the technology.
        """
        macros = [technology.macro(name) for name in self.cells.macros]
        size = np.array([[m.width, m.height] for m in macros]).reshape(-1, 2) * self.units
        size = size[self.cells.macro]
        turned = self.cells.orientation % 2 == 1
        size[turned] = size[turned, ::-1]
        low = np.stack([self.cells.x, self.cells.y], 1).astype(np.float64)
        low[self.cells.status == 0] = np.nan
        return np.concatenate([low, low + size], 1)

    def pin_positions(self, technology: Technology) -> Floats:
        """float64[p, 2]: centre of every pin of a net, in database units; NaN for pins of unplaced cells and ports.

        Raises:
            GraphnasError: a macro, or a pin of one, is not in the technology.
        """
        cells, nets = self.cells, self.nets
        result = np.empty((len(nets.pin_cell), 2))
        inside = nets.pin_cell >= 0
        cell = nets.pin_cell[inside]
        if len(cell):
            offset = self._offsets(technology, cells.macro[cell], nets.pin_index[inside])
            macros = [technology.macro(name) for name in cells.macros]
            size = np.array([[m.width, m.height] for m in macros])[cells.macro[cell]] * self.units
            position = turn(offset, cells.orientation[cell], size)
            position[:, 0] += cells.x[cell]
            position[:, 1] += cells.y[cell]
            position[cells.status[cell] == 0] = np.nan
            result[inside] = position
        if not inside.all():
            result[~inside] = self.port_positions()[nets.pin_index[~inside]]
        return result

    def port_positions(self) -> Floats:
        """float64[n, 2]: centre of every port's shape in database units; NaN when unplaced."""
        ports = self.ports
        middle = (ports.rectangle[:, :2] + ports.rectangle[:, 2:]) / 2
        position = turn(middle, ports.orientation, np.zeros((len(ports), 2)))
        position[:, 0] += ports.x
        position[:, 1] += ports.y
        position[ports.status == 0] = np.nan
        return position

    def net_boxes(self, technology: Technology) -> Floats:
        """float64[n, 4]: (x1, y1, x2, y2) around the placed pins of every net; NaN for nets without any."""
        return boxes_of(self.pin_positions(technology), self.nets.start)

    def _offsets(self, technology: Technology, macro: Index, pin: Index) -> Floats:
        """Centres of pins from the lower left corner of their macros, database units; float64[p, 2]."""
        names = max(1, len(self.nets.pin_names))
        key = macro.astype(np.int64) * names + pin
        pairs = len(self.cells.macros) * names
        if pairs <= _DENSE:
            seen = np.zeros(pairs, np.bool_)
            seen[key] = True
            used = np.flatnonzero(seen)
            place = np.zeros(pairs, np.int64)
            place[used] = np.arange(len(used))
            where: Ints = place[key]
        else:
            used, where = np.unique(key, return_inverse=True)
        table = np.empty((len(used), 2))
        for row, pair in enumerate(used.tolist()):
            macro_name, pin_name = self.cells.macros[pair // names], self.nets.pin_names[pair % names]
            table[row] = technology.pin_centre(technology.macro(macro_name), pin_name)
        return (table * self.units)[where]


def turn(points: Floats, orientation: Small, size: Floats) -> Floats:
    """Points of a cell after its orientation, so that the lower left corner of its box is again (0, 0).

    N leaves all as it is; S turns by 180 degrees, W by 90 degrees counter-clockwise, E by 90 degrees clockwise; the F kinds
    are then mirrored left to right, so that FS is the mirror image upside down, and FW the one that swaps x and y.
    (LEF/DEF 5.8 Language Reference: N S W E FN FS FW FE are R0 R180 R90 R270 MY MX MX90 MY90.)

    Args:
        points: float64[n, 2] in the frame of the unturned cell.
        orientation: int8[n], index into ORIENTATIONS.
        size: float64[n, 2], width and height of the unturned cell; zeros turn about (0, 0).
    """
    x, y = points[:, 0], points[:, 1]
    w, h = size[:, 0], size[:, 1]
    way = orientation % 4
    across = np.choose(way, [x, h - y, w - x, y])
    up = np.choose(way, [y, x, h - y, w - x])
    width = np.where(way % 2 == 1, h, w)
    return np.stack([np.where(orientation >= 4, width - across, across), up], 1)


def boxes_of(points: Floats, start: Ints) -> Floats:
    """float64[n, 4]: box around points start[k] .. start[k + 1], NaN points left out; NaN when none is left."""
    filled = np.diff(start) > 0
    first = start[:-1][filled]
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    if not len(first):
        return np.full((len(start) - 1, 4), np.nan)
    # A sum is NaN where a part of it is, and costs a tenth of looking at each.
    known = not np.isnan(x.sum() + y.sum())
    least, most = (np.minimum, np.maximum) if known else (np.fmin, np.fmax)
    parts = [least.reduceat(x, first), least.reduceat(y, first), most.reduceat(x, first), most.reduceat(y, first)]
    if filled.all():
        result: Floats = np.stack(parts).T  # a column lies side by side, as the readers of boxes take them
        return result
    result = np.full((len(start) - 1, 4), np.nan)
    result[filled] = np.stack(parts, 1)
    return result
