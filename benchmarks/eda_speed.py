"""Speed of feature maps and readers: python benchmarks/eda_speed.py [--quick]

    maps          all feature maps of a placement of 42,102 cells (CircuitNet-N28 7157, 221 x 221 tiles; needs
                  eda/circuitnet/7157-*.npz below GRAPHNAS_DATA); the map of spanning trees, made on request, beside it
    rudy          RUDY of the same placement, against a loop over its nets in plain Python and against one whose inner part
                  is numpy's (a slice a net); all start from the pins
    million       all maps of a synthetic placement of a million nets and 3.5 million pins on 667 x 667 tiles, with the
                  peak memory of the process (--quick: a tenth of it)
    def           reading a synthetic DEF of 52 MB: 300,000 cells and nets (--quick: a tenth of it)
    predict       `graphnas eda predict` with the models of the package on a synthetic DEF of 1,000 cells, start of the process
                  included (wall time beside it)

CPU seconds of one thread, the best of 3 runs (million and def: one run). Rows are appended to a file of JSON lines as they
are measured; a second run measures what is missing, and prints the table from the file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np

from eda.circuitnet import read_placement
from eda.def_reader import read_def
from eda.def_writer import write_def
from eda.features import geometry_maps
from eda.geometry import Geometry, Wires, wires_of
from eda.grid import Floats, Grid, square
from eda.placement import Cells, Nets, Placement
from graphnas.data import find
from graphnas.errors import GraphnasError

PLACED = "eda/circuitnet/7157-zero-riscy-a-1-c2-u0.8-m1-p1-f0.npz"
Row = dict[str, Any]


def seconds(call: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def placed() -> tuple[Geometry, Grid]:
    path = find(PLACED)
    if path is None:
        raise GraphnasError(f"{PLACED} is not in GRAPHNAS_DATA; --only million or --only def need no data")
    return read_placement(path)


def maps(_: bool) -> list[Row]:
    geometry, grid = placed()
    everything = seconds(lambda: geometry_maps(geometry, grid))
    trees = seconds(lambda: geometry_maps(geometry, grid, ["flyline_tree"]))
    return [
        {"what": "all maps, 42k cells", "seconds": everything, "target": 0.5},
        {"what": "spanning trees, 42k cells", "seconds": trees},
    ]


def box_of(pins: list[list[float]], grid: Grid) -> tuple[float, float, float, float]:
    """The box around pins, one tile wide and high at least, within the grid."""
    across, up = [x for x, _ in pins], [y for _, y in pins]
    x1, y1, x2, y2 = min(across), min(up), max(across), max(up)
    wide, high = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    x1 = max(min((x1 + x2 - wide) / 2, grid.shape[1] - wide), 0.0)
    y1 = max(min((y1 + y2 - high) / 2, grid.shape[0] - high), 0.0)
    return x1, y1, x1 + wide, y1 + high


def rudy_by_net(wires: Wires, grid: Grid) -> Floats:
    """As one writes it first: for every net, for every tile of its box, the overlap. Tiles are one unit."""
    rows, columns = grid.shape
    result = [[0.0] * columns for _ in range(rows)]
    pins, start = wires.pins.tolist(), wires.start.tolist()
    for net in range(len(start) - 1):
        x1, y1, x2, y2 = box_of(pins[start[net] : start[net + 1]], grid)
        weight = 1 / (x2 - x1) + 1 / (y2 - y1)
        for j in range(int(y1), min(rows, int(-(-y2 // 1)))):
            high = min(y2, j + 1) - max(y1, j)
            for i in range(int(x1), min(columns, int(-(-x2 // 1)))):
                result[j][i] += weight * high * (min(x2, i + 1) - max(x1, i))
    return np.array(result)


def rudy_by_slice(wires: Wires, grid: Grid) -> Floats:
    """For every net, numpy over the tiles of its box. Tiles are one unit."""
    result = np.zeros(grid.shape)
    pins, start = wires.pins.tolist(), wires.start.tolist()
    for net in range(len(start) - 1):
        x1, y1, x2, y2 = box_of(pins[start[net] : start[net + 1]], grid)
        i1, j1, i2, j2 = int(x1), int(y1), int(-(-x2 // 1)), int(-(-y2 // 1))
        wide = np.minimum(x2, np.arange(i1, i2) + 1) - np.maximum(x1, np.arange(i1, i2))
        high = np.minimum(y2, np.arange(j1, j2) + 1) - np.maximum(y1, np.arange(j1, j2))
        result[j1:j2, i1:i2] += (1 / (x2 - x1) + 1 / (y2 - y1)) * high[:, None] * wide
    return result


def rudy(_: bool) -> list[Row]:
    geometry, grid = placed()
    ours = geometry_maps(geometry, grid, ["rudy"])["rudy"]
    wires = wires_of(geometry, grid)
    for loop in (rudy_by_net, rudy_by_slice):
        np.testing.assert_allclose(loop(wires, grid), ours, atol=1e-9)
    fast = seconds(lambda: geometry_maps(geometry, grid, ["rudy"]))
    rows: list[Row] = [{"what": "RUDY, 42k cells", "seconds": fast}]
    for name, loop in (("net by net, plain Python", rudy_by_net), ("net by net, numpy slices", rudy_by_slice)):
        slow = seconds(lambda loop=loop: loop(wires, grid), 1)  # type: ignore[misc]
        rows.append({"what": f"  {name}", "seconds": slow, "times": slow / fast})
    return rows


def million(quick: bool) -> list[Row]:
    nets = 100_000 if quick else 1_000_000
    rng = np.random.default_rng(0)
    side = 2000.0 * nets**0.5
    degree = 1 + rng.geometric(0.4, nets)
    start = np.append(0, np.cumsum(degree))
    corner = rng.uniform(0, side, (nets, 2))
    spread = np.repeat(rng.exponential(20_000, nets), degree)[:, None]
    pins = np.clip(np.repeat(corner, degree, 0) + rng.normal(0, 1, (start[-1], 2)) * spread, 0, side)
    boxes = np.concatenate([corner, np.minimum(corner + np.array([1500, 1400]), side)], 1)
    none = np.zeros(nets, np.bool_)
    geometry = Geometry(boxes, none, pins, np.zeros(len(pins), np.bool_), start, corner[:0], 1000.0, (200.0, 280.0))
    grid = Grid(*square(0, 0, side, side, 3000))
    used = seconds(lambda: geometry_maps(geometry, grid), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return [{"what": f"all maps, {nets:,} nets", "seconds": used, "target": 15.0, "gigabytes": peak}]


def reading(quick: bool) -> list[Row]:
    cells = 30_000 if quick else 300_000
    rng = np.random.default_rng(0)
    degree = 1 + rng.geometric(0.4, cells)
    start = np.append(0, np.cumsum(degree)).astype(np.int64)
    pins = int(start[-1])
    x, y = rng.integers(0, 2_000_000, (2, cells))
    placement = Placement(
        "large",
        1000,
        np.array([[0, 0], [2_000_000, 2_000_000]]),
        Cells(
            [f"core/u_{k // 100}/U{k}" for k in range(cells)],
            tuple(f"CELL{k}" for k in range(60)),
            rng.integers(0, 60, cells).astype(np.int32),
            x,
            y,
            rng.integers(0, 8, cells).astype(np.int8),
            np.ones(cells, np.int8),
        ),
        nets=Nets(
            [f"core/n_{k}" for k in range(cells)],
            start,
            rng.integers(0, cells, pins).astype(np.int32),
            rng.integers(0, 6, pins).astype(np.int32),
            ("A", "B", "C", "Y", "Z", "CK"),
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.def"
        writing = seconds(lambda: write_def(placement, path), 1)
        size = path.stat().st_size / 1e6
        used = seconds(lambda: read_def(path), 1)
    return [
        {"what": f"reading a DEF of {size:.0f} MB", "seconds": used, "target": 15.0},
        {"what": f"writing a DEF of {size:.0f} MB", "seconds": writing},
    ]


LEF = """SITE core SIZE 1.6 BY 20 ; CLASS CORE ; END core
LAYER m1 TYPE ROUTING ; DIRECTION HORIZONTAL ; PITCH 2 ; END m1
LAYER m2 TYPE ROUTING ; DIRECTION VERTICAL ; PITCH 1.6 ; END m2
LAYER m3 TYPE ROUTING ; DIRECTION HORIZONTAL ; PITCH 2 ; END m3
MACRO nand CLASS CORE ; SIZE 8 BY 20 ;
 PIN A PORT LAYER m1 ; RECT 1 8 2 12 ; END END A
 PIN Y PORT LAYER m1 ; RECT 5 8 6 12 ; END END Y
END nand
"""


def small_def(cells: int = 1000, side: int = 25) -> str:
    """Cells at random on ``side`` rows, each with a net to the next but a few."""
    rng = np.random.default_rng(0)
    place = rng.permutation(side * 2 * side)[:cells]
    x, row, wide = place % (2 * side) * 800, place // (2 * side), 2 * side * 800
    lines = [f"DESIGN small ; UNITS DISTANCE MICRONS 100 ; DIEAREA ( 0 0 ) ( {wide} {side * 2000} ) ;"]
    lines += [f"ROW r{k} core 0 {2000 * k} N DO {wide // 160} BY 1 STEP 160 0 ;" for k in range(side)]
    lines += [f"TRACKS {'YX'[k % 2]} 100 DO 200 STEP 200 LAYER m{k + 1} ;" for k in range(3)]
    lines += [f"COMPONENTS {cells} ;"]
    lines += [f"- u{k} nand + PLACED ( {x[k]} {2000 * row[k]} ) N ;" for k in range(cells)]
    order = np.lexsort((x, row))
    lines += [f"END COMPONENTS NETS {cells - 3} ;"]
    lines += [f"- n{k} ( u{order[k]} Y ) ( u{order[k + 3]} A ) ;" for k in range(cells - 3)]
    return "\n".join([*lines, "END NETS END DESIGN", ""])


def predicting(_: bool) -> list[Row]:
    times = []
    with tempfile.TemporaryDirectory() as folder:
        lef, def_ = Path(folder) / "small.lef", Path(folder) / "small.def"
        lef.write_text(LEF)
        def_.write_text(small_def())
        words = ["eda", "predict", "--lef", str(lef), "--def", str(def_), "--json"]
        for _run in range(3):
            before, start = os.times(), time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", "from graphnas.cli import main; main()", *words], check=True, capture_output=True
            )
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            times.append((used, time.perf_counter() - start))
    used, wall = min(times)
    return [{"what": "eda predict, 1,000 cells", "seconds": used, "target": 5.0, "wall": wall}]


CASES = {"maps": maps, "rudy": rudy, "million": million, "def": reading, "predict": predicting}


def known_rows(path: Path) -> dict[tuple[str, bool], list[Row]]:
    """Rows of an earlier run; a line cut short by a kill is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[record["case"], record["quick"]] = record["rows"]
    return found


def show(row: Row) -> None:
    target = row.get("target")
    verdict = "" if target is None else f"{target:>9.1f}  {'met' if row['seconds'] <= target else 'missed'}"
    more = f"  {row['times']:.0f} times slower" if "times" in row else ""
    more += f"  {row['gigabytes']:.2f} GB at most" if "gigabytes" in row else ""
    more += f"  wall {row['wall']:.1f}" if "wall" in row else ""
    print(f"{row['what']:<34}{row['seconds']:>9.3f}{verdict}{more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the synthetic sizes")
    parser.add_argument("--only", default="", choices=["", *CASES], help="one case")
    parser.add_argument("--results", type=Path, default=Path("eda_speed.jsonl"), help="file of rows (%(default)s)")
    given = parser.parse_args()
    known = known_rows(given.results)
    print(f"{'CPU seconds, one thread':<34}{'':>9}{'target':>9}")
    for name, case in CASES.items():
        if given.only not in ("", name):
            continue
        if (name, given.quick) not in known:
            known[name, given.quick] = case(given.quick)
            with given.results.open("a") as file:
                file.write(json.dumps({"case": name, "quick": given.quick, "rows": known[name, given.quick]}) + "\n")
        for row in known[name, given.quick]:
            show(row)


if __name__ == "__main__":
    try:
        main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
