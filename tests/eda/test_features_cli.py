"""``graphnas eda features``: what it writes and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eda.cli import app
from eda.def_reader import read_def
from eda.features import FEATURES, feature_maps
from eda.grid import tile_grid
from eda.lef_reader import read_lef
from graphnas.errors import GraphnasError
from graphnas.files import load_npz

LEF = """LAYER m1 TYPE ROUTING ; DIRECTION HORIZONTAL ; PITCH 1 ; END m1
LAYER m2 TYPE ROUTING ; DIRECTION VERTICAL ; PITCH 1 ; END m2
LAYER m3 TYPE ROUTING ; DIRECTION HORIZONTAL ; PITCH 1 ; END m3
MACRO a CLASS CORE ; SIZE 2 BY 4 ; PIN A PORT LAYER m1 ; RECT 0 0 1 1 ; END END A END a
"""
DEF = """DESIGN d ; UNITS DISTANCE MICRONS 10 ; DIEAREA ( 0 0 ) ( 250 200 ) ;
GCELLGRID X 0 DO 3 STEP 100 ; GCELLGRID Y 0 DO 3 STEP 100 ;
COMPONENTS 2 ; - u a + PLACED ( 0 0 ) N ; - v a + PLACED ( 200 150 ) N ; END COMPONENTS
NETS 1 ; - n ( u A ) ( v A ) ; END NETS
END DESIGN
"""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "x.lef").write_text(LEF)
    (tmp_path / "x.def").write_text(DEF)
    return ["features", "--lef", str(tmp_path / "x.lef"), "--def", str(tmp_path / "x.def")]


def test_files(files: list[str], tmp_path: Path) -> None:
    paths = {name: str(tmp_path / name) for name in ("m.npz", "m.csv", "m.png")}
    done = CliRunner().invoke(app, [*files, "--tile", "10", "--out", paths["m.npz"]])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("d: 2 cells, 1 nets, 3 x 2 tiles\n")
    technology, placement = read_lef(tmp_path / "x.lef"), read_def(tmp_path / "x.def")
    expected = feature_maps(placement, technology, tile_grid(placement, 10))
    stored = load_npz(tmp_path / "m.npz")
    np.testing.assert_array_equal(stored["values"], expected.values)
    assert tuple(stored["names"]) == expected.names
    assert stored["units"].tolist() == [FEATURES[name].unit for name in expected.names]
    assert (stored["x"].tolist(), stored["y"].tolist()) == ([0, 10, 20, 25], [0, 10, 20])
    few = ["--map", "rudy", "--map", "flyline_tree"]
    CliRunner().invoke(app, [*files, *few, "--out", paths["m.csv"], "--picture", paths["m.png"]])
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    with open(paths["m.csv"]) as file:
        rows = list(csv.DictReader(file))
    rudy = expected["rudy"]
    assert len(rows) == 6  # the grid of the DEF is the same
    for row in rows:
        assert float(row["rudy"]) == pytest.approx(rudy[int(row["row"]), int(row["column"])])
    assert [rows[2][key] for key in ("column", "row", "x1", "x2", "y2")] == ["2", "0", "20", "25", "10"]


def test_json(files: list[str]) -> None:
    done = CliRunner().invoke(app, [*files, "--json", "--map", "pin_density"])
    record = json.loads(done.output)
    assert record["maps"] == {"pin_density": {"mean": 2 / 6, "max": 1.0}}
    assert (record["design"], record["columns"], record["rows"]) == ("d", 3, 2)


def test_refusals_leave_no_file(files: list[str], tmp_path: Path) -> None:
    for words, reason in (
        (["--out", str(tmp_path / "m.txt")], "npz or .csv"),
        (["--out", str(tmp_path / "m.npz"), "--map", "rudi"], "nearest: rudy"),
        (["--out", str(tmp_path / "m.npz"), "--tile", "0"], "cannot be made"),
        (["--out", str(tmp_path / "m.npz"), "--tile", "5", "--area", "core"], "unknown area 'core'"),
    ):
        done = CliRunner().invoke(app, [*files, *words])
        assert isinstance(done.exception, GraphnasError)
        assert reason in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.def", "x.lef"]


def test_every_map_is_listed() -> None:
    lines = CliRunner().invoke(app, ["maps"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(FEATURES)
