"""Feature maps as files: npz and CSV with all numbers, PNG to look at."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eda.features import FEATURES, Maps
from graphnas.errors import GraphnasError
from graphnas.files import replacing, save_npz


def save_maps(maps: Maps, path: str | Path) -> Path:
    """Write maps as npz or CSV, as the name ends.

    The npz holds values[m, ny, nx] with names[m] and units[m], and the lines x[nx + 1] and y[ny + 1] in microns.
    The CSV has a line for every tile: column, row, x1, y1, x2, y2 in microns, and one column for every map.

    Raises:
        GraphnasError: another ending, or a folder that cannot be written.
    """
    path = Path(path)
    if path.suffix == ".npz":
        arrays = {
            "values": maps.values,
            "names": np.array(maps.names),
            "units": np.array([FEATURES[name].unit if name in FEATURES else "" for name in maps.names]),
            "x": maps.grid.x / maps.units,
            "y": maps.grid.y / maps.units,
        }
        return save_npz(path, arrays)
    if path.suffix != ".csv":
        raise GraphnasError(f"maps are written as .npz or .csv, not as {path.name}")
    with replacing(path) as file:
        for line in _lines(maps):
            file.write(line.encode())
    return path


def _lines(maps: Maps) -> Iterator[str]:
    yield ",".join(["column", "row", "x1", "y1", "x2", "y2", *maps.names]) + "\n"
    x, y = (maps.grid.x / maps.units).tolist(), (maps.grid.y / maps.units).tolist()
    for row in range(maps.grid.shape[0]):
        numbers = maps.values[:, row].T.tolist()
        for column, values in enumerate(numbers):
            place = (column, row, x[column], y[row], x[column + 1], y[row + 1])
            yield ",".join(f"{value:.10g}" for value in (*place, *values)) + "\n"


def save_picture(maps: Maps, path: str | Path, names: Sequence[str] | None = None) -> Path:
    """Draw maps side by side as PNG, each with its own scale; the picture has the die's own up and right.

    Raises:
        GraphnasError: an unknown name, or a folder that cannot be written.
    """
    from matplotlib.figure import Figure

    names = maps.names if names is None else names
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    height, width = maps.grid.y[-1] - maps.grid.y[0], maps.grid.x[-1] - maps.grid.x[0]
    figure = Figure(
        figsize=(3.4 * columns, (0.7 + 2.6 * min(2.0, max(0.5, height / width))) * rows), layout="constrained"
    )
    x, y = maps.grid.x / maps.units, maps.grid.y / maps.units
    for number, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, number + 1)
        unit = FEATURES[name].unit if name in FEATURES else ""
        image = axes.pcolormesh(x, y, maps[name], cmap="viridis", rasterized=True)
        figure.colorbar(image, ax=axes, shrink=0.8)
        axes.set_title(f"{name} ({unit.replace('um', 'µm')})" if unit not in ("", "1") else name, fontsize=9)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    with replacing(Path(path)) as file:
        file.write(picture.getvalue())
    return Path(path)
