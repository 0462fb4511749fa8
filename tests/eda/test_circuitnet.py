"""CircuitNet's files: the packing equals a published sample, placements of tiles, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eda.circuitnet import (
    CONGESTION_FEATURES,
    DRC_FEATURES,
    pack_congestion,
    pack_violations,
    read_map,
    read_placement,
    resized_by_area,
    scaled,
)
from eda.features import geometry_maps
from graphnas.errors import GraphnasError

SAMPLE = "eda/circuitnet/1-RISCY-a-1-c2-u0.7-m1-p1-f0.npz"
PLACED = "eda/circuitnet/7157-zero-riscy-a-1-c2-u0.8-m1-p1-f0.npz"


def test_packing_equals_the_published_sample(data_folder: Path) -> None:
    path = data_folder / SAMPLE
    if not path.is_file():
        pytest.skip(f"{SAMPLE} is not below GRAPHNAS_DATA")
    with np.load(path) as sample:
        maps = {name: sample[name] for name in CONGESTION_FEATURES}
        feature, label = pack_congestion(maps)
        np.testing.assert_allclose(feature, sample["feature"], atol=1e-6)
        assert label is None
        # Rows of a map are rows of the die: the file's [x, y] is turned.
        np.testing.assert_array_equal(read_map(path, "RUDY"), sample["RUDY"].T)


def test_labels_by_hand() -> None:
    size = 64
    ramp = np.outer(np.arange(size), np.ones(size))
    maps = dict.fromkeys((*CONGESTION_FEATURES, *DRC_FEATURES), ramp)
    maps["congestion_GR_vertical_overflow"] = ramp.T
    feature, label = pack_congestion(maps, size)
    assert label is not None
    np.testing.assert_allclose(feature[..., 0], ramp / (size - 1), atol=1e-12)
    np.testing.assert_allclose(label[..., 0], (ramp + ramp.T) / (2 * size - 2), atol=1e-12)
    feature, label = pack_violations({**maps, "DRC_all": 10 * ramp}, size)
    assert label is not None
    assert feature.shape == (size, size, 9)
    np.testing.assert_allclose(label[:, 0, 0], np.minimum(np.arange(size) / 20, 1.0), atol=1e-12)
    with pytest.raises(GraphnasError, match="'macro_region' is missing"):
        pack_congestion({})
    assert not scaled(np.full((3, 3), 7.0)).any()


def test_area_resizing_averages() -> None:
    values = np.random.default_rng(0).normal(size=(12, 6))
    np.testing.assert_allclose(resized_by_area(values, 3), values.reshape(3, 4, 3, 2).mean((1, 3)))
    assert resized_by_area(values, 5).mean() == pytest.approx(values.mean())
    np.testing.assert_allclose(resized_by_area(np.ones((7, 9)), 4), np.ones((4, 4)))


def test_a_placement_of_tiles(data_folder: Path) -> None:
    path = data_folder / PLACED
    if not path.is_file():
        pytest.skip(f"{PLACED} is not below GRAPHNAS_DATA")
    geometry, grid = read_placement(path)
    maps = geometry_maps(geometry, grid, ["pin_density", "rudy", "macro_region", "cell_count"])
    with np.load(path) as raw:
        box, node, net = raw["box"], raw["pin_node"], raw["pin_net"]
    placed = (box >= 0).all(1)
    assert maps["pin_density"].sum() == placed[node].sum()
    spans = box[placed]
    expected = np.zeros(grid.shape)
    for x1, y1, x2, y2 in spans.tolist():
        expected[y1 : y2 + 1, x1 : x2 + 1] += 1
    np.testing.assert_array_equal(maps["cell_count"], expected)
    # Independent sum over nets: half perimeter of the middles, one tile at least.
    middle = (box[:, :2] + box[:, 2:] + 1) / 2
    total = 0.0
    pins = placed[node]
    order = np.argsort(net[pins], kind="stable")
    where, whose = middle[node[pins]][order], net[pins][order]
    for part in np.split(where, np.flatnonzero(np.diff(whose)) + 1):
        total += np.maximum(part.max(0) - part.min(0), 1.0).sum()
    assert (maps["rudy"] * grid.areas).sum() == pytest.approx(total)


def test_damaged_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4)))
    with pytest.raises(GraphnasError, match="not a two-dimensional map"):
        read_map(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([[1.0, np.nan]]))
    with pytest.raises(GraphnasError, match="not a two-dimensional map"):
        read_map(tmp_path / "a.npy")
    np.save(tmp_path / "o.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(GraphnasError, match="not a readable npy file"):
        read_map(tmp_path / "o.npy")
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-3])
    with pytest.raises(GraphnasError, match="not a readable npy file"):
        read_map(tmp_path / "a.npy")
    with pytest.raises(GraphnasError, match="does not exist"):
        read_map(tmp_path / "b.npy")
    np.savez(tmp_path / "p.npz", box=np.zeros((2, 4), int), pin_net=[0, 5], pin_node=[0, 1], n_nets=2)
    with pytest.raises(GraphnasError, match="names a net or a cell that does not exist"):
        read_placement(tmp_path / "p.npz")
