"""Routing capacity: tracks a tile offers in each direction, less what power wires, macros and blockages take."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from eda.grid import Floats, Grid
from eda.placement import Placement, turn
from eda.rasters import covered
from eda.technology import Layer, Technology


def capacity(placement: Placement, technology: Technology, grid: Grid) -> tuple[Floats, Floats]:
    """Horizontal and vertical tracks: sum over layers of tracks in the tile * (1 - blocked fraction of the tile).

    Blocked is what routing blockages, the wires of special nets and the obstructions of hard macros cover on the layer;
    obstructions of standard cells are left to the router. Tracks are those of the DEF in the layer's own direction;
    of a DEF without TRACKS, those that the layer's pitch allows.

    Returns:
        two arrays float64[ny, nx].
    """
    blocked = _blocked(placement, technology)
    rows, columns = grid.shape
    horizontal, vertical = np.zeros((rows, columns)), np.zeros((rows, columns))
    for layer in technology.routing_layers:
        if layer.direction not in ("HORIZONTAL", "VERTICAL"):
            continue
        is_vertical = layer.direction == "VERTICAL"
        tracks = _tracks(placement, layer, grid.x if is_vertical else grid.y)
        if not tracks.any():
            continue
        boxes = np.array(blocked.get(layer.name, []), np.float64).reshape(-1, 4)
        # Shapes laid over each other do not block twice; where they overlap in part, their sum is an upper bound.
        free = 1.0 - np.minimum(covered(boxes, grid, np.ones((1, len(boxes))))[0], 1.0)
        if is_vertical:
            vertical += tracks * free
        else:
            horizontal += tracks[:, None] * free
    return horizontal, vertical


def _tracks(placement: Placement, layer: Layer, lines: Floats) -> Floats:
    """float64[n]: tracks between the lines of the grid."""
    axis, pitch = ("X", layer.pitch[0]) if layer.direction == "VERTICAL" else ("Y", layer.pitch[1])
    if not placement.tracks:
        return np.diff(lines) / (pitch * placement.units) if pitch > 0 else np.zeros(len(lines) - 1)
    found = np.zeros(len(lines) - 1)
    for tracks in placement.tracks:
        if tracks.axis == axis and layer.name in tracks.layers:
            # How many of start, start + step, ... lie below each line.
            step = max(tracks.step, 1)
            below = np.clip(np.ceil((lines - tracks.start) / step), 0, tracks.count)
            found += np.diff(below)
    return found


def _blocked(placement: Placement, technology: Technology) -> dict[str, list[tuple[float, ...]]]:
    """Rectangles in database units, by layer."""
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for blockage in placement.blockages:
        if blockage.layer:
            found[blockage.layer] += blockage.rectangles
    special = placement.special
    for layer, box in zip(special.stripe_layer.tolist(), special.stripes.tolist(), strict=True):
        found[special.layers[layer]].append(tuple(box))
    cells = placement.cells
    blocks = np.array([technology.macro(name).is_block for name in cells.macros], np.bool_)
    for cell in np.flatnonzero(blocks[cells.macro] & (cells.status > 0)).tolist():
        macro = technology.macro(cells.macros[cells.macro[cell]])
        count = len(macro.obstructions)
        corners = (macro.obstructions.reshape(-1, 2) + macro.origin) * placement.units
        size = np.array([[macro.width, macro.height]]) * placement.units
        way = np.repeat(cells.orientation[cell : cell + 1], 2 * count)
        placed = turn(corners, way, np.repeat(size, 2 * count, 0)) + np.array([cells.x[cell], cells.y[cell]])
        pairs = placed.reshape(count, 2, 2)
        boxes = np.concatenate([pairs.min(1), pairs.max(1)], 1)
        for layer_name, row in zip(macro.obstruction_layers, boxes.tolist(), strict=True):
            found[layer_name].append(tuple(row))
    return found
