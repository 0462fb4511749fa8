"""The data set as one file: packed from the folder of a build, read from the package.

The file is an npz archive without pickle. Samples lie one after the other; ``shapes`` tells where each ends.

    features      float16[maps, tiles of all samples], row after row; half precision keeps three digits
    hotspots      uint16[efforts, tiles of all samples]
    nodes         int16[nodes of all samples, 3], effort after effort, sample after sample
    node_counts   int32[efforts, samples]
    violated      int32[efforts, samples]; ``first`` the same for nets that failed in stage 1
    nets          int32[samples]
    shapes        int32[samples, 2], rows and columns of tiles
    graph_*       cells, nets and pins on the tiles: see ``eda.net_graph.packed``
    meta          JSON text: maps, efforts, tile, and a record for each sample
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from eda.dataset import Dataset, Sample, SampleLabel
from eda.def_reader import read_def
from eda.features import STANDARD, feature_maps
from eda.grid import tile_grid
from eda.net_graph import NetGraph, net_graph, packed, unpacked
from eda.route import Recipe, library
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz

PACKED = Path(__file__).parent / "data" / "routability_osu035.npz"
"""The data set that comes with the package."""
MAX_BYTES = 1 << 30
_GRAPH = ("cells", "degree", "pins", "boxes", "sizes")
_ARRAYS = ("features", "hotspots", "nodes", "node_counts", "violated", "first", "nets", "shapes", "meta")


@lru_cache(maxsize=1)
def load() -> Dataset:
    """The data set that comes with the package.

    Raises:
        GraphnasError: the file is missing or damaged.
    """
    if not PACKED.is_file():
        raise GraphnasError(
            f"{PACKED} is missing; build a data set with `graphnas eda dataset build --out FILE` and give --data FILE"
        )
    return load_dataset(PACKED)


def load_dataset(path: Path | str) -> Dataset:
    """Read a packed data set.

    Raises:
        GraphnasError: missing, damaged, or no such file; the sentence says what is wrong.
    """
    arrays = load_npz(Path(path), [*_ARRAYS, *(f"graph_{name}" for name in _GRAPH)], max_bytes=MAX_BYTES)
    try:
        meta = json.loads(str(arrays["meta"]))
        return _unpacked(arrays, meta)
    except (KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise GraphnasError(f"{path} is no packed data set ({type(error).__name__}: {error}); pack it again") from None


def _unpacked(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> Dataset:
    maps, efforts, records = tuple(meta["maps"]), [int(effort) for effort in meta["efforts"]], meta["samples"]
    shapes = arrays["shapes"].astype(np.int64)
    tiles = np.concatenate([[0], np.cumsum(shapes.prod(1))])
    counts = arrays["node_counts"].astype(np.int64)
    if len(shapes) != len(records) or arrays["features"].shape != (len(maps), tiles[-1]):
        raise ValueError("its arrays do not fit its records")
    if (
        counts.shape != (len(efforts), len(records))
        or counts.min(initial=0) < 0
        or counts.sum() != len(arrays["nodes"])
    ):
        raise ValueError("its lists of nodes do not fit its records")
    graphs = unpacked({name: arrays[f"graph_{name}"] for name in _GRAPH})
    if len(graphs) != len(records):
        raise ValueError("its graphs do not fit its records")
    ends = np.concatenate([[0], np.cumsum(counts.ravel())])
    samples = []
    for place, record in enumerate(records):
        shape = tuple(shapes[place].tolist())
        part = slice(int(tiles[place]), int(tiles[place + 1]))
        labels = {}
        for row, effort in enumerate(efforts):
            first = row * len(records) + place
            labels[effort] = SampleLabel(
                effort=effort,
                violated=int(arrays["violated"][row, place]),
                nets=int(arrays["nets"][place]),
                hotspots=arrays["hotspots"][row, part].astype(np.int32).reshape(shape),
                nodes=arrays["nodes"][ends[first] : ends[first + 1]],
                failed_first=int(arrays["first"][row, place]),
            )
        features = arrays["features"][:, part].astype(np.float32).reshape(len(maps), *shape)
        samples.append(_sample(record, features, labels, graphs[place]))
    return Dataset(maps, tuple(samples), float(meta["tile"]))


def _sample(
    record: dict[str, Any], features: np.ndarray, labels: dict[int, SampleLabel], graph: NetGraph | None
) -> Sample:
    recipe = dict(record["recipe"])
    recipe["efforts"] = tuple(recipe["efforts"])
    taken = ("name", "design", "family", "part", "recipe")
    facts = {key: value for key, value in record.items() if key not in taken}
    name, design, family, part = (str(record[key]) for key in taken[:4])
    return Sample(name, design, family, part, features, labels, Recipe(**recipe), facts, graph)


def save_dataset(dataset: Dataset, path: Path | str) -> Path:
    """Pack a data set into one file; feature maps are rounded to half precision.

    Raises:
        GraphnasError: samples without a common effort, counts above 65,535 in a tile, or a folder that cannot be written.
    """
    efforts = dataset.efforts
    if not efforts:
        raise GraphnasError("the samples have no routing effort in common; a data set needs one")
    samples = dataset.samples
    table = [[sample.labels[effort] for sample in samples] for effort in efforts]
    hotspots = [np.concatenate([label.hotspots.ravel() for label in row]) for row in table]
    if max(int(row.max(initial=0)) for row in hotspots) > np.iinfo(np.uint16).max:
        raise GraphnasError("a tile has more than 65,535 shorted nodes; choose smaller tiles")
    records = [
        {
            "name": sample.name,
            "design": sample.design,
            "family": sample.family,
            "part": sample.part,
            "recipe": {**vars(sample.recipe), "efforts": list(sample.recipe.efforts)},
            **sample.facts,
        }
        for sample in samples
    ]
    meta = {"maps": list(dataset.maps), "efforts": list(efforts), "tile": dataset.tile, "samples": records}
    return save_npz(
        Path(path),
        {
            "features": np.concatenate([s.features.reshape(len(s.features), -1) for s in samples], 1).astype(
                np.float16
            ),
            "hotspots": np.stack(hotspots).astype(np.uint16),
            "nodes": np.concatenate([label.nodes for row in table for label in row]).astype(np.int16),
            "node_counts": np.array([[len(label.nodes) for label in row] for row in table], np.int32),
            "violated": np.array([[label.violated for label in row] for row in table], np.int32),
            "first": np.array([[label.failed_first for label in row] for row in table], np.int32),
            "nets": np.array([label.nets for label in table[0]], np.int32),
            "shapes": np.array([sample.features.shape[1:] for sample in samples], np.int32).reshape(-1, 2),
            "meta": np.array(json.dumps(meta, sort_keys=True)),
            **{f"graph_{name}": array for name, array in packed([sample.graph for sample in samples]).items()},
        },
    )


def pack(folder: Path | str, maps: Sequence[str] = STANDARD) -> Dataset:
    """The data set in the folder of a build: features of every placed DEF, and the labels beside it.

    Args:
        folder: of the build.
        maps: names of the feature maps.

    Raises:
        GraphnasError: nothing was built there, or a file is missing or damaged.
    """
    files = sorted(Path(folder).glob("*.npz"))
    if not files:
        raise GraphnasError(f"{folder} holds no built sample; run `graphnas eda dataset build --folder {folder}` first")
    samples = [read_built(file, maps) for file in files]
    tiles = {sample.recipe.tile for sample in samples}
    if len(tiles) != 1:
        raise GraphnasError(f"{folder} holds samples with tiles of {sorted(tiles)} microns; a data set has one size")
    return Dataset(tuple(maps), tuple(samples), tiles.pop())


def read_built(file: Path, maps: Sequence[str] = STANDARD) -> Sample:
    """One sample of a build's folder, its features as the packed file rounds them.

    Raises:
        GraphnasError: a file is missing or damaged.
    """
    technology, _ = library()
    arrays = load_npz(file)
    try:
        record = json.loads(str(arrays["meta"]))
        placement = read_def(file.with_name(f"{record['name']}.def.gz"))
        grid = tile_grid(placement, float(record["recipe"]["tile"]), "rows")
        features = feature_maps(placement, technology, grid, maps).values.astype(np.float16).astype(np.float32)
        labels = {}
        for each in record.pop("labels"):
            effort = int(each["effort"])
            labels[effort] = SampleLabel(
                effort,
                int(each["violated"]),
                int(record["nets"]),
                arrays[f"hotspots_{effort}"].astype(np.int32),
                arrays[f"nodes_{effort}"],
                int(each["failed_first"]),
            )
            for key in ("failed", "clean", "unresolved", "wirelength", "vias", "seconds"):
                record.setdefault("router", {}).setdefault(str(effort), {})[key] = each[key]
        return _sample(record, features, labels, net_graph(placement, technology, grid))
    except (KeyError, ValueError, TypeError) as error:
        raise GraphnasError(
            f"{file} is no built sample ({type(error).__name__}: {error}); delete it and build again"
        ) from None
