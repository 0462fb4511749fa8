"""The designs of the data set: their families, their split, and how their placements are drawn.

Near-copies of a circuit (s1488 and s1494 differ in a few gates) form one family, and a family lies wholly in one part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eda.route import Recipe

FAMILIES: Mapping[str, str] = {
    "c499": "c499", "c1355": "c499",
    "s382": "s382", "s400": "s382", "s444": "s382",
    "s526": "s526", "s526n": "s526",
    "s641": "s641", "s713": "s641",
    "s820": "s820", "s832": "s820",
    "s1196": "s1196", "s1238": "s1196",
    "s1488": "s1488", "s1494": "s1488",
    "b14": "b14", "b14_1": "b14", "b15": "b15", "b15_1": "b15",
    "b20": "b20", "b20_1": "b20", "b21": "b20", "b21_1": "b20", "b22": "b20", "b22_1": "b20",
}  # fmt: skip
"""Design -> family, for designs that have near-copies; any other design is a family of its own."""


def family(design: str) -> str:
    """The family of a design."""
    return FAMILIES.get(design, design)


@dataclass(frozen=True)
class Design:
    """A design of the data set.

    Args:
        name: of the netlist file.
        part: train, validation or test.
        layers: routing layers.
        rounds: number of placements.
    """

    name: str
    part: str
    layers: int
    rounds: int


_PARTS = {
    # Fewer than 300 cells, three layers.
    "train 3 12": "b03 ctrl s298 s344 s382 s400 s444 s386 s526 spi_orfs",
    "validation 3 12": "router s641 s713",
    "test 3 12": "b10 int2float s510 s820 s832",
    # Up to 1,000 cells, and combinational ISCAS circuits of any size, which three layers would saturate.
    "train 4 12": "c432 c499 c1355 c880 adder b04 dec oc_sasc s1488 s1494 s15850",
    "validation 4 12": "b13 cavlc c7552",
    "test 4 12": "gcd c3540 oc_ss_pcm s9234_1",
    # Up to 1,450 cells.
    "train 4 6": "b11 bar c6288 s13207",
    "test 4 6": "oc_systemcdes",
}
DESIGNS: tuple[Design, ...] = tuple(
    Design(name, *_cast)
    for key, names in _PARTS.items()
    for _cast in [(key.split()[0], int(key.split()[1]), int(key.split()[2]))]
    for name in names.split()
)
"""The designs, in the order of a round; a larger design comes later."""

_ASPECTS = (0.5, 0.75, 1.0, 1.0, 1.33, 2.0)
_SPREADS = (None, None, 0.9)
_PLACER_EFFORTS = (1, 3, 3, 6)


def recipe_of(design: str, round_: int, layers: int) -> Recipe:
    """The recipe of a placement, drawn from the MD5 sum of its design, round and layers."""
    digest = hashlib.md5(f"{design}/{round_}/{layers}".encode(), usedforsecurity=False).digest()
    generator = np.random.default_rng(int.from_bytes(digest, "big"))
    utilisation = round(float(generator.uniform(0.60, 0.97)), 3)
    aspect = _ASPECTS[int(generator.integers(len(_ASPECTS)))]
    seed = int(generator.integers(1_000_000))
    spread = _SPREADS[int(generator.integers(len(_SPREADS)))]
    effort = _PLACER_EFFORTS[int(generator.integers(len(_PLACER_EFFORTS)))]
    return Recipe(layers, utilisation, aspect, seed, spread if utilisation < 0.8 else None, effort)
