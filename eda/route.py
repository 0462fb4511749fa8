"""The open flow: a netlist becomes a floorplan, a placement, routed wires and located violations.

The labels are **shorts left by qrouter at a stated effort on OSU035** (see ``eda.shorts``): not the rule check of a
foundry, and only comparable between placements that were routed by the same recipe.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from eda.def_reader import read_def
from eda.floorplan import floorplan
from eda.grid import Grid, tile_grid
from eda.labels import Label, label
from eda.lef_reader import read_lef
from eda.netlist import Netlist
from eda.place import place
from eda.placement import Placement
from eda.technology import Technology
from eda.tools import osu035


@dataclass(frozen=True)
class Recipe:
    """Everything that a routed sample depends on besides its netlist and the tools.

    Args:
        layers: routing layers.
        utilisation: share of the rows' area that cells fill, in (0, 1].
        aspect: height over width of the area of the rows.
        seed: of the ports' order and of the placer.
        spread: density to which cells are loosened while they are placed, or None.
        placer_effort: of Coloquinte, 1 .. 9.
        efforts: efforts of qrouter's rip-up; the placement is routed and labelled once for each.
        tile: edge of the tiles in microns; they divide the box around the rows.
        time_limit: seconds for one run of the router; it ends a run, and never changes a result.
    """

    layers: int = 3
    utilisation: float = 0.75
    aspect: float = 1.0
    seed: int = 0
    spread: float | None = None
    placer_effort: int = 3
    efforts: tuple[int, ...] = (10, 50)
    tile: float = 20.0
    time_limit: float = 900.0


@dataclass(frozen=True, eq=False)
class RoutedSample:
    """A placement with its labels, one for each effort of the recipe."""

    placement: Placement
    recipe: Recipe
    labels: tuple[Label, ...]
    tiles: Grid
    seconds_placing: float


@lru_cache(maxsize=4)
def library(lef: Path | None = None) -> tuple[Technology, Path]:
    """A LEF library and its path; by default the one of OSU035.

    Raises:
        GraphnasError: the file is missing (the sentence names the Debian package) or cannot be read.
    """
    path = osu035("lef") if lef is None else lef
    return read_lef(path), path


def route(netlist: Netlist, recipe: Recipe, *, lef: Path | None = None) -> RoutedSample:
    """Floorplan, place, route and label a netlist; the same arguments and tools give the same result, bit for bit.

    Args:
        netlist: a mapped netlist.
        recipe: how.
        lef: the library; OSU035 by default.

    Raises:
        GraphnasError: a tool is missing (the sentence names its package), the netlist does not fit the library, or no
            placement is found.
    """
    technology, path = library(lef)
    start = time.perf_counter()
    empty = floorplan(
        netlist,
        technology,
        utilisation=recipe.utilisation,
        aspect=recipe.aspect,
        seed=recipe.seed,
        layers=recipe.layers,
    )
    placed = place(empty, technology, effort=recipe.placer_effort, seed=recipe.seed, spread=recipe.spread)
    seconds = time.perf_counter() - start
    tiles = tile_grid(placed, recipe.tile, "rows")
    labels = label(placed, technology, path, recipe.efforts, tiles, time_limit=recipe.time_limit)
    return RoutedSample(placed, recipe, labels, tiles, seconds)


def route_placed(
    path: Path | str,
    *,
    efforts: tuple[int, ...] = Recipe.efforts,
    tile: float = Recipe.tile,
    time_limit: float = Recipe.time_limit,
    lef: Path | None = None,
) -> RoutedSample:
    """Route and label somebody's placement.

    Args:
        path: a DEF file, all cells placed, with TRACKS for every layer to be used.
        efforts: of qrouter's rip-up.
        tile: edge of the tiles in microns; they divide the box around the rows.
        time_limit: seconds for one run of the router.
        lef: the library; OSU035 by default.

    Raises:
        GraphnasError: a tool is missing, a file cannot be read, or the placement is incomplete.
    """
    technology, library_path = library(lef)
    placement = read_def(path)
    tiles = tile_grid(placement, tile, "rows")
    labels = label(placement, technology, library_path, efforts, tiles, time_limit=time_limit)
    return RoutedSample(placement, Recipe(efforts=efforts, tile=tile, time_limit=time_limit), labels, tiles, 0.0)
