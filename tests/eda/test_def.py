"""DEF files: values by hand, round trips, packed files, and errors that name their line."""

from __future__ import annotations

import gzip
import lzma
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eda.def_reader import read_def
from eda.def_writer import write_def
from eda.placement import ORIENTATIONS, Blockage, Cells, GCells, Nets, Placement, Ports, Row, Tracks
from eda.polygons import rectangles_of
from graphnas.errors import GraphnasError

DEF = """# made by hand; with a "quote
VERSION 5.8 ;
DIVIDERCHAR "/" ;
BUSBITCHARS "[]" ;
DESIGN top ;
UNITS DISTANCE MICRONS 2000 ;
PROPERTYDEFINITIONS
  COMPONENTPIN p STRING ;
  DESIGN q STRING "a ; b  c" ;
END PROPERTYDEFINITIONS
DIEAREA ( -100 -50 ) ( -100 950 ) ( 400 950 ) ( 400 450 ) ( 900 450 ) ( 900 -50 ) ;
ROW r0 core 0 0 N DO 10 BY 1 STEP 20 0 ;
ROW r1 core 0 100 FS ;
TRACKS X 10 DO 40 STEP 20 LAYER m2 m4 ;
TRACKS Y -40 DO 49 STEP 20 ;
GCELLGRID X -100 DO 6 STEP 200 ;
GCELLGRID Y -50 DO 6 STEP 200 ;
VIAS 1 ;
- via1 + RECT m1 ( -1 -1 ) ( 1 1 ) ;
END VIAS
COMPONENTS 4 ;
- u\\[0\\] INV + PLACED ( 0 0 ) N ;
- u1 NAND + SOURCE TIMING + FIXED ( 100 100 ) FS + WEIGHT 3 ;
- core/u2 INV
  + COVER ( -20 40 ) FE ;
- u3 NAND ;
END COMPONENTS
PINS 3 ;
- clk + NET clk + DIRECTION INPUT + USE CLOCK + LAYER m3 ( 10 10 ) ( -10 -10 ) + FIXED ( 0 300 ) E ;
- out + NET n1 + DIRECTION OUTPUT + PORT + LAYER m2 MASK 1 ( 0 0 ) ( 4 8 ) + PLACED ( 5 6 ) N
  + PORT + LAYER m4 ( 1 1 ) ( 2 2 ) + PLACED ( 7 8 ) S ;
- lost + NET n1 ;
END PINS
BLOCKAGES 2 ;
- LAYER m2 + SPACING 5 RECT ( 0 0 ) ( 10 20 ) RECT ( 30 5 ) ( 20 0 ) ;
- PLACEMENT + SOFT POLYGON ( 0 0 ) ( 0 2 ) ( 1 2 ) ( 1 1 ) ( 2 1 ) ( 2 0 ) ;
END BLOCKAGES
SPECIALNETS 1 ;
- VDD ( * VDD ) + ROUTED m1 10 + SHAPE FOLLOWPIN ( 0 100 ) ( 200 * )
  NEW m4 20 + SHAPE STRIPE ( 50 0 0 ) ( * 400 5 ) via1 ( 60 * )
  + RECT m5 ( 0 0 ) ( 30 30 ) + USE POWER ;
END SPECIALNETS
NETS 4 ;
- clk ( PIN clk ) ( u\\[0\\] A ) + USE CLOCK
  + ROUTED m3 ( 0 300 ) ( 20 * ) via1 NEW m2 TAPER ( 20 300 ) ( * 10 ) ;
- n1 ( u\\[0\\] Y ) ( u1 A + SYNTHESIZED ) ( PIN out ) + SOURCE TEST + WEIGHT 2 ;
- n2 ( u1 Y ) ( core/u2 A ) ;
- none ;
END NETS
END DESIGN
"""


def write(folder: Path, text: str, name: str = "x.def") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def same(a: object, b: object) -> bool:
    """Equal values, whatever they are made of."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return list(a) == list(b)
    if hasattr(a, "__dataclass_fields__"):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))  # type: ignore[arg-type]
    return a == b


def test_header_die_and_rows(tmp_path: Path) -> None:
    p = read_def(write(tmp_path, DEF))
    assert (p.design, p.units, p.die_box) == ("top", 2000, (-100, -50, 900, 950))
    assert p.die.tolist() == [[-100, -50], [-100, 950], [400, 950], [400, 450], [900, 450], [900, -50]]
    assert p.rows == (Row("r0", "core", 0, 0, "N", 10, 1, 20, 0), Row("r1", "core", 0, 100, "FS"))
    assert p.tracks == (Tracks("X", 10, 40, 20, ("m2", "m4")), Tracks("Y", -40, 49, 20))
    assert p.gcells == (GCells("X", -100, 6, 200), GCells("Y", -50, 6, 200))
    assert p.sections["PROPERTYDEFINITIONS"] == ("COMPONENTPIN p STRING", 'DESIGN q STRING "a ; b  c"')
    assert p.sections["VIAS"] == ("- via1 + RECT m1 ( -1 -1 ) ( 1 1 )",)
    assert p.header == ("VERSION 5.8", 'DIVIDERCHAR "/"', 'BUSBITCHARS "[]"')


def test_components_and_pins(tmp_path: Path) -> None:
    p = read_def(write(tmp_path, DEF))
    assert list(p.cells.names) == ["u\\[0\\]", "u1", "core/u2", "u3"]
    assert [p.cells.macros[k] for k in p.cells.macro] == ["INV", "NAND", "INV", "NAND"]
    assert p.cells.x.tolist() == [0, 100, -20, 0]
    assert p.cells.y.tolist() == [0, 100, 40, 0]
    assert [ORIENTATIONS[k] for k in p.cells.orientation] == ["N", "FS", "FE", "N"]
    assert p.cells.status.tolist() == [1, 2, 3, 0]
    assert p.cells.extras == {1: "+ SOURCE TIMING + WEIGHT 3"}
    assert list(p.ports.names) == ["clk", "out", "lost"]
    assert p.ports.rectangle.tolist() == [[-10, -10, 10, 10], [0, 0, 4, 8], [0, 0, 0, 0]]
    assert list(zip(p.ports.x.tolist(), p.ports.y.tolist(), p.ports.status.tolist(), strict=True)) == [
        (0, 300, 2),
        (5, 6, 1),
        (0, 0, 0),
    ]
    assert (p.ports.layers, p.ports.uses[0], p.ports.directions[1]) == (["m3", "m2", ""], "CLOCK", "OUTPUT")
    assert p.ports.extras == {1: "+ PORT + LAYER m4 ( 1 1 ) ( 2 2 ) + PLACED ( 7 8 ) S"}


def test_nets(tmp_path: Path) -> None:
    nets = read_def(write(tmp_path, DEF)).nets
    assert list(nets.names) == ["clk", "n1", "n2", "none"]
    assert nets.start.tolist() == [0, 2, 5, 7, 7]
    assert nets.pin_cell.tolist() == [-1, 0, 0, 1, -1, 1, 2]
    named = [nets.pin_names[k] if c >= 0 else k for c, k in zip(nets.pin_cell, nets.pin_index, strict=True)]
    assert named == [0, "A", "Y", "A", 1, "Y", "A"]
    assert nets.net_of_pin().tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert nets.uses == {0: "CLOCK"}
    assert nets.routes == {0: "+ ROUTED m3 ( 0 300 ) ( 20 * ) via1 NEW m2 TAPER ( 20 300 ) ( * 10 )"}
    assert nets.extras == {1: "+ SOURCE TEST + WEIGHT 2"}


def test_power_wires_and_blockages_become_rectangles(tmp_path: Path) -> None:
    p = read_def(write(tmp_path, DEF))
    assert list(p.special.names) == ["VDD"]
    assert [p.special.layers[k] for k in p.special.stripe_layer] == ["m1", "m4", "m4", "m5"]
    assert p.special.stripes.tolist() == [[0, 95, 200, 105], [40, 0, 60, 405], [50, 390, 60, 410], [0, 0, 30, 30]]
    assert p.blockages[0] == Blockage("m2", ((0, 0, 10, 20), (20, 0, 30, 5)), "+ SPACING 5")
    assert p.blockages[1] == Blockage("", ((0, 0, 2, 1), (0, 1, 1, 2)), "+ SOFT")


def test_round_trip(tmp_path: Path) -> None:
    first = read_def(write(tmp_path, DEF))
    for name in ("y.def", "y.def.gz", "y.def.xz"):
        assert same(read_def(write_def(first, tmp_path / name)), first)
    assert (tmp_path / "y.def").read_text() == gzip.decompress((tmp_path / "y.def.gz").read_bytes()).decode()


def test_the_data_round_trips_and_is_written_as_it_was(data_folder: Path, tmp_path: Path) -> None:
    paths = sorted((data_folder / "eda/osu035_placed").glob("*.def.gz"))
    if not paths:
        pytest.skip("eda/osu035_placed/*.def.gz is not below GRAPHNAS_DATA")
    for path in paths:
        written = write_def(read_def(path), tmp_path / "x.def").read_text()
        assert written == gzip.decompress(path.read_bytes()).decode()


def test_nets_are_written_for_qrouter(tmp_path: Path) -> None:
    lines = write_def(read_def(write(tmp_path, DEF)), tmp_path / "y.def").read_text().splitlines()
    at = lines.index("- n2")
    assert lines[at : at + 4] == ["- n2", "  ( u1 Y )", "  ( core/u2 A )", ";"]


names = st.text("abcXYZ019_/[]<>.", min_size=1, max_size=8).map(lambda name: f"n{name}")


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_placement_round_trips(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    def some(low: int, high: int, size: int) -> np.ndarray:
        return np.array(data.draw(st.lists(st.integers(low, max(low, high)), min_size=size, max_size=size)), np.int64)

    cells = data.draw(st.lists(names, unique=True, max_size=6))
    macros = data.draw(st.lists(names, unique=True, min_size=1, max_size=3))
    macro = some(0, len(macros) - 1, len(cells)).astype(np.int32)
    order = list(dict.fromkeys(macro.tolist()))  # a reader numbers macros as they come
    macro = np.array([order.index(k) for k in macro.tolist()], np.int32)
    n, far = len(cells), 1 << 50
    way, status = some(0, 7, n).astype(np.int8), some(0, 3, n).astype(np.int8)
    placed = Cells(cells, tuple(macros[k] for k in order), macro, some(-far, far, n), some(-far, far, n), way, status)
    ports = data.draw(st.lists(names, unique=True, max_size=3))
    m = len(ports)
    on = Ports(
        ports, ["a"] * m, ["INPUT"] * m, ["SIGNAL"] * m, ["m1"] * m, np.tile(np.array([[-1, -2, 3, 4]]), (m, 1)),
        some(-9, 9, m), some(-9, 9, m), some(0, 7, m).astype(np.int8), some(0, 3, m).astype(np.int8),
    )  # fmt: skip
    degrees = data.draw(st.lists(st.integers(0, 3), max_size=4)) if n else []
    start = np.append(0, np.cumsum(degrees)).astype(np.int64)
    owner = some(-1 if m else 0, n - 1, int(start[-1])).astype(np.int32)
    index = np.array([data.draw(st.integers(0, m - 1)) if k < 0 else 0 for k in owner], np.int32)
    nets = Nets([f"w{k}" for k in range(len(degrees))], start, owner, index, ("A",) if (owner >= 0).any() else ())
    die = np.array([[-5, -7], [100, 200]])
    whole = Placement("d", 7, die, placed, on, nets)
    path = tmp_path_factory.mktemp("def") / "x.def"
    assert same(read_def(write_def(whole, path)), whole)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("( 0 0 ) N ;", "( 0 zero ) N ;", 22, "a number was expected, not 'zero'"),
        ("( 0 0 ) N ;", "( 0 0 ) NE ;", 22, "orientation 'NE'"),
        ("( 0 0 ) N ;", "( 0 99999999999999999999 ) N ;", 22, "is too large"),
        ("- core/u2 INV", "- u1 INV", 24, "component u1 stands here a second time"),
        ("- u3 NAND ;", "- u3 ;", 26, "component u3 has no macro"),
        ("END COMPONENTS", "END COMPONENT", 27, "END COMPONENT where END COMPONENTS was expected"),
        ("( u1 Y )", "( u9 Y )", 47, "component u9 is not in the section COMPONENTS"),
        ("( PIN out )", "( PIN in )", 46, "pin in is not in the section PINS"),
        ("( u1 Y )", "( u1 Y", 47, "its pins are not written ( CELL PIN )"),
        ("UNITS DISTANCE MICRONS 2000", "UNITS DISTANCE MICRONS 0", 6, "0 database units"),
        ("TRACKS X 10 DO 40", "TRACKS X 10 TO 40", 14, "X or Y, start, DO"),
        ("GCELLGRID Y -50", "GCELLGRID Y", 17, "a number was expected, not 'DO'"),
        ("RECT ( 0 0 ) ( 10 20 )", "RECT ( 0 0 )", 35, "RECT with 1 points"),
        ("NETS 4 ;\n", "", 43, "an entry outside of any section"),
        ("ROW r0 core 0 0 N", "ROW r0", 12, "orientation '1'; known: N, W"),
        ("m1 10 + SHAPE", "m1 wide + SHAPE", 39, "a number was expected, not 'wide'"),
        ("DIEAREA ( -100 -50 )", "DIEAREA ( -100 )", 11, "an even number of coordinates"),
        ("END NETS\nEND DESIGN\n", "", 48, "the file ends within NETS"),
        ("END DESIGN\n", "", 49, "the file ends before END DESIGN"),
    ],
)
def test_an_error_names_its_line(tmp_path: Path, old: str, new: str, line: int, reason: str) -> None:
    assert old in DEF
    with pytest.raises(GraphnasError) as caught:
        read_def(write(tmp_path, DEF.replace(old, new, 1)))
    assert reason in str(caught.value)
    assert f"x.def, line {line}: " in str(caught.value)


def test_sloppy_brackets_are_understood(tmp_path: Path) -> None:
    sloppy = DEF.replace("( u1 Y ) ( core/u2 A )", "(u1 Y)(core/u2 A)").replace("( 0 0 ) N ;", "( 0.2 0.0 ) N ;")
    assert same(read_def(write(tmp_path, sloppy)), read_def(write(tmp_path, DEF, "y.def")))


def test_packed_files_are_bounded_and_checked(tmp_path: Path) -> None:
    data = DEF.encode()
    for name, packed in (("a.def", gzip.compress(data)), ("b.gz", lzma.compress(data))):  # whatever they are called
        (tmp_path / name).write_bytes(packed)
        assert read_def(tmp_path / name).design == "top"
        with pytest.raises(GraphnasError, match="unpacks to more than 1000 bytes"):
            read_def(tmp_path / name, max_bytes=1000)
        (tmp_path / name).write_bytes(packed[: len(packed) // 2])
        with pytest.raises(GraphnasError, match=r"line \d+: the packed file is damaged or cut short"):
            read_def(tmp_path / name)
    (tmp_path / "c.def").write_bytes(b"VERSION 5.8 ;\n\x00\x00")
    with pytest.raises(GraphnasError, match="line 2: byte 0 is in no text file"):
        read_def(tmp_path / "c.def")
    with pytest.raises(GraphnasError, match="cannot read"):
        read_def(tmp_path)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_rectangles_cover_the_area_of_a_polygon(columns: list[int], random: object) -> None:
    """A staircase: the area by the shoelace formula, and the rectangles do not overlap."""
    columns = sorted(columns)
    heights = [3 + 2 * k for k in range(len(columns) - 1)]
    random.shuffle(heights)  # type: ignore[attr-defined]
    points = [(columns[0], 0)]
    for left, right, height in zip(columns, columns[1:], heights, strict=False):
        points += [(left, height), (right, height)]
    points.append((columns[-1], 0))
    twice = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True))
    boxes = rectangles_of(points)
    assert sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes) == abs(twice) // 2
    for k, (a1, b1, a2, b2) in enumerate(boxes):
        assert all(a2 <= x1 or x2 <= a1 or b2 <= y1 or y2 <= b1 for x1, y1, x2, y2 in boxes[:k])
