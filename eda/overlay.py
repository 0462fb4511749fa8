"""A placement with its predicted hotspots as a picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from eda.geometry import geometry_of
from eda.placement import Placement
from eda.predict import Routability
from eda.technology import Technology
from graphnas.errors import GraphnasError
from graphnas.files import replacing

_MOST_NETS = 2000


def save_overlay(placement: Placement, technology: Technology, found: Routability, path: str | Path) -> Path:
    """Draw cells, nets (as stars; at most 2,000, evenly chosen) and, on top, the probability of a violation in every tile.

    Raises:
        GraphnasError: no hotspots were predicted, or a folder that cannot be written.
    """
    if found.hotspots is None:
        raise GraphnasError("there are no hotspots to draw; give a model of hotspots")
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.figure import Figure

    units, grid = placement.units, found.maps.grid
    geometry = geometry_of(placement, technology)
    figure = Figure(figsize=(7.5, 6.5), layout="constrained")
    axes = figure.add_subplot()
    boxes = geometry.cells[~np.isnan(geometry.cells[:, 0])] / units
    corners = list(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
    axes.add_collection(PolyCollection(corners, facecolor="#e8e8e8", edgecolor="#9a9a9a", linewidth=0.4))
    axes.add_collection(
        LineCollection(_stars(geometry.pins / units, geometry.start), colors="#3b6ea5", linewidths=0.25, alpha=0.35)
    )
    most = max(0.05, float(found.hotspots.max()))
    # Tiles that are hardly in danger stay clear, so that cells and nets are seen.
    shade = 0.75 * np.clip(found.hotspots / most, 0, 1)
    image = axes.pcolormesh(grid.x / units, grid.y / units, found.hotspots, cmap="YlOrRd", vmin=0, vmax=most, zorder=3)
    image.set_alpha(shade)  # type: ignore[arg-type]  # matplotlib takes an array, its annotation does not say so
    image.set_rasterized(True)
    figure.colorbar(image, ax=axes, shrink=0.85, label="probability of a violation in the tile")
    count = "" if found.violated is None else f", {found.violated:.0f} of {found.nets} nets expected to be violated"
    axes.set_title(f"{found.design}{count}", fontsize=10)
    axes.set_xlabel("µm")
    axes.set_aspect("equal")
    axes.autoscale_view()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130, metadata={"Software": None})
    with replacing(Path(path)) as file:
        file.write(picture.getvalue())
    return Path(path)


def _stars(pins: np.ndarray, start: np.ndarray) -> list[np.ndarray]:
    """Lines from the pins of a net to their mean."""
    lines: list[np.ndarray] = []
    count = len(start) - 1
    nets = np.unique(np.linspace(0, max(count - 1, 0), min(count, _MOST_NETS)).astype(np.int64))
    for net in nets:
        of_net = pins[start[net] : start[net + 1]]
        if len(of_net) > 1:
            middle = of_net.mean(axis=0)
            lines += [np.stack([pin, middle]) for pin in of_net]
    return lines
