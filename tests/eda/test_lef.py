"""LEF files: values by hand, forms of the standard, errors that name their line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eda.lef_reader import read_lef
from graphnas.errors import GraphnasError

OSU035 = Path("/usr/share/qflow/tech/osu035/osu035_stdcells.lef")

TECHNOLOGY = """# a comment with ; and "quote
VERSION 5.8 ;
BUSBITCHARS "[]" ;
UNITS
  DATABASE MICRONS 2000 ;
END UNITS
PROPERTYDEFINITIONS
  LAYER LEF58_TYPE STRING ;
END PROPERTYDEFINITIONS
LAYER m1
  TYPE ROUTING ; DIRECTION HORIZONTAL ;
  PITCH 0.2 0.3 ;
  OFFSET 0.1 ; WIDTH 0.07 ;
  SPACINGTABLE PARALLELRUNLENGTH 0 0.5
    WIDTH 0 0.065 0.07
    WIDTH 0.1 0.08 0.09 ;
  PROPERTY LEF58_TYPE "TYPE x ; END m1" ;
END m1
LAYER v1 TYPE CUT ; SPACING 0.08 ; END v1
LAYER m2 TYPE ROUTING ; DIRECTION VERTICAL ; PITCH 0.19 ; WIDTH 0.07 ; SPACING 0.075 RANGE 0.1 0.2 ; END m2
LAYER m3 TYPE ROUTING ; DIRECTION HORIZONTAL ; PITCH 0.14 ; END m3
VIA v DEFAULT LAYER m1 ; RECT -1 -1 1 1 ; LAYER v1 ; RECT 0 0 1 1 ; END v
VIARULE gen GENERATE LAYER m1 ; ENCLOSURE 0 0 ; END gen
NONDEFAULTRULE wide
  LAYER m1 WIDTH 0.2 ; END m1
  VIA wide_v LAYER m1 ; RECT 0 0 1 1 ; END wide_v
END wide
SPACING
  SAMENET m1 m1 0.1 ;
END SPACING
SITE core CLASS CORE ; SYMMETRY Y ; SIZE 0.2 BY 1.4 ; END core
BEGINEXT "anything" MACRO broken ; ENDEXT
END LIBRARY
"""

CELLS = """VERSION 5.8 ;
MACRO inv[0]
  CLASS CORE SPACER ;
  FOREIGN inv 0 0 ;
  ORIGIN 0.5 -0.25 ;
  SIZE 0.6 BY 1.4 ;
  SYMMETRY X Y ;
  SITE core ;
  PIN A
    DIRECTION INPUT ; USE CLOCK ;
    ANTENNAGATEAREA 0.1 ;
    PORT
      LAYER m1 ;
      RECT MASK 1 0.1 0.2 0.3 0.4 ;
      RECT ITERATE 0 0 1 1 DO 2 BY 2 STEP 10 20 ;
      LAYER m2 EXCEPTPGNET ;
      POLYGON 0 0 2 0 2 1 1 1 1 3 0 3 ;
    END
    PORT
      LAYER m1 ;
      WIDTH 0.2 ;
      PATH 1 1 5 1 ;
      VIA 1 1 v ;
    END
  END A
  OBS
    LAYER m2 ;
      RECT ( 0 0 ) ( 1 2 ) ;
  END
  TIMING
    RISERS 1 2 ;
  END TIMING
END inv[0]
MACRO ram
  CLASS BLOCK ;
  SIZE 10 BY 20 ;
END ram
"""


def write(folder: Path, text: str, name: str = "x.lef") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_layers_and_sites(tmp_path: Path) -> None:
    found = read_lef(write(tmp_path, TECHNOLOGY))
    assert list(found.layers) == ["m1", "v1", "m2", "m3"]
    m1, m2 = found.layers["m1"], found.layers["m2"]
    assert (m1.kind, m1.direction, m1.pitch, m1.offset, m1.width, m1.spacing) == (
        "ROUTING",
        "HORIZONTAL",
        (0.2, 0.3),
        (0.1, 0.1),
        0.07,
        0.065,
    )
    assert (m2.pitch, m2.spacing) == ((0.19, 0.19), 0.075)
    assert found.layers["v1"].kind == "CUT"
    assert (found.units, found.wire_pitch()) == (2000, (0.19, 0.14))
    assert (found.sites["core"].width, found.sites["core"].height) == (0.2, 1.4)
    assert found.macros == {}


def test_macros(tmp_path: Path) -> None:
    found = read_lef(write(tmp_path, CELLS))
    cell = found.macros["inv[0]"]
    assert (cell.kind, cell.width, cell.height, cell.origin, cell.is_block) == (
        "CORE SPACER",
        0.6,
        1.4,
        (0.5, -0.25),
        False,
    )
    pin = cell.pin("A")
    assert (pin.direction, pin.use) == ("INPUT", "CLOCK")
    assert pin.layers == ("m1",) * 5 + ("m2", "m1")
    expected: list[list[float]] = [
        [0.1, 0.2, 0.3, 0.4],
        [0, 0, 1, 1],
        [10, 0, 11, 1],
        [0, 20, 1, 21],
        [10, 20, 11, 21],
        [0, 0, 2, 3],
        [0.9, 0.9, 5.1, 1.1],
    ]
    np.testing.assert_allclose(pin.rectangles, expected)
    assert cell.obstruction_layers == ("m2",)
    assert cell.obstructions.tolist() == [[0, 0, 1, 2]]
    assert found.macros["ram"].is_block
    with pytest.raises(GraphnasError, match="nearest: ram"):
        found.macro("rams")


def test_files_merge_and_the_later_holds(tmp_path: Path) -> None:
    later = "MACRO ram CLASS BLOCK ; SIZE 1 BY 2 ; END ram\n"
    both = read_lef(write(tmp_path, TECHNOLOGY), write(tmp_path, CELLS, "y.lef"), write(tmp_path, later, "z.lef"))
    assert set(both.macros) == {"inv[0]", "ram"}
    assert both.macros["ram"].width == 1
    assert both.units == 2000
    assert both.layers["m3"].pitch == (0.14, 0.14)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("SIZE 0.6 BY", "SIZE 0,6 BY", 6, "a number was expected, not '0,6'"),
        ("END A", "END B", 25, "END B where END A was expected"),
        ("RECT ( 0 0 ) ( 1 2 )", "RECT 0 0 1", 28, "RECT with 3 numbers"),
        ("PATH 1 1 5 1", "PATH 1 nan 5 1", 22, "a finite number was expected"),
        ("DO 2 BY 2", "DO 200000 BY 200000", 15, "no acceptable number of copies"),
        ("SIZE 10 BY 20 ;", "SIZE 10 BY -20 ;", 37, "ram has the size 10.0 by -20.0"),
        ("END ram\n", "", 36, "the file ends within MACRO ram"),
        ("END ram\n", "END ram\nMACRO", 38, "the file ends within a statement"),
        ("  OBS\n    LAYER m2 ;", "  OBS", 27, "RECT before any LAYER"),
        ("MACRO inv[0]", "", 5, "ORIGIN outside of a macro"),
    ],
)
def test_an_error_names_its_line(tmp_path: Path, old: str, new: str, line: int, reason: str) -> None:
    assert old in CELLS
    with pytest.raises(GraphnasError, match=r"x\.lef, line ") as caught:
        read_lef(write(tmp_path, CELLS.replace(old, new, 1)))
    assert reason in str(caught.value)
    assert f"line {line}: " in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphnasError, match="does not exist"):
        read_lef(tmp_path / "absent.lef")
    with pytest.raises(GraphnasError, match="no layer, site or macro was found"):
        read_lef(
            write(tmp_path, "VERSION 5.8 ;\nEND LIBRARY\n").with_name("x.lef"), write(tmp_path, "hello ;", "b.lef")
        )
    with pytest.raises(GraphnasError, match="line 2: a quoted text that begins here never ends"):
        read_lef(write(tmp_path, 'VERSION 5.8 ;\nBUSBITCHARS "[] ;\n'))
    with pytest.raises(GraphnasError, match="a LEF file is needed"):
        read_lef()


def test_the_osu035_library() -> None:
    if not OSU035.is_file():
        pytest.skip(f"{OSU035} is absent; install qflow-tech-osu035")
    found = read_lef(OSU035)
    assert len(found.macros) == 40
    assert [layer.name for layer in found.routing_layers] == ["metal1", "metal2", "metal3", "metal4"]
    assert found.wire_pitch() == (1.6, 2.0)
    assert (found.sites["core"].width, found.sites["core"].height) == (1.6, 20.0)
    cell = found.macros["MUX2X1"]
    assert (cell.width, cell.height, len(cell.obstructions)) == (9.6, 20.0, 9)
    assert found.pin_centre(cell, "A") == pytest.approx((7.2, 9.4))
    assert {name for name, pin in cell.pins.items() if pin.use == "SIGNAL"} == {"A", "B", "S", "Y"}
