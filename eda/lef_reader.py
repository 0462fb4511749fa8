"""LEF files in: layers, sites and macros (LEF/DEF 5.8 Language Reference, chapter 1; older files too).

Via definitions, via rules, non-default rules, timing and the like are skipped: no feature depends on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eda.statements import MAX_BYTES, BadStatement, Document, number, read_text, shown
from eda.technology import Layer, Macro, MacroPin, Site, Technology, merge
from graphnas.errors import GraphnasError

_NAMED = ("MACRO", "LAYER", "SITE", "VIA", "VIARULE", "NONDEFAULTRULE", "ARRAY", "NOISETABLE", "CORRECTIONTABLE")
_PLAIN = ("UNITS", "PROPERTYDEFINITIONS", "SPACING", "IRDROP")
_IN_MACRO = ("PIN", "OBS", "DENSITY", "TIMING")
_GEOMETRY = ("PORT", "OBS", "DENSITY")
_Box = tuple[float, float, float, float]


def read_lef(*paths: str | Path, max_bytes: int = MAX_BYTES) -> Technology:
    """Read LEF files, plain or packed with gzip or xz, as one technology.

    Args:
        paths: a technology LEF, libraries of cells, macros; of a name described twice the later file holds.
        max_bytes: bound on the unpacked size of a file.

    Raises:
        GraphnasError: no file, or one that is missing, cut short or no LEF; the message names the line.
    """
    if not paths:
        raise GraphnasError("a LEF file is needed: it says how large the cells are and where their pins lie")
    return merge([_read(Path(path), max_bytes) for path in paths])


def _read(path: Path, max_bytes: int) -> Technology:
    document = Document(path, read_text(path, max_bytes))
    reader = _Reader()
    for base, pieces in document.blocks():
        for index, piece in enumerate(pieces):
            try:
                reader.take(piece.split())
            except (BadStatement, IndexError, ValueError) as error:
                message = error if isinstance(error, BadStatement) else "this statement lacks a part"
                raise document.error(message, base, pieces[:index], piece, reader.word) from None
            if reader.ended:
                return reader.technology()
    try:
        reader.take_rest(document.tail().split())
    except (BadStatement, IndexError) as error:
        message = error if isinstance(error, BadStatement) else "the file ends within a statement"
        raise document.end_error(message) from None
    if not (reader.layers or reader.sites or reader.macros):
        raise document.end_error("no layer, site or macro was found; is this a LEF file?")
    return reader.technology()


class _Shapes:
    """Rectangles gathered within PORT or OBS."""

    def __init__(self) -> None:
        self.layer = ""
        self.width = 0.0
        self.layers: list[str] = []
        self.boxes: list[_Box] = []

    def take(self, tokens: list[str], widths: dict[str, Layer]) -> None:
        word = tokens[0]
        if word == "LAYER":
            self.layer = shown(tokens[1])
            self.width = widths[self.layer].width if self.layer in widths else 0.0
        elif word == "WIDTH":
            self.width = number(tokens[1])
        elif word in ("RECT", "POLYGON", "PATH"):
            self._shape(word, [token for token in tokens[1:] if token not in ("(", ")")])

    def _shape(self, word: str, tokens: list[str]) -> None:
        if tokens[0] == "MASK":
            del tokens[:2]
        copies = [(0.0, 0.0)]
        if tokens[0] == "ITERATE":
            at = tokens.index("DO")
            _, columns, _, rows, _, step_x, step_y = tokens[at : at + 7]
            across, up = int(number(columns)), int(number(rows))
            if not 0 < across * up <= 1_000_000:
                raise BadStatement(f"DO {columns} BY {rows} is no acceptable number of copies")
            copies = [(i * number(step_x), j * number(step_y)) for j in range(up) for i in range(across)]
            tokens = tokens[1:at]
        values = [number(token) for token in tokens]
        if len(values) % 2 or len(values) < (2 if word == "PATH" else 4) or (word == "RECT" and len(values) != 4):
            raise BadStatement(f"{word} with {len(values)} numbers")
        if not self.layer:
            raise BadStatement(f"{word} before any LAYER")
        half = self.width / 2 if word == "PATH" else 0.0
        x1, x2 = min(values[::2]) - half, max(values[::2]) + half
        y1, y2 = min(values[1::2]) - half, max(values[1::2]) + half
        for dx, dy in copies:
            self.layers.append(self.layer)
            self.boxes.append((x1 + dx, y1 + dy, x2 + dx, y2 + dy))

    def array(self) -> np.ndarray:
        return np.array(self.boxes, np.float64).reshape(-1, 4)


class _Reader:
    """Takes statements one after the other; ``stack`` holds the open blocks as (word, name)."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.sites: dict[str, Site] = {}
        self.macros: dict[str, Macro] = {}
        self.units = Technology.units
        self.stack: list[tuple[str, str]] = []
        self.ended = False
        self.word = 0  # the word of the statement that is looked at
        self._values: dict[str, list[str]] = {}  # statements of the open layer, site or macro
        self._pin: dict[str, list[str]] = {}
        self._pins: dict[str, MacroPin] = {}
        self._shapes = _Shapes()
        self._obstructions = _Shapes()

    def technology(self) -> Technology:
        return Technology(self.layers, self.sites, self.macros, self.units)

    def take(self, tokens: list[str]) -> None:
        """One statement, with the opening and closing words (which have no semicolon) before it."""
        tokens = self._words(tokens)
        if not tokens or self.ended:
            return
        word = tokens[0]
        if not self.stack:
            if word in ("PIN", "PORT", "OBS", "SIZE", "RECT", "ORIGIN"):
                raise BadStatement(f"{word} outside of a macro")
            return
        block = self.stack[-1][0]
        if block in ("PORT", "OBS"):
            self._shapes.take(tokens, self.layers)
        elif block == "UNITS":
            if word == "DATABASE":
                self.units = int(number(tokens[2]))
                if self.units <= 0:
                    raise BadStatement(f"{self.units} database units of a micron")
        elif block == "PIN":
            self._pin.setdefault(word, tokens[1:])
        elif block in ("MACRO", "SITE", "LAYER"):
            self._values.setdefault(word, tokens[1:])
            if word in ("SIZE", "ORIGIN", "PITCH", "WIDTH", "OFFSET"):
                _pair(tokens[1:])  # a wrong number is found here, where the line is known

    def take_rest(self, tokens: list[str]) -> None:
        """The words after the last semicolon: only closing ones may be left."""
        left = self._words(tokens)
        if left and not self.ended:
            raise BadStatement(f"the file ends within a statement ({shown(' '.join(left[:4]))})")
        if self.stack:
            word, name = self.stack[-1]
            raise BadStatement(f"the file ends within {word} {shown(name)}".rstrip())

    def _words(self, tokens: list[str]) -> list[str]:
        at = self.word = 0
        while at < len(tokens) and not self.ended:
            self.word, word = at, tokens[at]
            block = self.stack[-1][0] if self.stack else ""
            if word == "END":
                at += self._close(tokens[at + 1 : at + 2])
            elif not self.stack and word in _NAMED:
                self._open(word, tokens[at + 1])
                at += 2 + (tokens[at + 2 : at + 3] in (["DEFAULT"], ["GENERATED"], ["GENERATE"]))
            elif (not self.stack and word in _PLAIN) or (block == "PIN" and word == "PORT"):
                self._open(word, "")
                at += 1
            elif block == "MACRO" and word in _IN_MACRO:
                self._open(word, tokens[at + 1] if word == "PIN" else "")
                at += 2 if word == "PIN" else 1
            else:
                break
        self.word = at
        return tokens[at:]

    def _open(self, word: str, name: str) -> None:
        self.stack.append((word, name))
        if word in ("MACRO", "LAYER", "SITE"):
            self._values, self._pins, self._obstructions = {}, {}, _Shapes()
        if word == "PIN":
            self._pin, self._shapes = {}, _Shapes()
        if word == "OBS":
            self._shapes = self._obstructions
        if word == "PORT":
            self._shapes.layer = ""

    def _close(self, after: Sequence[str]) -> int:
        """Close a block; the number of words that the closing took."""
        name = after[0] if after else ""
        if not self.stack:
            if name != "LIBRARY":
                raise BadStatement(f"END {shown(name)} closes nothing")
            self.ended = True
            return 2
        word, opened = self.stack[-1]
        if word in _GEOMETRY:
            self.stack.pop()
            return 1
        if name not in (opened or word, word):
            if word in ("NONDEFAULTRULE", "ARRAY", "NOISETABLE", "CORRECTIONTABLE") and name != "LIBRARY":
                # These hold blocks of their own, some closed by a bare END.
                return 2 if word == "NONDEFAULTRULE" else 1
            raise BadStatement(f"END {shown(name)} where END {shown(opened or word)} was expected")
        self.stack.pop()
        self._finish(word, shown(name))
        return 2

    def _finish(self, word: str, name: str) -> None:
        values = self._values
        if word == "LAYER":
            self.layers[name] = Layer(
                name,
                values.get("TYPE", [""])[0],
                values.get("DIRECTION", [""])[0],
                _pair(values.get("PITCH", [])),
                _pair(values.get("OFFSET", [])),
                _pair(values.get("WIDTH", []))[0],
                _spacing(values),
            )
        elif word == "SITE":
            self.sites[name] = Site(name, *_size(values, name), kind=values.get("CLASS", ["CORE"])[0])
        elif word == "PIN":
            use = self._pin.get("USE", ["SIGNAL"])[0]
            direction = " ".join(self._pin.get("DIRECTION", []))
            self._pins[name] = MacroPin(name, direction, use, tuple(self._shapes.layers), self._shapes.array())
        elif word == "MACRO":
            hidden = self._obstructions
            self.macros[name] = Macro(
                name,
                " ".join(values.get("CLASS", ["CORE"])),
                *_size(values, name),
                _pair(values.get("ORIGIN", [])),
                self._pins,
                tuple(hidden.layers),
                hidden.array(),
            )


def _pair(tokens: Sequence[str]) -> tuple[float, float]:
    """One number, twice; or the two numbers that are there (with BY between them, or brackets around them)."""
    values = [number(token) for token in tokens if token not in ("BY", "(", ")")][:2]
    return (values[0], values[-1]) if values else (0.0, 0.0)


def _size(values: dict[str, list[str]], name: str) -> tuple[float, float]:
    width, height = _pair(values.get("SIZE", []))
    if width < 0 or height < 0:
        raise BadStatement(f"{name} has the size {width} by {height}")
    return width, height


def _spacing(values: dict[str, list[str]]) -> float:
    if "SPACING" in values:
        return _pair(values["SPACING"][:1])[0]
    table = values.get("SPACINGTABLE", [])
    if "WIDTH" in table:  # PARALLELRUNLENGTH table: the first row is the narrowest wire's
        at = table.index("WIDTH")
        return _pair(table[at + 2 : at + 3])[0]
    return 0.0
