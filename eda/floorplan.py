"""A die for a netlist: rows of sites, routing tracks and ports on the boundary, ready to be placed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eda.netlist import Netlist
from eda.placement import Cells, Nets, Placement, Ports, Row, Tracks
from eda.technology import Layer, Site, Technology
from graphnas.errors import GraphnasError

UNITS = 100
"""Database units of a micron; every length of OSU035 is a whole number of them."""
MARGIN = 3
"""Tracks between the die's edge and the rows."""
_PORT_TRACK = 1  # ports lie on the second track from the die's edge
_PORT_HALF = 0.3  # half the width of a port's shape, microns


def floorplan(
    netlist: Netlist,
    technology: Technology,
    *,
    utilisation: float,
    aspect: float,
    seed: int,
    layers: int,
) -> Placement:
    """Rows, tracks and ports for a netlist; its cells are still unplaced.

    The rows have the area of the cells divided by the utilisation, alternate between N and FS and begin ``MARGIN`` tracks
    from the die's corner (0, 0). Nets of a single pin are left out. A net that reaches the boundary gets one port; the
    ports are spread round the boundary in an order drawn from the seed.

    Args:
        netlist: the mapped netlist.
        technology: its library.
        utilisation: share of the rows' area that cells fill, in (0, 1].
        aspect: height over width of the area of the rows.
        seed: of the ports' order.
        layers: routing layers with tracks, counted from the lowest.

    Raises:
        GraphnasError: a number out of range, cells that are not in the technology, or more ports than the boundary holds.
    """
    if not 0 < utilisation <= 1:
        raise GraphnasError(f"utilisation {utilisation:g} is not in (0, 1]")
    if not 0.1 <= aspect <= 10:
        raise GraphnasError(f"aspect {aspect:g} is not in 0.1 .. 10")
    netlist.check(technology)
    routing = technology.routing_layers
    if not 3 <= layers <= len(routing):
        raise GraphnasError(f"{layers} routing layers asked for; the flow takes 3 .. {len(routing)}")
    site = core_site(technology)
    pitch_x, pitch_y = (_units(value) for value in technology.wire_pitch())
    site_width, row_height = _units(site.width), _units(site.height)
    if not pitch_x or not pitch_y:
        raise GraphnasError("the technology has no vertical and horizontal routing layer above the first")
    area = (
        sum(technology.macro(name).width * technology.macro(name).height for name in netlist.cell_macros) / utilisation
    )
    rows = max(1, round(math.sqrt(area * aspect) / site.height))
    columns = math.ceil(area / (rows * site.height) / site.width - 1e-9)
    left, low = MARGIN * pitch_x, MARGIN * pitch_y
    across = -(-columns * site_width // pitch_x) * pitch_x + 2 * left
    up = -(-rows * row_height // pitch_y) * pitch_y + 2 * low
    nets, ports = _nets_and_ports(netlist)
    named = [
        Tracks("X" if layer.direction == "VERTICAL" else "Y", *_tracks(layer, technology, across, up), (layer.name,))
        for layer in routing[:layers]
    ]
    macros = tuple(sorted(set(netlist.cell_macros)))
    index = {name: place for place, name in enumerate(macros)}
    count = netlist.cells
    return Placement(
        design=netlist.design,
        units=UNITS,
        die=np.array([[0, 0], [across, up]]),
        cells=Cells(
            names=[f"u{cell}" for cell in range(count)],
            macros=macros,
            macro=np.array([index[name] for name in netlist.cell_macros], np.int32),
            x=np.zeros(count, np.int64),
            y=np.zeros(count, np.int64),
            orientation=np.zeros(count, np.int8),
            status=np.zeros(count, np.int8),
        ),
        ports=_placed(ports, routing, (pitch_x, pitch_y), (across, up), np.random.default_rng(seed)),
        nets=nets,
        rows=tuple(
            Row(
                f"row_{row}",
                site.name,
                left,
                low + row * row_height,
                "FS" if row % 2 else "N",
                columns,
                1,
                site_width,
                0,
            )
            for row in range(rows)
        ),
        tracks=tuple(named),
    )


def core_site(technology: Technology) -> Site:
    """The site of the standard cells: the only one of class CORE.

    Raises:
        GraphnasError: there is none, or several.
    """
    found = [site for site in technology.sites.values() if site.kind == "CORE"]
    if len(found) != 1:
        raise GraphnasError(f"the technology has {len(found)} sites of class CORE; the flow needs exactly one")
    return found[0]


def _units(microns: float) -> int:
    value = round(microns * UNITS)
    if abs(value - microns * UNITS) > 1e-6:
        raise GraphnasError(f"{microns} microns is no whole number of 1/{UNITS} micron")
    return value


def _tracks(layer: Layer, technology: Technology, across: int, up: int) -> tuple[int, int, int]:
    """Start, count and step of a layer's tracks.

    qrouter works on one grid for all layers: of a layer with a wider pitch it uses every second (third, ...) track of that
    grid, beginning with the first. The tracks are those, so that the file says what the router does.
    """
    vertical = layer.direction == "VERTICAL"
    fine = _units(technology.wire_pitch()[0 if vertical else 1])
    times = max(1, -(-_units(layer.pitch[0 if vertical else 1]) // fine))
    start = fine // 2
    length = across if vertical else up
    return start, (length - start - 1) // (fine * times) + 1, fine * times


def _nets_and_ports(netlist: Netlist) -> tuple[Nets, list[tuple[str, str, int]]]:
    """The nets of two or more pins, and (name, direction, net) of the port of each net that has one."""
    first: dict[int, tuple[str, str]] = {}
    for port in netlist.ports:
        first.setdefault(port.net, (port.name, port.direction))
    names = sorted({pin for pins in netlist.net_pins for _, pin in pins})
    index = {name: place for place, name in enumerate(names)}
    start, cells, pins_of = [0], list[int](), list[int]()
    kept: list[int] = []
    ports: list[tuple[str, str, int]] = []
    for net, pins in enumerate(netlist.net_pins):
        if len(pins) + (net in first) < 2:
            continue
        for cell, pin in pins:
            cells.append(cell)
            pins_of.append(index[pin])
        if net in first:
            cells.append(-1)
            pins_of.append(len(ports))
            ports.append((*first[net], len(kept)))
        start.append(len(cells))
        kept.append(net)
    return (
        Nets(
            names=[f"n{place}" for place in range(len(kept))],
            start=np.array(start, np.int64),
            pin_cell=np.array(cells, np.int32),
            pin_index=np.array(pins_of, np.int32),
            pin_names=tuple(names),
        ),
        ports,
    )


def _placed(
    ports: list[tuple[str, str, int]],
    routing: tuple[Layer, ...],
    pitch: tuple[int, int],
    die: tuple[int, int],
    generator: np.random.Generator,
) -> Ports:
    """Ports on tracks round the boundary: vertical wires at the top and bottom, horizontal ones at the sides."""
    vertical = next(layer.name for layer in routing[1:] if layer.direction == "VERTICAL")
    horizontal = next(layer.name for layer in routing[1:] if layer.direction == "HORIZONTAL")
    columns, rows = die[0] // pitch[0], die[1] // pitch[1]
    inner_columns, inner_rows = np.arange(MARGIN, columns - MARGIN), np.arange(MARGIN, rows - MARGIN)
    slots: NDArray[np.int64] = np.concatenate(
        [
            _side(inner_columns, _PORT_TRACK, upright=True),
            _side(inner_rows, columns - 1 - _PORT_TRACK, upright=False),
            _side(inner_columns[::-1], rows - 1 - _PORT_TRACK, upright=True),
            _side(inner_rows[::-1], _PORT_TRACK, upright=False),
        ]
    )
    count = len(ports)
    if count > len(slots):
        raise GraphnasError(
            f"{count} ports do not fit on a boundary of {len(slots)} tracks; choose a lower utilisation"
        )
    order = generator.permutation(count)
    chosen = np.empty((count, 3), np.int64)
    chosen[order] = slots[(2 * np.arange(count) + 1) * len(slots) // (2 * max(1, count))]
    half = _units(_PORT_HALF)
    return Ports(
        names=[f"p{place}" for place in range(count)],
        nets=[f"n{net}" for _, _, net in ports],
        directions=[direction for _, direction, _ in ports],
        uses=["SIGNAL"] * count,
        layers=[vertical if upright else horizontal for upright in chosen[:, 2].tolist()],
        rectangle=np.tile(np.array([-half, -half, half, half], np.int64), (count, 1)),
        x=pitch[0] // 2 + chosen[:, 0] * pitch[0],
        y=pitch[1] // 2 + chosen[:, 1] * pitch[1],
        orientation=np.zeros(count, np.int8),
        status=np.full(count, 2, np.int8),
    )


def _side(along: NDArray[np.int64], depth: int, *, upright: bool) -> NDArray[np.int64]:
    """int64[n, 3]: (column, row, is on a vertical track) of the slots of one side."""
    across = np.full_like(along, depth)
    pair = (along, across) if upright else (across, along)
    return np.stack([*pair, np.full_like(along, upright)], 1)
