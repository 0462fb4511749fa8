"""Reports of violations, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eda.grid import Grid
from eda.violations import read_violations
from graphnas.errors import GraphnasError

REPORT = """violation type: Short
	srcs: net:clk net:data[3]
	congestion information: 3 of 4
	bbox = (10.5, 20) - (11.5, 20.2) on Layer metal2
violation type: Metal Spacing
	srcs: net:clk inst:u1 obs:
	bbox = (39, 1) - (1, 2) on Layer metal3
  violation type: Recheck
    srcs: a b
    bbox = (0, 0) - (0, 0)
"""


def test_a_report_of_openroad(tmp_path: Path) -> None:
    path = tmp_path / "x.drc"
    path.write_text(REPORT)
    found = read_violations(path)
    assert found.boxes.tolist() == [[10.5, 20, 11.5, 20.2], [1, 1, 39, 2], [0, 0, 0, 0]]
    assert found.layers == ("metal2", "metal3", "")
    assert found.kinds == ("Short", "Metal Spacing", "Recheck")
    assert found.nets == (("clk", "data[3]"), ("clk",), ("a", "b"))
    assert found.violated_nets() == {"clk", "data[3]", "a", "b"}
    assert found.violated_nets(["Metal Spacing"]) == {"clk"}
    grid = Grid(np.array([0, 200, 400.0]), np.array([0, 150, 300.0]))  # tiles of 20 by 15 microns at 10 units a micron
    assert found.rasterised(grid, 10).tolist() == [[2, 1], [1, 0]]
    assert found.rasterised(grid, 10, by="centre").tolist() == [[1, 1], [1, 0]]
    assert found.rasterised(grid, 10, kinds=["Short"]).tolist() == [[0, 0], [1, 0]]
    assert found.rasterised(grid, 10, layer="metal3").tolist() == [[1, 1], [0, 0]]
    with pytest.raises(GraphnasError, match="'touch' or 'centre'"):
        found.rasterised(grid, 10, by="corner")


def test_lists(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text("type,x1,y1,x2,y2,nets,layer\nShort,1,2,0,4,a b;c,m1\nCut,0,0,1,1,,\n")
    found = read_violations(table)
    assert found.boxes.tolist() == [[0, 2, 1, 4], [0, 0, 1, 1]]
    assert (found.kinds, found.layers, found.nets) == (("Short", "Cut"), ("m1", ""), (("a", "b", "c"), ()))
    records = [{"x1": 1, "y1": 2, "x2": 0, "y2": 4, "type": "Short", "nets": ["a", "b", "c"], "layer": "m1"}]
    (tmp_path / "x.json").write_text(json.dumps(records))
    other = read_violations(tmp_path / "x.json")
    assert (other.boxes[0].tolist(), other.nets[0]) == (found.boxes[0].tolist(), found.nets[0])
    (tmp_path / "empty.drc").write_text("")
    assert len(read_violations(tmp_path / "empty.drc")) == 0


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x.drc", "violation type: Short\n", "line 1: the report ends before the bbox of 'Short'"),
        ("x.drc", "\nbbox = (0, 0) - (1, 1) on Layer m1\n", "line 2: bbox without a violation type"),
        ("x.drc", "violation type: S\nbbox = (0, a) - (1, 1) on Layer m1\n", "line 2: a number was expected, not 'a'"),
        ("x.drc", "violation type: S\nviolation type: T\n", "line 2: the violation 'S' before it has no bbox"),
        ("x.drc", "<html>\n", "line 1: '<html>' does not belong"),
        ("x.csv", "x1,y1,x2\n1,2,3\n", "column 'y2' is missing"),
        ("x.csv", "x1,y1,x2,y2\n0,0,1,1\n0,0,1\n", "line 3: y2 is missing"),
        ("x.csv", "x1,y1,x2,y2\n0,0,1,inf\n", "line 2: a finite number"),
        ("x.json", "[\n{", "line 2: no JSON"),
        ("x.json", "[3]", "entry 1: an object"),
    ],
)
def test_wrong_reports(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GraphnasError) as caught:
        read_violations(tmp_path / name)
    assert reason in str(caught.value)
