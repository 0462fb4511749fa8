"""CircuitNet's files in, and maps packed as its training scripts pack them.

CircuitNet (Chai et al., "CircuitNet: An Open-Source Dataset for Machine Learning in VLSI CAD Applications with Improved
Domain-Specific Evaluation Metric and Learning Strategies", IEEE TCAD 2023) stores one array a map, indexed [x, y].
graphnas indexes [row, column] = [y, x]: ``read_map`` turns maps; the packed arrays keep CircuitNet's own order, because
that is what trained models of others expect.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eda.geometry import Geometry
from eda.grid import Floats, Grid, square
from graphnas.errors import GraphnasError
from graphnas.files import MAX_NPZ_BYTES, load_npz

CONGESTION_FEATURES = ("macro_region", "RUDY", "RUDY_pin")
CONGESTION_LABELS = ("congestion_GR_horizontal_overflow", "congestion_GR_vertical_overflow")
DRC_FEATURES = (
    "macro_region",
    "cell_density",
    "RUDY_long",
    "RUDY_short",
    "RUDY_pin_long",
    "congestion_eGR_horizontal_overflow",
    "congestion_eGR_vertical_overflow",
    "congestion_GR_horizontal_overflow",
    "congestion_GR_vertical_overflow",
)
_INTEGERS = ("box", "pin_net", "pin_node", "n_nets")
_MACRO = 10  # tiles; larger cells are taken as hard macros


def read_map(path: str | Path, name: str | None = None) -> Floats:
    """One map of CircuitNet as float64[ny, nx], row 0 at the bottom.

    Args:
        path: a .npy file, or an .npz file.
        name: which array of an .npz file; needed when it holds several.

    Raises:
        GraphnasError: missing, damaged, made of Python objects, or no two-dimensional array of finite numbers.
    """
    path = Path(path)
    if path.suffix == ".npz":
        found = load_npz(path, None if name is None else [name])
        if len(found) != 1:
            raise GraphnasError(f"{path} holds several arrays; name one of {', '.join(found)}")
        (values,) = found.values()
    else:
        values = _read_npy(path)
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise GraphnasError(f"{path} is not a two-dimensional map of finite numbers")
    return np.ascontiguousarray(values.T, np.float64)


def _read_npy(path: Path) -> NDArray[np.generic]:
    try:
        if path.stat().st_size > MAX_NPZ_BYTES:
            raise GraphnasError(f"{path} is larger than {MAX_NPZ_BYTES} bytes")
        values: NDArray[np.generic] = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except FileNotFoundError:
        raise GraphnasError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise GraphnasError(f"{path} is not a readable npy file ({error})") from None
    return values


def scaled(values: Floats) -> Floats:
    """(values - least) / (greatest - least); zeros when all are equal."""
    low, high = values.min(), values.max()
    result: Floats = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return result


def resized(values: Floats, size: int = 256) -> Floats:
    """A map brought to size x size by cubic splines (``scipy.ndimage.zoom``, order 3), as CircuitNet does."""
    rows, columns = values.shape
    result: Floats = ndimage.zoom(np.asarray(values), (size / rows, size / columns), order=3)
    return result


def resized_by_area(values: Floats, size: int = 256) -> Floats:
    """A map brought to size x size by averaging over the covered area (what OpenCV calls INTER_AREA when shrinking)."""
    result: Floats = _overlap(values.shape[0], size) @ values @ _overlap(values.shape[1], size).T
    return result


def _overlap(old: int, new: int) -> Floats:
    """float64[new, old]: the share of every old pixel in every new one."""
    edges = np.arange(new + 1) * old / new
    low = np.maximum(edges[:-1, None], np.arange(old))
    high = np.minimum(edges[1:, None], np.arange(old) + 1)
    result: Floats = np.maximum(high - low, 0.0) * new / old
    return result


def pack_congestion(maps: Mapping[str, Floats], size: int = 256) -> tuple[Floats, Floats | None]:
    """Features and label of the congestion task, as CircuitNet packs them.

    Args:
        maps: by CircuitNet's names, indexed [x, y]: CONGESTION_FEATURES, and for a label CONGESTION_LABELS.
        size: edge of the packed maps.

    Returns:
        feature[size, size, 3] in [0, 1]; label[size, size, 1], the scaled sum of both overflows, or None without them.

    Raises:
        GraphnasError: a map is missing.
    """
    feature = np.stack([scaled(resized(_named(maps, name), size)) for name in CONGESTION_FEATURES], -1)
    if not all(name in maps for name in CONGESTION_LABELS):
        return feature, None
    total = np.zeros((size, size))
    for name in CONGESTION_LABELS:
        total += resized(maps[name], size)
    return feature, scaled(total)[..., None]


def pack_violations(maps: Mapping[str, Floats], size: int = 256) -> tuple[Floats, Floats | None]:
    """Features and label of the design-rule task, as CircuitNet packs them.

    Note that four of the nine features come from global routing: this is a later stage than a placement.

    Args:
        maps: by CircuitNet's names, indexed [x, y]: DRC_FEATURES, and for a label DRC_all.
        size: edge of the packed maps.

    Returns:
        feature[size, size, 9] in [0, 1]; label[size, size, 1], violations clipped at 200 and divided by 200, or None.

    Raises:
        GraphnasError: a map is missing.
    """
    feature = np.stack([scaled(resized(_named(maps, name), size)) for name in DRC_FEATURES], -1)
    if "DRC_all" not in maps:
        return feature, None
    return feature, (np.clip(resized_by_area(maps["DRC_all"], size), 0, 200) / 200)[..., None]


def _named(maps: Mapping[str, Floats], name: str) -> Floats:
    if name not in maps:
        raise GraphnasError(f"the map {name!r} is missing; there are {', '.join(sorted(maps)) or 'none'}")
    return maps[name]


def read_placement(path: str | Path) -> tuple[Geometry, Grid]:
    """A placement given by tiles: the cells' boxes in tiles, and which pin belongs to which net and cell.

    Every pin stands in the middle of its cell; lengths are in tiles, so that a net is one tile wide at least. Cells of ten
    tiles or more in both directions are taken as hard macros; cells at -1 have no place.

    Args:
        path: npz with box[n, 4] (first and last tile, inclusive), pin_net[p], pin_node[p], n_nets.

    Returns:
        the geometry, and the grid of its tiles.

    Raises:
        GraphnasError: missing, damaged, or numbers that do not fit each other.
    """
    path = Path(path)
    arrays = load_npz(path, _INTEGERS)
    box, net, node = (arrays[name] for name in _INTEGERS[:3])
    if any(arrays[name].dtype.kind not in "iu" for name in _INTEGERS) or box.ndim != 2 or box.shape[1] != 4:
        raise GraphnasError(f"{path}: box[n, 4], pin_net, pin_node and n_nets must be integers")
    nets = int(arrays["n_nets"])
    if net.shape != node.shape or net.ndim != 1 or not len(net):
        raise GraphnasError(f"{path}: pin_net and pin_node must be of one length")
    if net.min() < 0 or net.max() >= nets or node.min() < 0 or node.max() >= len(box) or nets > len(net):
        raise GraphnasError(f"{path}: a pin names a net or a cell that does not exist")
    cells = box.astype(np.float64)
    cells[:, 2:] += 1
    cells[(box < 0).any(1)] = np.nan
    order = np.argsort(net, kind="stable")
    middle = (cells[:, :2] + cells[:, 2:]) / 2
    size = cells[:, 2:] - cells[:, :2]
    geometry = Geometry(
        cells,
        np.asarray((size >= _MACRO).all(1)),
        middle[node[order]],
        np.zeros(len(net), np.bool_),
        np.append(0, np.cumsum(np.bincount(net, minlength=nets))).astype(np.int64),
        np.zeros((0, 2)),
        1.0,
        (1.0, 1.0),
    ).placed()
    right, top = np.nanmax(cells[:, 2]), np.nanmax(cells[:, 3])
    return geometry, Grid(*square(0, 0, float(right), float(top), 1.0))
