"""Rectilinear polygons as rectangles."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rectangles_of(points: Sequence[tuple[int, int]] | NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
    """Disjoint rectangles (x1, y1, x2, y2) that cover a rectilinear polygon (even-odd rule).

    Two points are the opposite corners of a rectangle. An edge that is neither horizontal nor vertical is taken as two
    edges, first along x.

    Args:
        points: corners in order; the last joins the first.
    """
    corners = [(int(x), int(y)) for x, y in points]
    if len(corners) == 2:
        (x1, y1), (x2, y2) = corners
        box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        return [box] if box[0] < box[2] and box[1] < box[3] else []
    upright = []  # vertical edges: (x, lower y, upper y)
    for (_, y1), (x2, y2) in zip(corners, [*corners[1:], *corners[:1]], strict=True):
        if y1 != y2:
            upright.append((x2, min(y1, y2), max(y1, y2)))
    levels = sorted({y for _, low, high in upright for y in (low, high)})
    found: list[tuple[int, int, int, int]] = []
    for low, high in itertools.pairwise(levels):
        cuts = sorted(x for x, y1, y2 in upright if y1 <= low and high <= y2)
        found += [(x1, low, x2, high) for x1, x2 in zip(cuts[::2], cuts[1::2], strict=False) if x1 < x2]
    return found
