"""What a LEF library says: layers, sites and macros. Lengths are in microns, in the macro's own frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnas.errors import GraphnasError, unknown

Floats = NDArray[np.float64]


def no_rectangles() -> Floats:
    """An empty float64[0, 4]."""
    return np.zeros((0, 4))


@dataclass(frozen=True)
class Layer:
    """A layer; lengths in microns, 0 where the LEF says nothing.

    Args:
        name: as in the LEF.
        kind: ROUTING, CUT, MASTERSLICE, OVERLAP, IMPLANT.
        direction: HORIZONTAL, VERTICAL, DIAG45, DIAG135, or empty.
        pitch: distance of vertical tracks (x) and of horizontal tracks (y); equal when the LEF gives one number.
        offset: of the first track from the origin, as pitch.
        width: default wire width.
        spacing: smallest default spacing (of a table: its first entry).
    """

    name: str
    kind: str = ""
    direction: str = ""
    pitch: tuple[float, float] = (0.0, 0.0)
    offset: tuple[float, float] = (0.0, 0.0)
    width: float = 0.0
    spacing: float = 0.0


@dataclass(frozen=True)
class Site:
    """A placement site: name, width and height in microns, class (CORE or PAD)."""

    name: str
    width: float
    height: float
    kind: str = "CORE"


@dataclass(frozen=True, eq=False)
class MacroPin:
    """A pin of a macro.

    Args:
        name: as in the LEF.
        direction: INPUT, OUTPUT, INOUT, FEEDTHRU, "OUTPUT TRISTATE", or empty.
        use: SIGNAL, POWER, GROUND, CLOCK, ANALOG; SIGNAL when the LEF says nothing.
        layers: the layer of each rectangle.
        rectangles: float64[n, 4], (x1, y1, x2, y2) in microns in the macro's own frame; polygons and paths are given by
            the box around them.
    """

    name: str
    direction: str = ""
    use: str = "SIGNAL"
    layers: tuple[str, ...] = ()
    rectangles: Floats = field(default_factory=no_rectangles)


@dataclass(frozen=True, eq=False)
class Macro:
    """A cell of the library.

    Args:
        name: as in the LEF.
        kind: CLASS with its sub-class: "CORE", "CORE FEEDTHRU", "BLOCK", "PAD INPUT"...
        width: SIZE in microns.
        height: SIZE in microns.
        origin: ORIGIN in microns: what is added to the macro's own coordinates so that its lower left corner is (0, 0).
        pins: by name.
        obstruction_layers: the layer of each obstruction.
        obstructions: float64[n, 4] in microns in the macro's own frame.
    """

    name: str
    kind: str
    width: float
    height: float
    origin: tuple[float, float] = (0.0, 0.0)
    pins: Mapping[str, MacroPin] = field(default_factory=dict)
    obstruction_layers: tuple[str, ...] = ()
    obstructions: Floats = field(default_factory=no_rectangles)

    @property
    def is_block(self) -> bool:
        """True for hard macros (memories and the like), which stand among the standard cells."""
        return self.kind.split(" ")[0] in ("BLOCK", "RING")

    def pin(self, name: str) -> MacroPin:
        """The pin of this name.

        Raises:
            GraphnasError: there is none.
        """
        if name not in self.pins:
            raise unknown(f"pin of macro {self.name}", name, self.pins)
        return self.pins[name]


@dataclass(frozen=True, eq=False)
class Technology:
    """The content of one or several LEF files.

    Args:
        layers: by name, from the lowest to the highest.
        sites: by name.
        macros: by name.
        units: database units of a micron that the LEF asks for (a DEF says its own).
    """

    layers: Mapping[str, Layer] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    macros: Mapping[str, Macro] = field(default_factory=dict)
    units: int = 100

    @property
    def routing_layers(self) -> tuple[Layer, ...]:
        """The layers of kind ROUTING, from the lowest."""
        return tuple(layer for layer in self.layers.values() if layer.kind == "ROUTING")

    def macro(self, name: str) -> Macro:
        """The macro of this name.

        Raises:
            GraphnasError: there is none.
        """
        if name not in self.macros:
            raise unknown("macro (is a LEF file missing?)", name, self.macros)
        return self.macros[name]

    def pin_centre(self, macro: Macro, name: str) -> tuple[float, float]:
        """Mean of the middles of a pin's rectangles (cut layers left out), in microns from the macro's lower left corner.

        Raises:
            GraphnasError: the pin does not exist or has no shape.
        """
        pin = macro.pin(name)
        metal = [
            k for k, layer in enumerate(pin.layers) if layer not in self.layers or self.layers[layer].kind != "CUT"
        ]
        if not len(pin.rectangles):
            raise GraphnasError(f"pin {name!r} of macro {macro.name} has no shape; give the LEF file that describes it")
        x, y = (pin.rectangles[:, :2] + pin.rectangles[:, 2:])[metal or slice(None)].mean(0) / 2
        return float(x) + macro.origin[0], float(y) + macro.origin[1]

    def wire_pitch(self) -> tuple[float, float]:
        """Pitch in microns of the lowest vertical (x) and horizontal (y) routing layer above the first; 0 without one.

        The first routing layer mostly holds the pins of cells, so that these two are where nets start.
        """
        found = {"VERTICAL": 0.0, "HORIZONTAL": 0.0}
        for layer in reversed(self.routing_layers[1:]):
            found[layer.direction] = layer.pitch[0 if layer.direction == "VERTICAL" else 1]
        return found["VERTICAL"], found["HORIZONTAL"]


def merge(technologies: Iterable[Technology]) -> Technology:
    """Several LEF files as one; where two describe the same name, the later one holds.

    A file without UNITS (100 by default) does not change those of an earlier file.
    """
    layers: dict[str, Any] = {}
    sites: dict[str, Any] = {}
    macros: dict[str, Any] = {}
    units = Technology.units
    for technology in technologies:
        layers |= technology.layers
        sites |= technology.sites
        macros |= technology.macros
        units = technology.units if technology.units != Technology.units else units
    return Technology(layers, sites, macros, units)
