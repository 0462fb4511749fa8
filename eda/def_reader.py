"""DEF files in (LEF/DEF 5.8 Language Reference, chapter 4; older files too).

Why no binding of the reference parser: see docs/eda.md. Files of a hundred megabytes are read in blocks; every error
names its line; a file that ends before END DESIGN is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from eda.def_sections import ComponentReader, NetReader, PortReader, orientation, points
from eda.def_special import SpecialReader, blockage
from eda.placement import Blockage, GCells, Placement, Row, Tracks
from eda.statements import MAX_BYTES, BadStatement, Document, read_text, shown, whole

_VERBATIM = ("VIAS", "STYLES", "NONDEFAULTRULES", "REGIONS", "PINPROPERTIES", "GROUPS", "FILLS", "SLOTS", "SCANCHAINS")
_OLD = ("CONSTRAINTS", "ASSERTIONS", "IOTIMINGS", "PARTITIONS", "TIMINGDISABLES", "DEFAULTCAP", "FLOORPLANCONSTRAINTS")
_COUNTED = ("COMPONENTS", "PINS", "NETS", "SPECIALNETS", "BLOCKAGES", *_VERBATIM, *_OLD)


def read_def(path: str | Path, max_bytes: int = MAX_BYTES) -> Placement:
    """Read a DEF file, plain or packed with gzip or xz.

    Kept as values: design, units, die, rows, tracks, grid lines, components, pins (first shape and place), nets with
    their pins and use, blockages, and the wires of special nets. Kept as text: routes, special nets, further properties
    of entries, further shapes of pins, all other sections and single statements. Dropped: comments, extensions
    (BEGINEXT), masks of tracks, and SYNTHESIZED at a pin. The counts in the section headers are not checked.

    Raises:
        GraphnasError: missing, damaged, cut short or no DEF; the message names the line.
    """
    path = Path(path)
    document = Document(path, read_text(path, max_bytes))
    reader = _Reader()
    for base, pieces in document.blocks():
        at = 0
        while at < len(pieces) and not reader.ended:
            reader.at, reader.word = at, 0
            try:
                at = reader.take(pieces, at)
            except (BadStatement, IndexError, ValueError, OverflowError) as error:
                message = error if isinstance(error, BadStatement) else "this statement lacks a part"
                place = reader.at
                raise document.error(message, base, pieces[:place], pieces[place], reader.word) from None
    try:
        return reader.finish(document.tail().split())
    except BadStatement as error:
        raise document.end_error(error) from None


class _Reader:
    """Takes statements one after the other; knows the open section."""

    def __init__(self) -> None:
        self.at = 0
        self.word = 0  # the word of the statement that is looked at
        self.ended = False
        self._section = ""
        self._components = ComponentReader()
        self._pins = PortReader()
        self._nets = NetReader(self._components.index, self._pins.index)
        self._special = SpecialReader()
        self._blockages: list[Blockage] = []
        self._sections: dict[str, list[str]] = {}
        self._header: list[str] = []
        self._design: str | None = None
        self._units: int | None = None
        self._die: list[tuple[int, int]] = []
        self._rows: list[Row] = []
        self._tracks: list[Tracks] = []
        self._gcells: list[GCells] = []
        self._plain: dict[str, Callable[[list[str]], None]] = {
            "DESIGN": self._take_design,
            "UNITS": self._take_units,
            "DIEAREA": self._take_die,
            "ROW": self._take_row,
            "TRACKS": self._take_tracks,
            "GCELLGRID": self._take_gcells,
        }

    def take(self, pieces: list[str], at: int) -> int:
        """Statements from ``at``; the next one to take."""
        if self._section in ("COMPONENTS", "NETS"):
            large = self._components if self._section == "COMPONENTS" else self._nets
            try:
                at = large.take(pieces, at)
            except BaseException:
                self.at = large.at
                raise
            self.at = at
        if at < len(pieces):
            self._one(self._close(pieces[at].split()))
        return at + 1

    def _close(self, tokens: list[str]) -> list[str]:
        """Take END words off the front."""
        while tokens and tokens[0] == "END" and not self.ended:
            name = tokens[1] if len(tokens) > 1 else ""
            if not self._section and name == "DESIGN":
                self.ended = True
            elif name != self._section:
                expected = f"END {self._section}" if self._section else "END DESIGN"
                raise BadStatement(f"END {shown(name)} where {expected} was expected")
            self._section = ""
            tokens = tokens[2:]
            self.word += 2
        return tokens

    def _one(self, tokens: list[str]) -> None:
        if not tokens or self.ended:
            return
        word, section = tokens[0], self._section
        if section:
            if section == "PINS":
                self._pins.take(tokens)
            elif section == "SPECIALNETS":
                self._special.take(tokens)
            elif section == "BLOCKAGES":
                self._blockages.append(blockage(tokens))
            else:
                self._sections[section].append(shown(" ".join(tokens)))
        elif word in self._plain:
            self._plain[word](tokens)
        elif word == "PROPERTYDEFINITIONS":
            self._open(word)
            self._one(self._close(tokens[1:]))
        elif word in _COUNTED:
            self._open(word)
            if len(tokens) > 1:
                whole(tokens[1])
        elif word == "-":
            raise BadStatement("an entry outside of any section")
        else:
            self._header.append(shown(" ".join(tokens)))

    def _open(self, section: str) -> None:
        self._section = section
        if section in (*_VERBATIM, *_OLD, "PROPERTYDEFINITIONS"):
            self._sections.setdefault(section, [])

    def _take_design(self, tokens: list[str]) -> None:
        self._design = shown(tokens[1])

    def _take_units(self, tokens: list[str]) -> None:
        self._units = whole(tokens[3])
        if not 0 < self._units <= 10_000_000:
            raise BadStatement(f"{self._units} database units of a micron")

    def _take_die(self, tokens: list[str]) -> None:
        self._die = points(tokens[1:])
        if len(self._die) < 2:
            raise BadStatement("DIEAREA needs at least two points")

    def _take_row(self, tokens: list[str]) -> None:
        orientation(tokens[5])
        count, step = (1, 1), (0, 0)
        if tokens[6:7] == ["DO"]:
            count = whole(tokens[7]), whole(tokens[9])
            if tokens[10:11] == ["STEP"]:
                step = whole(tokens[11]), whole(tokens[12])
        name, site = shown(tokens[1]), shown(tokens[2])
        self._rows.append(Row(name, site, whole(tokens[3]), whole(tokens[4]), tokens[5], *count, *step))

    def _take_tracks(self, tokens: list[str]) -> None:
        layers = tuple(map(shown, tokens[tokens.index("LAYER") + 1 :])) if "LAYER" in tokens else ()
        self._tracks.append(Tracks(*_lines(tokens), layers))

    def _take_gcells(self, tokens: list[str]) -> None:
        self._gcells.append(GCells(*_lines(tokens)))

    def finish(self, tokens: list[str]) -> Placement:
        """The placement, after the words behind the last semicolon."""
        left = self._close(tokens)
        if left and not self.ended:
            raise BadStatement(f"the file ends within a statement ({shown(' '.join(left[:4]))})")
        if not self.ended:
            where = f"within {self._section}" if self._section else "before END DESIGN"
            raise BadStatement(f"the file ends {where}; it is cut short, or no DEF file")
        if not self._die:
            raise BadStatement("there is no DIEAREA; write the DEF after the floorplan was made")
        units = 100 if self._units is None else self._units  # the default of the standard
        return Placement(
            self._design or "design",
            units,
            np.array(self._die, np.int64),
            self._components.cells(),
            self._pins.ports(),
            self._nets.nets(),
            self._special.nets(),
            tuple(self._rows),
            tuple(self._tracks),
            tuple(self._gcells),
            tuple(self._blockages),
            {name: tuple(lines) for name, lines in self._sections.items()},
            tuple(self._header),
        )


def _lines(tokens: list[str]) -> tuple[str, int, int, int]:
    """(axis, start, count, step) of ``TRACKS X start DO count STEP step``."""
    axis, words = tokens[1], (tokens[3], tokens[5])
    start, count, step = whole(tokens[2]), whole(tokens[4]), whole(tokens[6])
    if axis not in ("X", "Y") or words != ("DO", "STEP"):
        raise BadStatement(
            f"X or Y, start, DO, count, STEP and step were expected, not {shown(' '.join(tokens[1:7]))!r}"
        )
    if not 0 < count <= 100_000_000 or step < 0:
        raise BadStatement(f"DO {count} STEP {step} are no lines")
    return axis, start, count, step
