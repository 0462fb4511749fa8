"""From LEF and DEF to predicted routability: expected violated nets and a map of hotspots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eda.features import FEATURES, Maps, feature_maps
from eda.grid import tile_grid
from eda.model import RoutabilityModel
from eda.net_graph import net_graph
from eda.placement import Placement
from eda.technology import Technology
from graphnas.errors import GraphnasError


@dataclass(frozen=True, eq=False)
class Routability:
    """What models say of a placement.

    Args:
        design: its name.
        nets: number of nets.
        layers: routing layers that the models were told.
        tile: edge of a tile in microns.
        rate: expected share of violated nets, or None without a model of nets.
        maps: the feature maps, in the unit of the data that the models know.
        hotspots: for every tile the probability of a violation ``[ny, nx]``, or None without a model of hotspots.
        notes: what makes the prediction doubtful.
    """

    design: str
    nets: int
    layers: int
    tile: float
    rate: float | None
    maps: Maps
    hotspots: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()

    @property
    def violated(self) -> float | None:
        """Expected number of violated nets."""
        return None if self.rate is None else self.rate * self.nets

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        made: dict[str, Any] = {
            "design": self.design, "nets": self.nets, "layers": self.layers, "tile": self.tile,
            "rate": self.rate, "violated_nets": self.violated, "notes": list(self.notes),
        }  # fmt: skip
        if self.hotspots is not None:
            row, column = np.unravel_index(int(self.hotspots.argmax()), self.hotspots.shape)
            made["hotspots"] = {
                "rows": self.hotspots.shape[0], "columns": self.hotspots.shape[1],
                "expected": float(self.hotspots.sum()), "highest": float(self.hotspots.max()),
                "highest_at": [int(column), int(row)],
            }  # fmt: skip
        return made


def predict(
    placement: Placement,
    technology: Technology,
    *,
    nets: RoutabilityModel | None = None,
    hotspots: RoutabilityModel | None = None,
    layers: int | None = None,
) -> Routability:
    """Predict the routability of a placement.

    Lengths are measured in rows: tiles are one row high, and densities per micron are scaled as if a row were as high as a tile of the training data, so that placements in
    other technologies give maps of the known size. The labels that the models learned from are shorts left by qrouter on OSU035;
    elsewhere a prediction ranks placements at best.

    Args:
        placement, technology: as read from DEF and LEF.
        nets, hotspots: the models; at least one.
        layers: routing layers; by default those with tracks.

    Raises:
        GraphnasError: no model, two models of tiles of different sizes, no rows, maps that a model does not know, or for a
            model that reads nets unplaced cells or more than a graph can hold (``eda.net_graph``).
    """
    models = [model for model in (nets, hotspots) if model is not None]
    if not models:
        raise GraphnasError("predicting routability needs a model of nets or of hotspots; give one")
    notes = []
    height = row_height(placement, technology)
    tile = models[0].preparation.tile
    if any(model.preparation.tile != tile for model in models):
        raise GraphnasError("the two models learned from tiles of different sizes; predict with one after the other")
    if abs(height - tile) > 0.01 * tile:
        notes.append(f"rows are {height:g} um high, not {tile:g} um as in the training data: lengths are scaled")
    if layers is None:
        layers = routing_layers(placement, technology)
    known = sorted({number for model in models for number in model.preparation.layers})
    told = min(known, key=lambda number: (abs(number - layers), number))
    if told != layers:
        had = " and ".join(map(str, known))
        notes.append(f"{layers} routing layers; the training data has {had}, so the models were told {told}")
    most = min(model.preparation.cells for model in models)
    if 0 < most < len(placement.cells):
        notes.append(f"{len(placement.cells):,} cells; no training placement has more than {most:,}")
    names = tuple(dict.fromkeys(name for model in models for name in model.preparation.maps))
    grid = tile_grid(placement, height, "rows")
    found = feature_maps(placement, technology, grid, names)
    graph = net_graph(placement, technology, grid) if any(model.graph for model in models) else None
    scale = np.array([height / tile if FEATURES[name].unit == "1/um" else 1.0 for name in names])
    maps = replace(found, values=found.values * scale[:, None, None])

    def read(model: RoutabilityModel) -> NDArray[np.float32]:
        return np.stack([maps[name] for name in model.preparation.maps]).astype(np.float32)

    return Routability(
        design=placement.design,
        nets=len(placement.nets),
        layers=told,
        tile=height,
        rate=None if nets is None else nets.rate(read(nets), told, graph),
        maps=maps,
        hotspots=None if hotspots is None else hotspots.hotspots(read(hotspots), told, graph),
        notes=tuple(notes),
    )


def row_height(placement: Placement, technology: Technology) -> float:
    """Microns from the bottom to the top of a row: of the core site, or the most common height of placed cells.

    Raises:
        GraphnasError: the LEF has neither a core site nor macros of the placement.
    """
    heights = [site.height for site in technology.sites.values() if site.kind.upper() == "CORE" and site.height > 0]
    if heights:
        return min(heights)
    used = [technology.macros[name].height for name in placement.cells.macros if name in technology.macros]
    if not used:
        raise GraphnasError("the LEF has no core site and no macro of this placement; give the LEF of its cell library")
    return float(np.median(used))


def routing_layers(placement: Placement, technology: Technology) -> int:
    """The number of layers with tracks; where there are none, of the routing layers of the LEF."""
    with_tracks = {layer for track in placement.tracks for layer in track.layers}
    routing = [layer.name for layer in technology.routing_layers]
    return len(with_tracks & set(routing)) or len(routing)
