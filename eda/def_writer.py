"""DEF files out. A placement that was read and is written again has equal values; see ``read_def`` for what is dropped."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterator, Mapping
from pathlib import Path

from eda.placement import ORIENTATIONS, STATUSES, Blockage, Nets, Placement, Ports
from graphnas.files import replacing


def write_def(placement: Placement, path: str | Path) -> Path:
    """Write a placement; a name that ends in .gz or .xz is packed.

    Every net stands with its name alone on the first line, one pin a line, and the semicolon alone on the last: the
    router qrouter finds its nets by lines when it writes the routed file.

    Raises:
        GraphnasError: the folder cannot be written.
    """
    path = Path(path)
    text = "".join(f"{line}\n" for line in def_lines(placement))
    data = text.encode("utf-8", "surrogateescape")
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".xz":
        data = lzma.compress(data)
    with replacing(path) as file:
        file.write(data)
    return path


def def_lines(placement: Placement) -> Iterator[str]:
    """The lines of a DEF file."""
    p = placement
    for line in p.header:
        yield f"{line} ;"
    yield f"DESIGN {p.design} ;"
    yield f"UNITS DISTANCE MICRONS {p.units} ;"
    yield from _verbatim("PROPERTYDEFINITIONS", p.sections, counted=False)
    yield f"DIEAREA {' '.join(f'( {x} {y} )' for x, y in p.die.tolist())} ;"
    for row in p.rows:
        size = f"DO {row.count_x} BY {row.count_y} STEP {row.step_x} {row.step_y}"
        yield f"ROW {row.name} {row.site} {row.x} {row.y} {row.orientation} {size} ;"
    for track in p.tracks:
        layers = f" LAYER {' '.join(track.layers)}" if track.layers else ""
        yield f"TRACKS {track.axis} {track.start} DO {track.count} STEP {track.step}{layers} ;"
    for grid in p.gcells:
        yield f"GCELLGRID {grid.axis} {grid.start} DO {grid.count} STEP {grid.step} ;"
    before = ("VIAS", "STYLES", "NONDEFAULTRULES", "REGIONS")
    for name in before:
        yield from _verbatim(name, p.sections)
    yield from _components(p)
    yield from _ports(p.ports)
    yield from _verbatim("PINPROPERTIES", p.sections)
    yield from _blockages(p.blockages)
    if len(p.special):
        yield f"SPECIALNETS {len(p.special)} ;"
        for name, body in zip(p.special.names, p.special.texts, strict=True):
            yield f"- {name} {_wrapped(body)} ;"
        yield "END SPECIALNETS"
    yield from _nets(p)
    for name in p.sections:
        if name not in (*before, "PINPROPERTIES", "PROPERTYDEFINITIONS"):
            yield from _verbatim(name, p.sections)
    yield "END DESIGN"


def _verbatim(name: str, sections: Mapping[str, tuple[str, ...]], *, counted: bool = True) -> Iterator[str]:
    if name in sections:
        yield f"{name} {len(sections[name])} ;" if counted else name
        for line in sections[name]:
            yield f"  {line} ;"
        yield f"END {name}"


def _wrapped(wiring: str) -> str:
    return wiring.replace(" NEW ", "\n    NEW ").replace(" + ", "\n  + ")


def _components(p: Placement) -> Iterator[str]:
    cells = p.cells
    yield f"COMPONENTS {len(cells)} ;"
    columns = zip(
        cells.names,
        cells.macro.tolist(),
        cells.x.tolist(),
        cells.y.tolist(),
        cells.orientation.tolist(),
        cells.status.tolist(),
        strict=True,
    )
    for number, (name, macro, x, y, way, status) in enumerate(columns):
        extra = f" {cells.extras[number]}" if number in cells.extras else ""
        # An unplaced cell may have a place that a tool likes to keep.
        where = f" ( {x} {y} ) {ORIENTATIONS[way]}" if status or x or y or way else ""
        yield f"- {name} {cells.macros[macro]}{extra} + {STATUSES[status]}{where} ;"
    yield "END COMPONENTS"


def _ports(ports: Ports) -> Iterator[str]:
    yield f"PINS {len(ports)} ;"
    boxes, xs, ys = ports.rectangle.tolist(), ports.x.tolist(), ports.y.tolist()
    ways, states = ports.orientation.tolist(), ports.status.tolist()
    for number, name in enumerate(ports.names):
        line = [f"- {name}"]
        for word, values in (("NET", ports.nets), ("DIRECTION", ports.directions), ("USE", ports.uses)):
            if values[number]:
                line.append(f"{word} {values[number]}")
        extra = ports.extras.get(number, "")
        if "+ PORT" in extra:
            line.append("PORT")
        if ports.layers[number]:
            x1, y1, x2, y2 = boxes[number]
            line.append(f"LAYER {ports.layers[number]} ( {x1} {y1} ) ( {x2} {y2} )")
        if states[number] or xs[number] or ys[number] or ways[number]:
            place = f"( {xs[number]} {ys[number]} ) {ORIENTATIONS[ways[number]]}"
            line.append(f"{STATUSES[states[number]]} {place}")
        yield f"{' + '.join(line)}{' ' + extra if extra else ''} ;"
    yield "END PINS"


def _blockages(blockages: tuple[Blockage, ...]) -> Iterator[str]:
    if not blockages:
        return
    yield f"BLOCKAGES {len(blockages)} ;"
    for blockage in blockages:
        head = f"LAYER {blockage.layer}" if blockage.layer else "PLACEMENT"
        extra = f" {blockage.extra}" if blockage.extra else ""
        boxes = " ".join(f"RECT ( {x1} {y1} ) ( {x2} {y2} )" for x1, y1, x2, y2 in blockage.rectangles)
        yield f"- {head}{extra} {boxes} ;"
    yield "END BLOCKAGES"


def _nets(p: Placement) -> Iterator[str]:
    nets: Nets = p.nets
    yield f"NETS {len(nets)} ;"
    start, owners, pins = nets.start.tolist(), nets.pin_cell.tolist(), nets.pin_index.tolist()
    cells, ports, names = p.cells.names, p.ports.names, nets.pin_names
    for number, name in enumerate(nets.names):
        yield f"- {name}"
        for at in range(start[number], start[number + 1]):
            owner, pin = owners[at], pins[at]
            yield f"  ( {cells[owner]} {names[pin]} )" if owner >= 0 else f"  ( PIN {ports[pin]} )"
        if number in nets.extras:
            yield f"  {nets.extras[number]}"
        if number in nets.routes:
            yield f"  {_wrapped(nets.routes[number])}"
        if number in nets.uses:
            yield f"  + USE {nets.uses[number]}"
        yield ";"
    yield "END NETS"
