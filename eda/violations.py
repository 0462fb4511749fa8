"""Violations that other tools found: reports of OpenROAD's detailed router (.drc), and lists as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eda.grid import Floats, Grid
from eda.rasters import counted, spans_of, touched
from eda.statements import MAX_BYTES, BadStatement, number, read_text
from graphnas.errors import GraphnasError

_KIND = re.compile(r"violation type:\s*(?P<kind>.*\S)\s*$")
_BOX = re.compile(
    r"bbox\s*=\s*\(\s*(\S+?)\s*,\s*(\S+?)\s*\)\s*-\s*\(\s*(\S+?)\s*,\s*(\S+?)\s*\)(?:\s*on\s+Layer\s+(?P<layer>\S+))?\s*$"
)
_COLUMNS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True, eq=False)
class Violations:
    """n violations.

    Args:
        boxes: float64[n, 4], (x1, y1, x2, y2) in microns.
        layers: n names; empty where the report gives none.
        kinds: n types, as the tool calls them ("Short", "Metal Spacing").
        nets: n tuples of the nets involved.
    """

    boxes: Floats
    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    nets: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.kinds)

    def violated_nets(self, kinds: Iterable[str] | None = None) -> frozenset[str]:
        """The nets with a violation (of the kinds named)."""
        wanted = None if kinds is None else set(kinds)
        pairs = zip(self.kinds, self.nets, strict=True)
        return frozenset(net for kind, nets in pairs if wanted is None or kind in wanted for net in nets)

    def rasterised(
        self,
        grid: Grid,
        units: float,
        *,
        kinds: Iterable[str] | None = None,
        layer: str | None = None,
        by: str = "touch",
    ) -> Floats:
        """Violations of every tile, float64[ny, nx]; those beyond the grid count in the nearest tile.

        Args:
            grid: the tiles.
            units: database units of a micron.
            kinds: only these.
            layer: only this one.
            by: "touch" counts a violation in every tile that its box touches, "centre" in one tile.

        Raises:
            GraphnasError: ``by`` is another word.
        """
        if by not in ("touch", "centre"):
            raise GraphnasError(f"by is 'touch' or 'centre', not {by!r}")
        wanted = set(self.kinds) if kinds is None else set(kinds)
        pairs = zip(self.kinds, self.layers, strict=True)
        chosen = np.array([kind in wanted and layer in (None, where) for kind, where in pairs], np.bool_)
        boxes = self.boxes[chosen] * units
        if by == "centre":
            return counted((boxes[:, :2] + boxes[:, 2:]) / 2, grid)
        return touched(spans_of(boxes, grid), grid)


def read_violations(path: str | Path, max_bytes: int = MAX_BYTES) -> Violations:
    """Read a report; .csv and .json are lists, all else is taken as a report of OpenROAD.

    A list has the columns (or keys) x1, y1, x2, y2 in microns, and optionally layer, type and nets (separated by spaces
    or semicolons; in JSON a list too).

    Raises:
        GraphnasError: missing, or something that is no such report; the message names the line.
    """
    path = Path(path)
    text = read_text(path, max_bytes)
    suffix = next((s for s in reversed(path.suffixes) if s not in (".gz", ".xz")), "")
    if suffix == ".csv":
        return _csv(path, text)
    if suffix == ".json":
        return _json(path, text)
    return _openroad(path, text)


def _openroad(path: Path, text: str) -> Violations:
    rows: list[tuple[tuple[float, ...], str, str, tuple[str, ...]]] = []
    kind: str | None = None
    nets: tuple[str, ...] = ()
    line = 0
    for line, words in enumerate(map(str.strip, text.splitlines()), 1):
        begin, box = _KIND.match(words), _BOX.match(words)
        if begin:
            if kind is not None:
                raise GraphnasError(f"{path}, line {line}: the violation {kind!r} before it has no bbox")
            kind, nets = begin["kind"], ()
        elif box:
            if kind is None:
                raise GraphnasError(f"{path}, line {line}: bbox without a violation type")
            rows.append((_corners(path, line, box.groups()[:4]), box["layer"] or "", kind, nets))
            kind = None
        elif words.startswith("srcs:"):
            sources = words.removeprefix("srcs:").split()
            # Older reports list nets without a word before them.
            named = [word.removeprefix("net:") for word in sources if word.startswith("net:") or ":" not in word]
            nets = tuple(dict.fromkeys(named))
        elif words and not re.match(r"[\w ]+[:=]", words):
            raise GraphnasError(f"{path}, line {line}: {words[:40]!r} does not belong into a report of violations")
    if kind is not None:
        raise GraphnasError(f"{path}, line {line}: the report ends before the bbox of {kind!r}; it is cut short")
    return _gather(rows)


def _corners(path: Path, line: int, words: Iterable[str | None]) -> tuple[float, float, float, float]:
    try:
        return _ordered([number(str(word)) for word in words])
    except BadStatement as error:
        raise GraphnasError(f"{path}, line {line}: {error}") from None


def _csv(path: Path, text: str) -> Violations:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    rows = []
    try:
        absent = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if absent:
            raise BadStatement(f"column {absent[0]!r} is missing; x1, y1, x2 and y2 are needed")
        for record in reader:
            rows.append(_record({key: value for key, value in record.items() if key is not None}))
    except (BadStatement, csv.Error) as error:
        raise GraphnasError(f"{path}, line {max(1, reader.line_num)}: {error}") from None
    return _gather(rows)


def _json(path: Path, text: str) -> Violations:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise GraphnasError(f"{path}, line {line}: no JSON ({error})") from None
    rows = []
    entries = records if isinstance(records, list) else [records]
    try:
        for record in entries:
            if not isinstance(record, dict):
                raise BadStatement("an object with x1, y1, x2 and y2 was expected")
            rows.append(_record(record))
    except BadStatement as error:
        raise GraphnasError(f"{path}, entry {len(rows) + 1}: {error}") from None
    return _gather(rows)


def _record(record: dict[str, object]) -> tuple[tuple[float, ...], str, str, tuple[str, ...]]:
    values = []
    for name in _COLUMNS:
        if record.get(name) is None:
            raise BadStatement(f"{name} is missing")
        values.append(number(str(record[name])))
    listed = record.get("nets") or ()
    nets = listed if isinstance(listed, list) else str(listed or "").replace(";", " ").split() if listed else []
    return (
        _ordered(values),
        str(record.get("layer") or ""),
        str(record.get("type") or ""),
        tuple(str(net) for net in nets),
    )


def _ordered(values: list[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = values
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _gather(rows: list[tuple[tuple[float, ...], str, str, tuple[str, ...]]]) -> Violations:
    return Violations(
        np.array([row[0] for row in rows], np.float64).reshape(-1, 4),
        tuple(row[1] for row in rows),
        tuple(row[2] for row in rows),
        tuple(row[3] for row in rows),
    )
