"""Detailed routing by qrouter (R. T. Edwards), a grid router for standard cells.

Facts about qrouter 1.4 that this file rests on, each measured:

- It connects a port only if the port is called like its net. So cells, ports and nets get plain names for the run.
- ``write_def`` marks routes as written; a second one in the same process loses them. So each effort is a process.
- Rip-up and re-routing (stage 2) has no time limit; ``effort`` bounds it, and an outer time limit ends it.
- Its DEF writer cuts coordinates towards zero, so a die with negative corners would be written one unit off.
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eda.def_reader import read_def
from eda.def_writer import write_def
from eda.placement import Placement
from eda.technology import Technology
from eda.tools import program, run
from eda.wires import Wiring, parse_wiring, via_layers
from graphnas.errors import GraphnasError

_SCRIPT = """\
read_lef {lef}
layers {layers}
verbose 0
read_def placed.def
set r1 [stage1 mask auto]
puts "GRAPHNAS 1 [failing]"
set r2 [stage2 effort {effort}]
puts "GRAPHNAS 2 [failing]"
write_def routed.def
puts "GRAPHNAS 3"
quit
"""


@dataclass(frozen=True, eq=False)
class Routed:
    """What qrouter made of a placement.

    Args:
        wires: net -> its wires, in the placement's coordinates; nets without any wire are absent.
        failed_first: nets that failed in stage 1 (every net once, nothing ripped up), ascending.
        failed: nets that are not routed, or not wholly, after stage 2, ascending.
        seconds: wall time of the run.
    """

    wires: dict[int, Wiring]
    failed_first: tuple[int, ...]
    failed: tuple[int, ...]
    seconds: float


def route_detailed(
    placement: Placement, technology: Technology, lef: Path, *, effort: int, time_limit: float = 600.0
) -> Routed:
    """Route a placed design: each net once, then rip-up and re-routing until ``effort`` nets bring no progress.

    Args:
        placement: all cells and ports placed, with TRACKS for every layer to be used.
        technology: what the LEF says.
        lef: the LEF file, which qrouter reads itself.
        effort: of stage 2.
        time_limit: seconds for the run.

    Raises:
        GraphnasError: qrouter is not installed (the sentence names the Debian package), fails or does not end in time.
    """
    if effort < 1:
        raise GraphnasError(f"routing effort {effort} is below 1")
    command = program("qrouter")
    if any(letter in str(lef) for letter in '"{}[]$\\ \n'):
        raise GraphnasError(f"qrouter cannot take the path {str(lef)!r}; move the LEF file to a path of plain letters")
    names = [layer.name for layer in technology.routing_layers]
    used = {name for line in placement.tracks for name in line.layers}
    layers = sum(name in used for name in names)
    plain, shift = _plain(placement)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="graphnas-") as name:
        folder = Path(name)
        write_def(plain, folder / "placed.def")
        (folder / "run.tcl").write_text(_SCRIPT.format(lef=lef.resolve(), layers=layers, effort=effort))
        printed = run([command, "-noc", "-nog", "-s", "run.tcl"], folder, time_limit)
        lists = {int(stage): text.split() for stage, text in re.findall(r"^GRAPHNAS (\d)(.*)$", printed, re.M)}
        if 3 not in lists or not (folder / "routed.def").is_file():
            last = next((line for line in reversed(printed.splitlines()) if line.strip()), "it printed nothing")
            raise GraphnasError(f"qrouter did not route {placement.design!r}: {last.strip()[:300]}")
        routed = read_def(folder / "routed.def")
    wires, vias = {}, via_layers(lef, tuple(names))
    for place, text in routed.nets.routes.items():
        net = int(routed.nets.names[place][1:])
        wires[net] = _shifted(parse_wiring(text, tuple(names), vias), shift)
    first, second = (
        tuple(sorted({int(word[1:]) for word in lists[stage] if re.fullmatch(r"n\d+", word)})) for stage in (1, 2)
    )
    return Routed(wires, first, second, time.perf_counter() - start)


def _plain(placement: Placement) -> tuple[Placement, tuple[int, int]]:
    """The same design with names that qrouter takes and nothing that it does not need, on a die whose corner is (0, 0)."""
    shift = placement.die_box[:2]
    dx, dy = shift
    nets = placement.nets
    owner = nets.net_of_pin()
    is_port = nets.pin_cell < 0
    net_of_port = np.full(len(placement.ports), -1, np.int64)
    net_of_port[nets.pin_index[is_port]] = owner[is_port]
    # A name can stand for one port only: of several ports of a net qrouter sees the first.
    seen: set[int] = set()
    names = []
    for port, net in enumerate(net_of_port.tolist()):
        names.append(f"x{port}" if net < 0 or net in seen else f"n{net}")
        seen.add(net)
    ports = replace(
        placement.ports,
        names=names,
        nets=[f"n{net}" if net >= 0 else f"x{port}" for port, net in enumerate(net_of_port.tolist())],
        x=placement.ports.x - dx,
        y=placement.ports.y - dy,
        extras={},
    )
    cells = replace(
        placement.cells,
        names=[f"u{cell}" for cell in range(len(placement.cells))],
        x=placement.cells.x - dx,
        y=placement.cells.y - dy,
        extras={},
    )
    plain = Placement(
        design="design",
        units=placement.units,
        die=placement.die - np.array(shift),
        cells=cells,
        ports=ports,
        nets=replace(nets, names=[f"n{net}" for net in range(len(nets))], uses={}, routes={}, extras={}),
        rows=tuple(replace(row, x=row.x - dx, y=row.y - dy) for row in placement.rows),
        tracks=tuple(replace(line, start=line.start - (dx if line.axis == "X" else dy)) for line in placement.tracks),
    )
    return plain, shift


def _shifted(wiring: Wiring, shift: tuple[int, int]) -> Wiring:
    dx, dy = shift
    return Wiring(wiring.segments + np.array([0, dx, dy, dx, dy]), wiring.vias + np.array([0, dx, dy]))
