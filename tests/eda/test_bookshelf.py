"""Bookshelf placements, by hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from eda.bookshelf import read_bookshelf
from eda.features import feature_maps
from eda.grid import tile_grid
from graphnas.errors import GraphnasError

FILES = {
    "d.aux": "RowBasedPlacement : d.nodes d.nets d.wts d.pl d.scl\n",
    "d.nodes": "UCLA nodes 1.0\n# made by hand\nNumNodes : 4\nNumTerminals : 2\n a 2 10\n b 4 10\n ram 6 20 terminal\n p 0 0 terminal_NI\n",
    "d.nets": "UCLA nets 1.0\nNumNets : 2\nNumPins : 5\nNetDegree : 3 n0\n a I : -0.5 4\n b O : 1.5 -2\n ram B : 0 0\n"
    "NetDegree : 2\n a O\n p I : 0 0\n",
    "d.pl": "UCLA pl 1.0\na 0 0 : N\nb 5.5 10 : FS\nram 10 0 : N /FIXED\np -3 5 : N /FIXED_NI\n",
    "d.scl": "UCLA scl 1.0\nNumRows : 2\n"
    + "".join(
        f"CoreRow Horizontal\n Coordinate : {y}\n Height : 10\n Sitewidth : 1\n Sitespacing : 1\n Siteorient : 1\n"
        " SubrowOrigin : 0 NumSites : 20\nEnd\n"
        for y in (0, 10)
    ),
}


def write(folder: Path, **changed: str) -> Path:
    for name, text in {**FILES, **{f"d.{key}": text for key, text in changed.items()}}.items():
        (folder / name).write_text(text)
    return folder / "d.aux"


def test_positions(tmp_path: Path) -> None:
    placement, technology = read_bookshelf(write(tmp_path))
    assert (placement.design, placement.die_box) == ("d", (-3000, 0, 20000, 20000))
    assert placement.cell_boxes(technology).tolist() == [
        [0, 0, 2000, 10000],
        [5500, 10000, 9500, 20000],
        [10000, 0, 16000, 20000],
        [-3000, 5000, -3000, 5000],
    ]
    # Offsets count from the middle of the cell; FS turns b upside down.
    positions = placement.pin_positions(technology).tolist()
    assert positions == [[500, 9000], [9000, 17000], [13000, 10000], [1000, 5000], [-3000, 5000]]
    assert list(placement.nets.names) == ["n0", "net_1"]
    assert [technology.macro(placement.cells.macros[k]).is_block for k in placement.cells.macro] == [
        False,
        False,
        True,
        False,
    ]
    maps = feature_maps(placement, technology, tile_grid(placement, 10))
    areas = tile_grid(placement, 10).areas / 1e6
    assert (maps["macro_region"] * areas).sum() == pytest.approx(6 * 20)
    assert maps["pin_density"].sum() == 5


def test_packed_files_lie_beside(tmp_path: Path) -> None:
    aux = write(tmp_path)
    (tmp_path / "d.nets.gz").write_bytes(gzip.compress((tmp_path / "d.nets").read_bytes()))
    (tmp_path / "d.nets").unlink()
    assert len(read_bookshelf(aux)[0].nets) == 2
    (tmp_path / "d.nets.gz").unlink()
    with pytest.raises(GraphnasError, match=r"d\.nets does not exist, but d\.aux names it"):
        read_bookshelf(aux)


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("nets", "b O : 1.5 -2", "c O : 1.5 -2", "d.nets, line 6: there is no cell 'c'"),
        ("nets", " p I : 0 0\n", "", "d.nets, line 9: the file ends before all nets are complete"),
        ("nets", "NetDegree : 3", "NetDegree : 4", "d.nets, line 8: net n0 lacks 1 pins"),
        ("nodes", "b 4 10", "b 4", "d.nodes, line 6: this line lacks a part"),
        ("nodes", "b 4 10", "a 4 10", "d.nodes, line 6: cell a stands here a second time"),
        ("nodes", "NumNodes : 4", "NumNodes : 5", "5 nodes were announced, 4 are there"),
        ("pl", "b 5.5 10", "b x 10", "d.pl, line 3: a number was expected, not 'x'"),
        ("scl", "Sitespacing", "Spacing", "a row has no sitespacing"),
        ("aux", "d.pl", "../d.pl", "does not lie beside"),
        ("aux", "d.pl", "", "no .pl file is named"),
    ],
)
def test_an_error_names_its_line(name: str, old: str, new: str, reason: str, tmp_path: Path) -> None:
    assert old in FILES[f"d.{name}"]
    aux = write(tmp_path, **{name: FILES[f"d.{name}"].replace(old, new)})
    with pytest.raises(GraphnasError) as caught:
        read_bookshelf(aux)
    assert reason in str(caught.value)
