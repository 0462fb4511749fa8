"""Whatever is done to a file, the reader returns a result or one sentence with a line."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from eda.bookshelf import read_bookshelf
from eda.def_reader import read_def
from eda.lef_reader import read_lef
from eda.violations import read_violations
from graphnas.errors import GraphnasError

WORDS = (
    "END",
    ";",
    "-",
    "(",
    ")",
    "+",
    "*",
    "PIN",
    "NETS",
    "MACRO",
    "LAYER",
    "1e999",
    "-1",
    "nan",
    '"',
    "#",
    "\\;",
    "",
)

LEF = """UNITS DATABASE MICRONS 100 ; END UNITS
LAYER m1 TYPE ROUTING ; DIRECTION HORIZONTAL ; PITCH 2 ; END m1
SITE core SIZE 1 BY 2 ; END core
MACRO a CLASS CORE ; SIZE 1 BY 2 ;
  PIN A DIRECTION INPUT ; PORT LAYER m1 ; RECT 0 0 1 1 ; RECT ITERATE 0 0 1 1 DO 2 BY 2 STEP 1 1 ; END END A
  OBS LAYER m1 ; POLYGON 0 0 1 0 1 1 ; END
END a
END LIBRARY
"""
DEF = """VERSION 5.8 ; DIVIDERCHAR "/" ;
DESIGN d ;
UNITS DISTANCE MICRONS 100 ;
DIEAREA ( 0 0 ) ( 100 200 ) ;
ROW r core 0 0 N DO 3 BY 1 STEP 10 0 ;
TRACKS X 0 DO 4 STEP 5 LAYER m1 ;
GCELLGRID X 0 DO 4 STEP 5 ;
COMPONENTS 2 ;
- u1 a + PLACED ( 0 0 ) N ;
- u2 a + SOURCE DIST + FIXED ( 10 20 ) FS ;
END COMPONENTS
PINS 1 ;
- p + NET n + DIRECTION INPUT + LAYER m1 ( 0 0 ) ( 1 1 ) + PLACED ( 0 0 ) N ;
END PINS
BLOCKAGES 1 ;
- LAYER m1 RECT ( 0 0 ) ( 1 1 ) ;
END BLOCKAGES
SPECIALNETS 1 ;
- V ( * V ) + ROUTED m1 2 + SHAPE STRIPE ( 0 0 ) ( * 5 ) via NEW m1 4 ( 0 0 ) ( 9 * ) + USE POWER ;
END SPECIALNETS
NETS 2 ;
- n ( PIN p ) ( u1 A ) + ROUTED m1 ( 0 0 ) ( 5 * ) + USE CLOCK ;
- m ( u1 A ) ( u2 A + SYNTHESIZED ) ;
END NETS
END DESIGN
"""
DRC = """violation type: Short
  srcs: net:a net:b
  bbox = (1, 2) - (3, 4) on Layer m1
violation type: Metal Spacing
  srcs: net:c
  bbox = (1.5, 2) - (3, 4) on Layer m2
"""


def spoiled(text: str, rng: random.Random) -> str:
    """Cut short, or with words lost, doubled, changed or put elsewhere, or single characters changed."""
    way = rng.randrange(4)
    if way == 0:
        return text[: rng.randrange(len(text))]
    if way == 1:
        at = rng.randrange(len(text))
        return text[:at] + chr(rng.choice([10, 32, 35, 34, 59, 65, 0, 1, 200])) + text[at + 1 :]
    words = re.split(r"(\s+)", text)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(0, len(words), 2)
        words[at] = rng.choice([*WORDS, words[rng.randrange(0, len(words), 2)], f"{words[at]} {words[at]}"])
    return "".join(words)


def refusal(call: Callable[[], object]) -> str:
    """The message of the GraphnasError that a call raises, or nothing; any other exception fails the test."""
    try:
        call()
    except GraphnasError as error:
        return str(error)
    return ""


READERS: list[tuple[str, str, Callable[[Path], object]]] = [
    ("x.lef", LEF, read_lef),
    ("x.def", DEF, read_def),
    ("x.drc", DRC, read_violations),
]


@pytest.mark.parametrize(("name", "text", "read"), READERS, ids=["lef", "def", "drc"])
def test_spoiled_files(name: str, text: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    read(path)
    rng = random.Random(0)
    refused = 0
    for _ in range(400):
        path.write_text(spoiled(text, rng))
        message = refusal(lambda: read(path))
        refused += bool(message)
        assert not message or re.search(r"line \d+: ", message), message
        assert "\n" not in message
    assert refused > 50


def test_every_truncation_of_a_def_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.def"
    for end in range(0, DEF.index("END DESIGN"), 7):
        path.write_text(DEF[:end])
        with pytest.raises(GraphnasError, match=r"line \d+: "):
            read_def(path)


def test_spoiled_bookshelf(tmp_path: Path) -> None:
    files = {
        "d.nodes": "UCLA nodes 1.0\nNumNodes : 2\nNumTerminals : 1\na 2 10\nb 4 10 terminal\n",
        "d.nets": "UCLA nets 1.0\nNumNets : 1\nNumPins : 2\nNetDegree : 2 n0\na I : 0.5 -1\nb O : 1 1\n",
        "d.pl": "UCLA pl 1.0\na 0 0 : N\nb 10 0 : N /FIXED\n",
        "d.scl": "CoreRow Horizontal\nCoordinate : 0\nHeight : 10\nSitespacing : 1\nSubrowOrigin : 0 NumSites : 20\nEnd\n",
    }
    (tmp_path / "d.aux").write_text("RowBasedPlacement : d.nodes d.nets d.pl d.scl\n")
    rng = random.Random(0)
    for name in files:
        for other, text in files.items():
            (tmp_path / other).write_text(text)
        read_bookshelf(tmp_path / "d.aux")
        for _ in range(100):
            (tmp_path / name).write_text(spoiled(files[name], rng))
            message = refusal(lambda: read_bookshelf(tmp_path / "d.aux"))
            assert not message or re.search(r"line \d+: ", message), message
