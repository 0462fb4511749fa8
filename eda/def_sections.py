"""The large sections of a DEF file: COMPONENTS, PINS and NETS, read statement by statement into arrays.

The usual forms take a short way; every other form of the standard takes the long one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eda.placement import ORIENTATIONS, STATUSES, Cells, Nets, Ports
from eda.statements import BadStatement, shown, whole

_STATUS = {name: index for index, name in enumerate(STATUSES)}
_ORIENTATION = {name: index for index, name in enumerate(ORIENTATIONS)}


def entry(tokens: list[str]) -> list[str]:
    """The tokens after the dash that begins an entry of a section."""
    if len(tokens) < 2 or tokens[0] != "-":
        raise BadStatement(f"an entry ('- NAME ...') was expected, not {shown(' '.join(tokens[:3]))!r}")
    return tokens[1:]


def properties(tokens: list[str]) -> list[list[str]]:
    """``+ A b + C d`` as [[A, b], [C, d]]."""
    found: list[list[str]] = []
    for token in tokens:
        if token == "+":
            found.append([])
        elif found:
            found[-1].append(token)
        else:
            raise BadStatement(f"'+' was expected, not {shown(token)!r}")
    if any(not part for part in found):
        raise BadStatement("'+' without a word after it")
    return found


def points(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """``( x y ) ( x y )`` as integers; spaces at brackets may be missing."""
    words = " ".join(tokens).replace("(", " ").replace(")", " ").split()
    if len(words) % 2:
        raise BadStatement(f"an even number of coordinates was expected, not {len(words)}")
    return [(whole(x), whole(y)) for x, y in zip(words[::2], words[1::2], strict=True)]


def orientation(token: str) -> int:
    """Index into ORIENTATIONS."""
    if token not in _ORIENTATION:
        raise BadStatement(f"orientation {shown(token)!r}; known: {', '.join(ORIENTATIONS)}")
    return _ORIENTATION[token]


def _place(part: list[str]) -> tuple[int, int, int, int]:
    """(status, x, y, orientation) of PLACED ( x y ) N; UNPLACED may lack a place."""
    where = [token for token in part[1:] if token not in ("(", ")")]
    if len(where) < 3:
        if part[0] != "UNPLACED":
            raise BadStatement(f"{part[0]} needs ( x y ) and an orientation")
        return 0, 0, 0, 0
    return _STATUS[part[0]], whole(where[0]), whole(where[1]), orientation(where[2])


class ComponentReader:
    """COMPONENTS; ``index`` maps names to cells."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.at = 0
        self._macros: dict[str, int] = {}
        self._macro: list[int] = []
        self._x: list[int] = []
        self._y: list[int] = []
        self._orientation: list[int] = []
        self._status: list[int] = []
        self._extras: dict[int, str] = {}

    def take(self, pieces: list[str], start: int) -> int:
        """Statements from ``start``; the first one that is not an entry (``at`` when one is wrong)."""
        index, macros, macro = self.index, self._macros, self._macro
        xs, ys, ways, states = self._x, self._y, self._orientation, self._status
        for at in range(start, len(pieces)):
            tokens = pieces[at].split()
            self.at = at
            if len(tokens) == 10 and tokens[3] == "+" and tokens[5] == "(" and tokens[8] == ")" and tokens[0] == "-":
                status, place = _STATUS.get(tokens[4]), (tokens[6], tokens[7])
                way = _ORIENTATION.get(tokens[9])
                if status is None or way is None:
                    self._slow(tokens)
                    continue
                x, y = whole(place[0]), whole(place[1])
                macro.append(macros.setdefault(tokens[2], len(macros)))
                xs.append(x)
                ys.append(y)
                ways.append(way)
                states.append(status)
                index[tokens[1]] = len(index)
                if len(index) != len(xs):
                    raise BadStatement(f"component {shown(tokens[1])} stands here a second time")
            elif tokens and tokens[0] == "END":
                return at
            else:
                self._slow(tokens)
        return len(pieces)

    def _slow(self, tokens: list[str]) -> None:
        words = entry(tokens)
        if len(words) < 2:
            raise BadStatement(f"component {shown(words[0])} has no macro")
        place = (0, 0, 0, 0)
        extra = []
        rest = words[2:]
        if "+" in rest and rest[0] != "+":  # pin names of very old files
            rest = rest[rest.index("+") :]
        for part in properties(rest):
            if part[0] in _STATUS:
                place = _place(part)
            else:
                extra.append(f"+ {shown(' '.join(part))}")
        if words[0] in self.index:
            raise BadStatement(f"component {shown(words[0])} stands here a second time")
        number = self.index[words[0]] = len(self.index)
        self._macro.append(self._macros.setdefault(words[1], len(self._macros)))
        for values, value in zip((self._status, self._x, self._y, self._orientation), place, strict=True):
            values.append(value)
        if extra:
            self._extras[number] = " ".join(extra)

    def cells(self) -> Cells:
        """All that was taken, as arrays."""
        return Cells(
            [shown(name) for name in self.index] if any("\x01" in name for name in self.index) else list(self.index),
            tuple(shown(name) for name in self._macros),
            np.array(self._macro, np.int32),
            np.array(self._x, np.int64),
            np.array(self._y, np.int64),
            np.array(self._orientation, np.int8),
            np.array(self._status, np.int8),
            self._extras,
        )


class PortReader:
    """PINS; ``index`` maps names to ports."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self._words: list[tuple[str, str, str, str]] = []
        self._numbers: list[tuple[int, ...]] = []
        self._extras: dict[int, str] = {}

    def take(self, tokens: list[str]) -> None:
        """One entry. The first shape and the first place are interpreted; all further ones are kept as text."""
        words = entry(tokens)
        net = direction = use = layer = ""
        box: tuple[int, ...] = (0, 0, 0, 0)
        place: tuple[int, int, int, int] | None = None
        shaped = False
        extra = []
        for part in properties(words[1:]):
            word = part[0]
            if word == "NET" and not net:
                net = part[1]
            elif word == "DIRECTION" and not direction:
                direction = part[1]
            elif word == "USE" and not use:
                use = part[1]
            elif word == "LAYER" and not shaped and "(" in part:
                found = points(part[part.index("(") :])
                if len(found) != 2:
                    raise BadStatement(f"LAYER of a pin needs two points, not {len(found)}")
                box = (*map(min, *found), *map(max, *found))
                layer, shaped = part[1], True
            elif word in _STATUS and place is None:
                place = _place(part)
            elif word != "PORT" or shaped:
                extra.append(f"+ {' '.join(part)}")
        if words[0] in self.index:
            raise BadStatement(f"pin {shown(words[0])} stands here a second time")
        number = self.index[words[0]] = len(self.index)
        self._words.append((shown(net), direction, use, shown(layer)))
        self._numbers.append((*box, *(place or (0, 0, 0, 0))))
        if extra:
            self._extras[number] = shown(" ".join(extra))

    def ports(self) -> Ports:
        """All that was taken, as arrays."""
        numbers = np.array(self._numbers, np.int64).reshape(-1, 8)
        nets, directions, uses, layers = ([words[k] for words in self._words] for k in range(4))
        return Ports(
            [shown(name) for name in self.index],
            nets,
            directions,
            uses,
            layers,
            np.ascontiguousarray(numbers[:, :4]),
            np.ascontiguousarray(numbers[:, 5]),
            np.ascontiguousarray(numbers[:, 6]),
            numbers[:, 7].astype(np.int8),
            numbers[:, 4].astype(np.int8),
            self._extras,
        )


class NetReader:
    """NETS, with the indices of cells and ports read before."""

    def __init__(self, cells: dict[str, int], ports: dict[str, int]) -> None:
        self.at = 0
        self._cells, self._ports = cells, ports
        self._names: list[str] = []
        self._counts: list[int] = []
        self._pin_cell: list[int] = []
        self._pin_index: list[int] = []
        self._pin_names: dict[str, int] = {}
        self._uses: dict[int, str] = {}
        self._routes: dict[int, str] = {}
        self._extras: dict[int, str] = {}

    def take(self, pieces: list[str], start: int) -> int:
        """Statements from ``start``; the first one that is not an entry (``at`` when one is wrong)."""
        cells, names = self._cells, self._pin_names
        for at in range(start, len(pieces)):
            tokens = pieces[at].split()
            self.at = at
            if not tokens or tokens[0] != "-":
                if tokens and tokens[0] == "END":
                    return at
                raise BadStatement(f"an entry ('- NAME ...') was expected, not {shown(' '.join(tokens[:3]))!r}")
            if "+" in tokens:
                end = tokens.index("+", 2) if "+" in tokens[2:] else len(tokens)
                # A pin's own "+ SYNTHESIZED" stands within its brackets.
                if tokens[end + 1 : end + 2] == ["SYNTHESIZED"]:
                    tokens = [
                        token
                        for place, token in enumerate(tokens)
                        if token != "SYNTHESIZED" and tokens[place + 1 : place + 2] != ["SYNTHESIZED"]
                    ]
                    end = tokens.index("+", 2) if "+" in tokens[2:] else len(tokens)
                rest = tokens[end:]
                tokens = tokens[:end]
            else:
                rest = []
            number = len(self._names)
            owners, pins = tokens[3::4], tokens[4::4]
            count = len(pins)
            if len(tokens) != 2 + 4 * count or tokens[2::4].count("(") != count or tokens[5::4].count(")") != count:
                owners, pins = self._pairs(tokens, number)
                count = len(pins)
            try:
                self._pin_cell += [cells[owner] for owner in owners]
                self._pin_index += [names.setdefault(pin, len(names)) for pin in pins]
            except KeyError:
                del self._pin_cell[len(self._pin_index) :]
                count = self._mixed(owners, pins, number)
            self._names.append(tokens[1])
            self._counts.append(count)
            if rest:
                self._properties(number, rest)
        return len(pieces)

    def _pairs(self, tokens: list[str], net: int) -> tuple[list[str], list[str]]:
        """Pins of an entry whose brackets stand without spaces."""
        if len(tokens) < 2:
            raise BadStatement("a net has no name")
        words = " ".join(tokens[2:]).replace("(", " ( ").replace(")", " ) ").split()
        if len(words) % 4 or set(words[::4]) - {"("} or set(words[3::4]) - {")"}:
            raise BadStatement(f"net {shown(tokens[1])}: its pins are not written ( CELL PIN )")
        return words[1::4], words[2::4]

    def _mixed(self, owners: list[str], pins: list[str], net: int) -> int:
        """Pins of which some are ports, or stand for all cells; how many were added."""
        count = 0
        for owner, pin in zip(owners, pins, strict=True):
            if owner == "*":
                self._extras[net] = f"{self._extras.get(net, '')} ( * {shown(pin)} )".strip()
                continue
            if owner == "PIN":
                if pin not in self._ports:
                    raise BadStatement(f"pin {shown(pin)} is not in the section PINS")
                self._pin_cell.append(-1)
                self._pin_index.append(self._ports[pin])
            else:
                if owner not in self._cells:
                    raise BadStatement(f"component {shown(owner)} is not in the section COMPONENTS")
                self._pin_cell.append(self._cells[owner])
                self._pin_index.append(self._pin_names.setdefault(pin, len(self._pin_names)))
            count += 1
        return count

    def _properties(self, net: int, tokens: list[str]) -> None:
        extra = []
        start = 0
        while start < len(tokens):
            try:
                end = tokens.index("+", start + 1)
            except ValueError:
                end = len(tokens)
            word = tokens[start + 1]
            if word == "USE":
                self._uses[net] = tokens[start + 2]
            elif word in ("ROUTED", "FIXED", "COVER", "NOSHIELD"):
                text = shown(" ".join(tokens[start:end]))
                self._routes[net] = f"{self._routes[net]} {text}" if net in self._routes else text
            else:
                extra += tokens[start:end]
            start = end
        if extra:
            self._extras[net] = f"{self._extras.get(net, '')} {shown(' '.join(extra))}".strip()

    def nets(self) -> Nets:
        """All that was taken, as arrays."""
        names = self._names
        start = np.zeros(len(names) + 1, np.int64)
        np.cumsum(self._counts, out=start[1:])
        return Nets(
            [shown(name) for name in names] if any("\x01" in name for name in names) else names,
            start,
            np.array(self._pin_cell, np.int32),
            np.array(self._pin_index, np.int32),
            tuple(shown(name) for name in self._pin_names),
            self._uses,
            self._routes,
            self._extras,
        )
