"""SPECIALNETS and BLOCKAGES of a DEF file: power wires and blocked areas as rectangles."""

from __future__ import annotations

import numpy as np

from eda.def_sections import entry, points
from eda.placement import Blockage, SpecialNets
from eda.polygons import rectangles_of
from eda.statements import BadStatement, shown, whole

_WIRING = ("ROUTED", "FIXED", "COVER", "SHIELD", "NEW")


class SpecialReader:
    """SPECIALNETS: every entry is kept as text, and its wires are taken as rectangles too."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._texts: list[str] = []
        self._layers: dict[str, int] = {}
        self._stripes: list[tuple[int, ...]] = []

    def take(self, tokens: list[str]) -> None:
        """One entry."""
        words = entry(tokens)
        self._names.append(shown(words[0]))
        self._texts.append(shown(" ".join(words[1:])))
        at = 1
        while at < len(words):
            word = words[at]
            if word in _WIRING:
                at += 3 if word == "SHIELD" else 2
                if words[at - 1] not in ("+", "(") and words[at : at + 1] not in ([], ["+"], ["("]):
                    at = self._wire(words, at - 1)
            elif word in ("RECT", "POLYGON") and words[at - 1] == "+":
                at = self._area(words, at)
            else:
                at += 1

    def _add(self, layer: str, box: tuple[int, int, int, int]) -> None:
        number = self._layers.setdefault(shown(layer), len(self._layers))
        self._stripes.append((len(self._names) - 1, number, *box))

    def _wire(self, words: list[str], at: int) -> int:
        """A path ``LAYER WIDTH [+ SHAPE s] ( x y ) ( * y ) VIA ...``; the place after it."""
        layer, width = words[at], whole(words[at + 1])
        at += 2
        x: int | None = None
        y: int | None = None
        while at < len(words) and words[at] not in _WIRING:
            if words[at] == "+":
                if words[at + 1 : at + 2] not in (["SHAPE"], ["STYLE"]):
                    break
                at += 3
            elif words[at] == "(":
                try:
                    end = words.index(")", at)
                except ValueError:
                    raise BadStatement("a bracket is not closed") from None
                point = words[at + 1 : end]
                if len(point) < 2 or (x is None and "*" in point[:2]):
                    raise BadStatement(f"( {' '.join(point)} ) is no point")
                new_x = x if x is not None and point[0] == "*" else whole(point[0])
                new_y = y if y is not None and point[1] == "*" else whole(point[1])
                reach = whole(point[2]) if len(point) > 2 else 0
                if x is not None and y is not None and (x, y) != (new_x, new_y):
                    self._add(layer, _around(x, y, new_x, new_y, width, reach))
                x, y = new_x, new_y
                at = end + 1
            else:
                at += 1  # a via or a word such as TAPER
        return at

    def _area(self, words: list[str], at: int) -> int:
        end = at + 1
        while end < len(words) and words[end] != "+":
            end += 1
        layer = words[at + 1]
        corners = points([token for token in words[at + 2 : end] if token != "MASK"][: end - at])
        if len(corners) < 2:
            raise BadStatement(f"{words[at]} needs at least two points")
        for box in rectangles_of(corners):
            self._add(layer, box)
        return end

    def nets(self) -> SpecialNets:
        """All that was taken, with the wires as arrays."""
        numbers = np.array(self._stripes, np.int64).reshape(-1, 6)
        return SpecialNets(
            self._names,
            self._texts,
            tuple(self._layers),
            numbers[:, 0].astype(np.int32),
            numbers[:, 1].astype(np.int32),
            np.ascontiguousarray(numbers[:, 2:]),
        )


def _around(x1: int, y1: int, x2: int, y2: int, width: int, reach: int) -> tuple[int, int, int, int]:
    """The wire between two points: half the width to both sides, ``reach`` beyond the second point."""
    half = width // 2
    if y1 == y2:
        end = x2 + (reach if x2 >= x1 else -reach)
        return min(x1, end), y1 - half, max(x1, end), y1 + half
    end = y2 + (reach if y2 >= y1 else -reach)
    return min(x1, x2) - half, min(y1, end), max(x1, x2) + half, max(y1, end)


def blockage(tokens: list[str]) -> Blockage:
    """An entry of BLOCKAGES; polygons are taken as rectangles."""
    words = entry(tokens)
    if words[0] not in ("LAYER", "PLACEMENT"):
        raise BadStatement(f"a blockage is LAYER or PLACEMENT, not {shown(words[0])!r}")
    head = 2 if words[0] == "LAYER" else 1
    shapes = next((k for k, word in enumerate(words) if word in ("RECT", "POLYGON")), len(words))
    boxes: list[tuple[int, int, int, int]] = []
    at = shapes
    while at < len(words):
        end = at + 1
        while end < len(words) and words[end] not in ("RECT", "POLYGON"):
            end += 1
        corners = points(words[at + 1 : end])
        if len(corners) < 2 or (words[at] == "RECT" and len(corners) != 2):
            raise BadStatement(f"{words[at]} with {len(corners)} points")
        boxes += rectangles_of(corners)
        at = end
    layer = shown(words[1]) if words[0] == "LAYER" else ""
    return Blockage(layer, tuple(boxes), shown(" ".join(words[head:shapes])))
