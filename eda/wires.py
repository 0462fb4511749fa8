"""Routed wires of a DEF net as segments: layers, end points and vias of a regular wiring statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphnas.errors import GraphnasError

_TOKEN = re.compile(r"[()]|[^\s()]+")
_STARTS = ("ROUTED", "FIXED", "COVER", "NOSHIELD")


@dataclass(frozen=True, eq=False)
class Wiring:
    """The wires of one net in database units.

    Args:
        segments: int64[n, 5], (layer, x1, y1, x2, y2); layer is an index into the names given to ``parse_wiring``.
        vias: int64[m, 3], (lower layer, x, y).
    """

    segments: NDArray[np.int64]
    vias: NDArray[np.int64]

    @property
    def length(self) -> int:
        """Total length of the wires in database units."""
        s = self.segments
        return int(np.abs(s[:, 3:] - s[:, 1:3]).sum())


def parse_wiring(text: str, layers: tuple[str, ...], vias: Mapping[str, int]) -> Wiring:
    """Read a regular wiring statement (``+ ROUTED metal1 ( 0 0 ) ( 0 200 ) M2_M1 NEW metal2 ...``).

    Args:
        text: the statement, without the net's name and pins.
        layers: routing layers from the lowest.
        vias: name of a via -> index of its lower layer.

    Raises:
        GraphnasError: a layer, via or point that is not understood.
    """
    segments: list[tuple[int, int, int, int, int]] = []
    cuts: list[tuple[int, int, int]] = []
    layer, last = -1, (0, 0)
    fresh = True  # no point of this wire yet
    tokens = _TOKEN.findall(text)
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token == "+" or token in _STARTS or token == "NEW":
            if token != "+":
                place += 1
                name = tokens[place] if place < len(tokens) else ""
                if name not in layers:
                    raise GraphnasError(f"wiring on layer {name!r}, which is no routing layer of the technology")
                layer, fresh = layers.index(name), True
        elif token == "(":
            point, place = _point(tokens, place, last)
            if not fresh:
                segments.append((layer, *last, *point))
            last, fresh = point, False
        elif token in vias:
            low = vias[token]
            cuts.append((low, *last))
            layer = low + 1 if layer == low else low
        else:
            raise GraphnasError(f"unknown word {token!r} in a wiring statement")
        place += 1
    return Wiring(np.array(segments, np.int64).reshape(-1, 5), np.array(cuts, np.int64).reshape(-1, 3))


def _point(tokens: list[str], place: int, last: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """A point ``( x y )`` or ``( x y extension )``; ``*`` repeats the last one's coordinate."""
    try:
        end = tokens.index(")", place)
        words = tokens[place + 1 : end]
        if len(words) not in (2, 3):
            raise ValueError
        x, y = (last[axis] if words[axis] == "*" else round(float(words[axis])) for axis in (0, 1))
    except (ValueError, OverflowError):
        raise GraphnasError(
            f"a point of a wiring statement is not readable near {' '.join(tokens[place : place + 5])!r}"
        ) from None
    return (x, y), end


@lru_cache(maxsize=8)
def via_layers(lef: Path, layers: tuple[str, ...]) -> Mapping[str, int]:
    """Lower layer (as an index into ``layers``) of every fixed via that a LEF file defines between two of these layers.

    Raises:
        GraphnasError: the file cannot be read as text.
    """
    try:
        text = lef.read_text(errors="replace")
    except OSError as error:
        raise GraphnasError(f"cannot read {lef} ({error.strerror or error})") from None
    found = {}
    for name, body in re.findall(r"^[ \t]*VIA[ \t]+(\S+)(.*?)^[ \t]*END[ \t]+\1\b", text, re.M | re.S):
        metals = {layers.index(word) for word in re.findall(r"\bLAYER\s+(\S+)", body) if word in layers}
        if len(metals) == 2 and max(metals) == min(metals) + 1:
            found[name] = min(metals)
    return found
