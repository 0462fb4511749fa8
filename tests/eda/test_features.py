"""Feature maps: identities, an independent computation tile by tile, symmetries, and the stored maps of real placements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eda import flylines
from eda.capacity import capacity
from eda.def_reader import read_def
from eda.features import FEATURES, STANDARD, SWAPS, Maps, congestion, feature_maps, geometry_maps, utilisation
from eda.geometry import Geometry, wires_of
from eda.grid import Grid, gcell_grid, square, tile_grid
from eda.lef_reader import read_lef
from eda.placement import Blockage, Cells, GCells, Placement, Row, SpecialNets, Tracks
from eda.technology import Layer, Macro, Technology
from graphnas.errors import GraphnasError

OSU035 = Path("/usr/share/qflow/tech/osu035/osu035_stdcells.lef")
UNITS = 10.0
SIDE = (1000.0, 700.0)


def geometry(seed: int, nets: int = 30) -> Geometry:
    """Random cells and pins at odd coordinates, so that nothing lies on a line of the even grids used here."""
    rng = np.random.default_rng(seed)
    degree = rng.integers(1, 7, nets)
    start = np.append(0, np.cumsum(degree))
    middle = rng.uniform(0, 1, (nets, 2)) * SIDE
    spread = rng.choice([2.0, 40.0, 300.0], nets)
    pins = np.repeat(middle, degree, 0) + rng.normal(0, 1, (start[-1], 2)) * np.repeat(spread, degree)[:, None]
    pins = 2 * np.floor(np.clip(pins, 0, np.array(SIDE) - 2) / 2) + 1
    cells = 2 * rng.integers(0, 300, (20, 2)) + 1.0
    boxes = np.concatenate([cells, cells + 2 * rng.integers(5, 45, (20, 2))], 1)
    is_port = rng.uniform(size=start[-1]) < 0.1
    return Geometry(boxes, rng.uniform(size=20) < 0.3, pins, is_port, start, pins[is_port], UNITS, (6.0, 10.0))


def grid(tile: float = 64.0) -> Grid:
    return Grid(*square(0, 0, *SIDE, tile))


def areas(boxes: np.ndarray, on: Grid) -> np.ndarray:
    inside = on.clip(boxes)
    return (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])


seeds = st.integers(0, 10_000)
tiles = st.sampled_from([38.0, 64.0, 250.0, 2000.0])


@settings(max_examples=40, deadline=None)
@given(seeds, tiles)
def test_identities(seed: int, tile: float) -> None:
    of, on = geometry(seed), grid(tile)
    maps = geometry_maps(of, on, FEATURES.keys() - {"h_capacity", "v_capacity"})
    wires = wires_of(of, on)
    np.testing.assert_allclose(maps["rudy"], maps["rudy_long"] + maps["rudy_short"], atol=1e-12)
    np.testing.assert_allclose(maps["rudy"], maps["rudy_horizontal"] + maps["rudy_vertical"], atol=1e-12)
    total = (maps["rudy"] * on.areas).sum() / UNITS
    assert total == pytest.approx((wires.width + wires.height).sum(), rel=1e-9)
    assert maps["pin_density"].sum() == (~of.is_port).sum()
    assert maps["io_density"].sum() == of.is_port.sum()
    assert maps["pin_rudy"].sum() >= maps["pin_rudy_long"].sum()
    columns, rows = wires.spans[:, 2] - wires.spans[:, 0] + 1, wires.spans[:, 3] - wires.spans[:, 1] + 1
    assert maps["net_count"].sum() == (columns * rows).sum()
    assert maps["h_net_density"].sum() == pytest.approx(columns.sum())
    assert maps["v_net_density"].sum() == pytest.approx(rows.sum())
    assert (maps["cell_density"] * on.areas).sum() == pytest.approx(areas(of.cells, on).sum())
    begin, end = flylines.stars(wires.pins, wires.start)
    drawn = (maps["flyline"] * np.sqrt(on.areas)).sum()
    assert drawn == pytest.approx(np.hypot(*(end - begin).T).sum(), rel=1e-9, abs=1e-9)
    assert all((maps[name] >= 0).all() for name in maps.names)


def by_hand(of: Geometry, on: Grid) -> dict[str, np.ndarray]:
    """The formulas of the docstring, tile by tile and net by net."""
    names = (
        "cell_density",
        "rudy",
        "rudy_short",
        "pin_rudy",
        "net_count",
        "h_net_density",
        "v_net_density",
        "cell_count",
    )
    found = {name: np.zeros(on.shape) for name in (*names, "flyline", "macro_region")}
    nets = [of.pins[a:b] for a, b in zip(of.start, of.start[1:], strict=False)]

    def overlap(box: np.ndarray, tile: tuple[float, ...]) -> float:
        wide = min(box[2], tile[2]) - max(box[0], tile[0])
        high = min(box[3], tile[3]) - max(box[1], tile[1])
        return float(max(wide, 0.0) * max(high, 0.0))

    def touches(box: np.ndarray, tile: tuple[float, ...]) -> bool:
        return bool(box[0] < tile[2] and tile[0] <= box[2] and box[1] < tile[3] and tile[1] <= box[3])

    boxes, weights = [], []
    for pins in nets:
        low, high = pins.min(0), pins.max(0)
        size = np.maximum(high - low, of.least)
        corner = np.clip((low + high - size) / 2, 0, np.array(SIDE) - size)
        boxes.append((np.concatenate([low, high]), np.concatenate([corner, corner + size])))
        weights.append(UNITS / size[0] + UNITS / size[1])
    all_tiles = [
        (j, i, (on.x[i], on.y[j], on.x[i + 1], on.y[j + 1])) for j in range(on.shape[0]) for i in range(on.shape[1])
    ]
    for pins, (tight, grown), weight in zip(nets, boxes, weights, strict=True):
        hit = [(j, i) for j, i, tile in all_tiles if touches(tight, tile)]
        for j, i, tile in all_tiles:
            area = (tile[2] - tile[0]) * (tile[3] - tile[1])
            part = weight * overlap(grown, tile) / area
            found["rudy"][j, i] += part
            found["rudy_short"][j, i] += part if len(hit) == 1 else 0
            for pin in pins:
                found["pin_rudy"][j, i] += weight * touches(np.tile(pin, 2), tile)
                cut = clipped(pin, pins.mean(0), tile)
                found["flyline"][j, i] += cut / np.sqrt(area)
        for j, i in hit:
            found["net_count"][j, i] += 1
            found["h_net_density"][j, i] += 1 / len({row for row, _ in hit})
            found["v_net_density"][j, i] += 1 / len({column for _, column in hit})
    for j, i, tile in all_tiles:
        area = (tile[2] - tile[0]) * (tile[3] - tile[1])
        found["cell_density"][j, i] = sum(overlap(box, tile) for box in of.cells) / area
        found["cell_count"][j, i] = sum(overlap(box, tile) > 0 for box in of.cells)
        found["macro_region"][j, i] = min(1.0, sum(overlap(box, tile) for box in of.cells[of.blocks]) / area)
    return found


def clipped(a: np.ndarray, b: np.ndarray, tile: tuple[float, ...]) -> float:
    """Length of a segment within a tile (Liang and Barsky, 1984)."""
    low, high = 0.0, 1.0
    for axis in (0, 1):
        run = b[axis] - a[axis]
        for edge, sign in ((tile[axis], 1.0), (tile[axis + 2], -1.0)):
            inside = sign * (a[axis] - edge)
            if abs(run) < 1e-12:
                if inside < 0 or (inside == 0 and sign < 0):
                    return 0.0
            elif sign * run > 0:
                low = max(low, -inside / (sign * run))
            else:
                high = min(high, -inside / (sign * run))
    return max(0.0, high - low) * float(np.hypot(*(b - a)))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("uneven", [False, True])
def test_maps_equal_their_formulas(seed: int, uneven: bool) -> None:
    of, on = geometry(seed, nets=12), grid(200.0)
    if uneven:
        on = Grid(np.array([0, 100, 450, 600, 980, 1000.0]), np.array([0, 30, 300, 310, 700.0]))
    maps = geometry_maps(of, on)
    for name, expected in by_hand(of, on).items():
        np.testing.assert_allclose(maps[name], expected, atol=1e-9, err_msg=name)


@settings(max_examples=15, deadline=None)
@given(seeds, tiles, st.integers(-10_000, 10_000), st.integers(-10_000, 10_000))
def test_moving_the_die_changes_nothing(seed: int, tile: float, dx: int, dy: int) -> None:
    of, on = geometry(seed), grid(tile)
    by = np.array([dx, dy, dx, dy], float)
    moved = replace(of, cells=of.cells + by, pins=of.pins + by[:2], ports=of.ports + by[:2])
    there = geometry_maps(moved, Grid(on.x + dx, on.y + dy))
    np.testing.assert_allclose(there.values, geometry_maps(of, on).values, atol=1e-9)


def turned(of: Geometry, on: Grid, way: str) -> tuple[Geometry, Grid]:
    """The geometry after a flip of x, or after x and y changed places."""

    def boxes(b: np.ndarray) -> np.ndarray:
        return np.stack([-b[:, 2], b[:, 1], -b[:, 0], b[:, 3]], 1) if way == "flip" else b[:, [1, 0, 3, 2]]

    def points(p: np.ndarray) -> np.ndarray:
        return p * [-1, 1] if way == "flip" else p[:, ::-1]

    least = of.least if way == "flip" else of.least[::-1]
    grid_there = Grid(-on.x[::-1], on.y) if way == "flip" else Grid(on.y, on.x)
    return replace(of, cells=boxes(of.cells), pins=points(of.pins), ports=points(of.ports), least=least), grid_there


def back(maps: Maps, name: str, way: str) -> np.ndarray:
    """The map of a turned die as the unturned one shows it."""
    partners = SWAPS | {b: a for a, b in SWAPS.items()}
    return np.asarray(maps[name][:, ::-1] if way == "flip" else maps[partners.get(name, name)].T)


@settings(max_examples=15, deadline=None)
@given(seeds, tiles)
def test_flips_and_turns(seed: int, tile: float) -> None:
    """A quarter turn is an exchange of x and y and a flip; the horizontal and vertical maps change places."""
    of, on = geometry(seed), grid(tile)
    maps = geometry_maps(of, on)
    for way in ("flip", "exchange"):
        there = geometry_maps(*turned(of, on, way))
        for name in maps.names:
            np.testing.assert_allclose(back(there, name, way), maps[name], atol=1e-9, err_msg=f"{way} {name}")
    half = geometry_maps(*turned(*turned(of, on, "exchange"), "flip"))  # a quarter turn
    np.testing.assert_allclose(half["rudy_horizontal"][:, ::-1].T, maps["rudy_vertical"], atol=1e-9)


def test_unplaced_pins_and_empty_designs() -> None:
    of, on = geometry(3), grid()
    pins = of.pins.copy()
    pins[of.start[0] : of.start[1]] = np.nan
    maps = geometry_maps(replace(of, pins=pins), on)
    keep = np.arange(len(of.pins)) >= of.start[1]
    start = of.start[1:] - of.start[1]
    fewer = replace(of, pins=of.pins[keep], is_port=of.is_port[keep], start=start)
    np.testing.assert_array_equal(maps.values, geometry_maps(fewer, on).values)
    none = replace(of, cells=of.cells[:0], blocks=of.blocks[:0], pins=of.pins[:0], is_port=of.is_port[:0])
    none = replace(none, start=np.zeros(1, np.int64), ports=of.ports[:0])
    assert not geometry_maps(none, on, FEATURES.keys() - {"h_capacity", "v_capacity"}).values.any()


@pytest.mark.parametrize("seed", range(3))
def test_trees_are_as_short_as_networkx_finds_them(seed: int) -> None:
    of = geometry(seed, nets=20)
    begin, end = flylines.trees(of.pins, of.start)
    expected = 0.0
    for a, b in zip(of.start, of.start[1:], strict=False):
        graph: nx.Graph[int] = nx.Graph()
        for u in range(a, b):
            for v in range(a, u):
                graph.add_edge(u, v, weight=np.abs(of.pins[u] - of.pins[v]).sum())
        expected += sum(d["weight"] for _, _, d in nx.minimum_spanning_edges(graph, data=True))
    assert np.abs(begin - end).sum() == pytest.approx(expected)
    assert len(begin) == len(of.pins) - (len(of.start) - 1)


def test_stored_maps_of_real_placements(data_folder: Path) -> None:
    """The eleven maps equal the stored ones, where definitions agree.

    The stored maps divide by the full tile also at the edge, widen flat nets to the upper right, and sample flylines at
    steps of half a tile, weighing each sample by Manhattan length and leaving ports outside of the rows.
    """
    paths = sorted((data_folder / "eda/osu035_placed").glob("*.def.gz"))
    if not paths:
        pytest.skip("eda/osu035_placed/*.def.gz is not below GRAPHNAS_DATA")
    if not OSU035.is_file():
        pytest.skip(f"{OSU035} is absent; install qflow-tech-osu035")
    technology = read_lef(OSU035)
    for path in paths:
        with np.load(path.with_name(path.name.replace(".def.gz", ".npz"))) as stored:
            names, values = [str(name) for name in stored["feature_names"]], stored["x"]
        assert tuple(names) == STANDARD
        placement = read_def(path)
        on = tile_grid(placement, 10, "rows")
        maps = feature_maps(placement, technology, on, STANDARD, widen="corner")
        assert maps.values.shape == values.shape
        for name, expected in zip(names, values, strict=True):
            own = on.areas / (10 * placement.units) ** 2 if name.startswith(("rudy", "cell")) else 1.0
            if name != "flyline":
                np.testing.assert_allclose(maps[name] * own, expected, atol=3e-6, err_msg=name)
        begin, end = flylines.stars(placement.pin_positions(technology), placement.nets.start)
        length = np.abs(end - begin).sum(1) / (10 * placement.units)
        sampled = np.zeros(on.shape)
        for a, b, long in zip(begin, end, length, strict=True):
            count = max(1, int(2 * long))
            points = a + (b - a) * ((np.arange(count) + 0.5) / count)[:, None]
            np.add.at(sampled, (on.rows(points[:, 1]), on.columns(points[:, 0])), long / count)
        np.testing.assert_allclose(sampled, values[names.index("flyline")], atol=1e-3)
        assert np.corrcoef(maps["flyline"].ravel(), values[names.index("flyline")].ravel())[0, 1] > 0.99


def test_grids() -> None:
    placement = Placement(units=10, die=np.array([[-5, 3], [100, 50]]))
    on = tile_grid(placement, 4.0)
    assert on.x.tolist() == [-5, 35, 75, 100]
    assert on.y.tolist() == [3, 43, 50]
    assert on.columns(np.array([-99, -5, 34.9, 35, 99, 500])).tolist() == [0, 0, 0, 1, 2, 2]
    rows = (Row("a", "s", 0, 5, "N", 9, 1, 10, 0), Row("b", "s", 10, 25, "FS", 9, 1, 10, 0))
    assert tile_grid(replace(placement, rows=rows), 10, "rows").x.tolist() == [0, 100]
    assert tile_grid(replace(placement, rows=rows), 10, "rows").y.tolist() == [5, 45]
    cells = (GCells("X", -5, 3, 30), GCells("X", 70, 1, 0), GCells("Y", 3, 2, 20))
    on = gcell_grid(replace(placement, gcells=cells))
    assert on.x.tolist() == [-5, 25, 55, 70, 100]
    assert on.y.tolist() == [3, 23, 50]
    assert on.rows(np.array([3, 22.9, 23, 49])).tolist() == [0, 0, 1, 1]
    with pytest.raises(GraphnasError, match="no GCELLGRID X"):
        gcell_grid(placement)
    with pytest.raises(GraphnasError, match="choose larger tiles"):
        tile_grid(replace(placement, die=np.array([[0, 0], [10**9, 10**9]])), 0.1)
    with pytest.raises(GraphnasError, match="cannot be made"):
        tile_grid(placement, 0.0)
    with pytest.raises(GraphnasError, match="no ROW statements"):
        tile_grid(placement, 1.0, "rows")


def test_capacity_by_hand() -> None:
    """Two tiles of 100 by 100; four vertical tracks of m2 in each, of which a blockage and a turned macro take parts."""
    ram = Macro("ram", "BLOCK", 2.0, 4.0, obstruction_layers=("m2",), obstructions=np.array([[0, 0, 2.0, 1.0]]))
    layers = {"m1": Layer("m1", "ROUTING", "HORIZONTAL", (1, 1)), "m2": Layer("m2", "ROUTING", "VERTICAL", (1, 1))}
    technology = Technology(layers, macros={"ram": ram})
    west = np.array([1], np.int8)
    cells = Cells(["r"], ("ram",), np.zeros(1, np.int32), np.array([110]), np.array([20]), west, np.ones(1, np.int8))
    placement = Placement(
        units=10,
        die=np.array([[0, 0], [200, 100]]),
        cells=cells,
        special=SpecialNets(
            ["V"], [""], ("m1",), np.zeros(1, np.int32), np.zeros(1, np.int32), np.array([[0, 0, 200, 25]])
        ),
        tracks=(Tracks("X", 0, 8, 25, ("m2",)), Tracks("Y", 5, 10, 10, ("m1",)), Tracks("Y", 5, 10, 10, ("m2",))),
        blockages=(Blockage("m2", ((0, 0, 50, 100),)), Blockage("", ((0, 0, 200, 100),))),
    )
    on = tile_grid(placement, 10.0)
    horizontal, vertical = capacity(placement, technology, on)
    assert horizontal.tolist() == [[7.5, 7.5]]
    # Turned west, the obstruction stands on end at the right side of the macro: 10 wide and 20 high.
    np.testing.assert_allclose(vertical, [[2.0, 4 * (1 - 200 / 10_000)]])
    without = capacity(replace(placement, tracks=(), blockages=()), technology, on)
    np.testing.assert_allclose(without[1], [[10.0, 9.8]])


def test_congestion_and_utilisation() -> None:
    tracks, used = np.array([0.0, 4.0, 4.0]), np.array([3.0, 3.0, 6.0])
    assert congestion(tracks, used).tolist() == [0, 0, 0.5]
    assert utilisation(tracks, used).tolist() == [0, 0.75, 1.5]


def test_wrong_names_are_told() -> None:
    with pytest.raises(GraphnasError, match="unknown feature map 'rudi'; nearest: rudy"):
        geometry_maps(geometry(0), grid(), ["rudi"])
    with pytest.raises(GraphnasError, match="capacity needs tracks"):
        geometry_maps(geometry(0), grid(), ["h_capacity"])
    with pytest.raises(GraphnasError, match="'middle' or 'corner'"):
        geometry_maps(geometry(0), grid(), widen="left")
    with pytest.raises(GraphnasError, match="give the technology LEF too"):
        replace(geometry(0), least=(0.0, 1.0))
