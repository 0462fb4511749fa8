"""Placements in the Bookshelf format of the ISPD contests: .aux names .nodes, .nets, .pl and .scl.

One Bookshelf unit becomes one micron, and a placement counts in thousandths of it. The format knows no library: cells of
equal size become one macro, and a pin is named after its offset from the middle of the cell. It knows no wires either:
their pitch is taken as one site.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eda.placement import ORIENTATIONS, Cells, Nets, Placement, Row
from eda.statements import BadStatement, number, read_text
from eda.technology import Layer, Macro, MacroPin, Site, Technology
from graphnas.errors import GraphnasError

UNITS = 1000


def read_bookshelf(aux: str | Path) -> tuple[Placement, Technology]:
    """Read a Bookshelf placement.

    Cells of more than two rows in height, and fixed cells that block an area, are taken as hard macros.

    Args:
        aux: the .aux file, plain or packed; the others lie beside it (also packed, with .gz or .xz after their names).

    Raises:
        GraphnasError: a file is missing, cut short or wrong; the message names the line.
    """
    aux = Path(aux)
    named = read_text(aux).replace(":", " ").split()
    files = {}
    for suffix in ("nodes", "nets", "pl", "scl"):
        names = [name for name in named if name.endswith(f".{suffix}")]
        if not names:
            raise GraphnasError(f"{aux}, line 1: no .{suffix} file is named")
        files[suffix] = _beside(aux, names[0])
    reader = _Reader()
    for suffix, take in (
        ("scl", reader.take_rows),
        ("nodes", reader.take_nodes),
        ("pl", reader.take_places),
        ("nets", reader.take_nets),
    ):
        path = files[suffix]
        lines = _Lines(read_text(path))
        try:
            take(lines)
        except (BadStatement, IndexError, KeyError) as error:
            reason = str(error)
            if isinstance(error, LookupError):
                reason = f"there is no cell {error}" if isinstance(error, KeyError) else "this line lacks a part"
            raise GraphnasError(f"{path}, line {lines.number}: {reason}") from None
    return reader.result(aux.name.split(".")[0])


def _beside(aux: Path, name: str) -> Path:
    if Path(name).name != name:
        raise GraphnasError(f"{aux}, line 1: {name!r} does not lie beside the file that names it")
    for suffix in ("", ".gz", ".xz"):
        path = aux.parent / f"{name}{suffix}"
        if path.exists():
            return path
    raise GraphnasError(f"{aux.parent / name} does not exist, but {aux.name} names it")


class _Lines:
    """The words of every line that holds any; ``number`` is the current line."""

    def __init__(self, text: str) -> None:
        self.number = 1
        self._text = text

    def __iter__(self) -> Iterator[list[str]]:
        for number_, line in enumerate(self._text.splitlines(), 1):
            self.number = number_
            if "#" in line:
                line = line[: line.index("#")]
            words = line.replace(":", " ").split()
            if words and words[0] != "UCLA":
                yield words


class _Reader:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.height = 0.0
        self.site = 0.0
        self.index: dict[str, int] = {}
        self.sizes: dict[tuple[float, float, str], int] = {}
        self.macro: list[int] = []
        self.place: dict[int, tuple[float, float, int, int]] = {}
        self.net_names: list[str] = []
        self.start = [0]
        self.pin_cell: list[int] = []
        self.pin_index: list[int] = []
        self.pin_names: dict[str, int] = {}
        self.offsets: dict[tuple[int, int], tuple[float, float]] = {}

    def take_rows(self, lines: _Lines) -> None:
        values: dict[str, list[str]] = {}
        inside = False
        for words in lines:
            key = words[0].lower()
            if key == "corerow":
                values, inside = {}, True
            elif key == "end" and inside:
                self._row(values)
                inside = False
            elif inside:
                # "SubrowOrigin : 10 NumSites : 100" is one line.
                for at in range(0, len(words) - 1, 2):
                    values[words[at].lower()] = words[at + 1 :]
        if inside or not self.rows:
            raise BadStatement("the rows of the core end too early")

    def _row(self, values: dict[str, list[str]]) -> None:
        absent = [k for k in ("coordinate", "height", "sitespacing", "subroworigin", "numsites") if k not in values]
        if absent:
            raise BadStatement(f"a row has no {absent[0]}")
        x, y = number(values["subroworigin"][0]), number(values["coordinate"][0])
        step = number(values["sitespacing"][0])
        self.height, self.site = number(values["height"][0]), step
        count = int(number(values["numsites"][0]))
        if not (self.height > 0 and step > 0 and 0 < count <= 1 << 31):
            raise BadStatement("a row needs a positive height, site spacing and number of sites")
        name = f"row_{len(self.rows)}"
        self.rows.append(Row(name, "core", _scaled(x), _scaled(y), "N", count, 1, _scaled(step), _scaled(self.height)))

    def take_nodes(self, lines: _Lines) -> None:
        wanted = None
        for words in lines:
            if words[0] == "NumNodes":
                wanted = int(number(words[1]))
            elif words[0] != "NumTerminals":
                width, height = number(words[1]), number(words[2])
                if words[0] in self.index or width < 0 or height < 0:
                    raise BadStatement(f"cell {words[0]} stands here a second time, or has a negative size")
                blocks = words[3:4] == ["terminal"] and width * height > 0
                kind = "BLOCK" if blocks or height > 2 * self.height else "CORE"
                self.index[words[0]] = len(self.index)
                self.macro.append(self.sizes.setdefault((width, height, kind), len(self.sizes)))
        if wanted is not None and wanted != len(self.index):
            raise BadStatement(f"{wanted} nodes were announced, {len(self.index)} are there")

    def take_places(self, lines: _Lines) -> None:
        for words in lines:
            cell = self.index[words[0]]
            way = words[3] if len(words) > 3 and words[3] in ORIENTATIONS else "N"
            fixed = any(word.startswith("/FIXED") for word in words[3:])
            self.place[cell] = number(words[1]), number(words[2]), ORIENTATIONS.index(way), 2 if fixed else 1

    def take_nets(self, lines: _Lines) -> None:
        announced: dict[str, int] = {}
        left = 0
        for words in lines:
            if words[0] in ("NumNets", "NumPins"):
                announced[words[0]] = int(number(words[1]))
            elif words[0] == "NetDegree":
                if left:
                    raise BadStatement(f"net {self.net_names[-1]} lacks {left} pins")
                left = int(number(words[1]))
                self.net_names.append(words[2] if len(words) > 2 else f"net_{len(self.net_names)}")
                self.start.append(len(self.pin_cell))
            else:
                if not left:
                    raise BadStatement("a pin that belongs to no net")
                self._pin(words)
                left -= 1
                self.start[-1] = len(self.pin_cell)
        if left or announced.get("NumNets", len(self.net_names)) != len(self.net_names):
            raise BadStatement("the file ends before all nets are complete")

    def _pin(self, words: list[str]) -> None:
        cell = self.index[words[0]]
        offset = [word for word in words[1:] if word not in ("I", "O", "B")]
        dx, dy = (offset[0], offset[1]) if len(offset) > 1 else ("0", "0")
        pin = self.pin_names.setdefault(f"{dx}_{dy}", len(self.pin_names))
        key = self.macro[cell], pin
        if key not in self.offsets:
            self.offsets[key] = number(dx), number(dy)
        self.pin_cell.append(cell)
        self.pin_index.append(pin)

    def result(self, design: str) -> tuple[Placement, Technology]:
        pin_names = tuple(self.pin_names)
        pins: list[dict[str, MacroPin]] = [{} for _ in self.sizes]
        sizes = list(self.sizes)
        for (macro, pin), (dx, dy) in self.offsets.items():
            x, y = sizes[macro][0] / 2 + dx, sizes[macro][1] / 2 + dy
            pins[macro][pin_names[pin]] = MacroPin(
                pin_names[pin], layers=("metal1",), rectangles=np.array([[x, y, x, y]])
            )
        names = tuple(f"{kind.lower()}_{width!r}x{height!r}" for width, height, kind in sizes)
        macros = {
            name: Macro(name, kind, width, height, pins=pins[k])
            for k, (name, (width, height, kind)) in enumerate(zip(names, sizes, strict=True))
        }
        pitch = (self.site, self.site)
        ways = ("HORIZONTAL", "VERTICAL", "HORIZONTAL")
        layers = {f"metal{k}": Layer(f"metal{k}", "ROUTING", way, pitch) for k, way in enumerate(ways, 1)}
        technology = Technology(layers, {"core": Site("core", self.site, self.height)}, macros, UNITS)
        return self._placement(design, names, macros), technology

    def _placement(self, design: str, names: tuple[str, ...], macros: dict[str, Macro]) -> Placement:
        place = np.array([self.place.get(k, (0.0, 0.0, 0, 0)) for k in range(len(self.index))]).reshape(-1, 4)
        macro = np.array(self.macro, np.int32)
        xy = np.round(place[:, :2] * UNITS).astype(np.int64)
        size = np.array([[macros[name].width, macros[name].height] for name in names]).reshape(-1, 2) * UNITS
        turned = place[:, 2].astype(int) % 2 == 1
        reach = size[macro]
        reach[turned] = reach[turned, ::-1]
        row_ends = [[r.x, r.y, r.x + r.count_x * r.step_x, r.y + r.step_y] for r in self.rows]
        boxes = np.concatenate([np.array(row_ends), np.concatenate([xy, xy + reach], 1)[place[:, 3] > 0]])
        die = np.stack([boxes[:, :2].min(0), boxes[:, 2:].max(0)]).astype(np.int64)
        cells = Cells(
            list(self.index),
            names,
            macro,
            np.ascontiguousarray(xy[:, 0]),
            np.ascontiguousarray(xy[:, 1]),
            place[:, 2].astype(np.int8),
            place[:, 3].astype(np.int8),
        )
        nets = Nets(
            self.net_names,
            np.array(self.start, np.int64),
            np.array(self.pin_cell, np.int32),
            np.array(self.pin_index, np.int32),
            tuple(self.pin_names),
        )
        return Placement(design, UNITS, die, cells, nets=nets, rows=tuple(self.rows))


def _scaled(value: float) -> int:
    return round(value * UNITS)
