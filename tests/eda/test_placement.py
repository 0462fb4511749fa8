"""Positions of pins: all eight orientations against positions worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eda.placement import ORIENTATIONS, Cells, Nets, Placement, Ports
from eda.technology import Layer, Macro, MacroPin, Technology
from graphnas.errors import GraphnasError


def technology(origin: tuple[float, float] = (0.0, 0.0)) -> Technology:
    """One macro of 4 by 10 microns with a pin at (1, 2) from its lower left corner."""
    x, y = 1 - origin[0], 2 - origin[1]
    pin = MacroPin("A", layers=("m1",), rectangles=np.array([[x - 0.5, y - 0.5, x + 0.5, y + 0.5]]))
    return Technology(macros={"M": Macro("M", "CORE", 4.0, 10.0, origin, {"A": pin})})


def cells_of_all_orientations() -> Placement:
    eight = np.arange(8)
    cells = Cells(
        [f"u{k}" for k in range(8)],
        ("M",),
        np.zeros(8, np.int32),
        100 * eight,
        200 * eight,
        eight.astype(np.int8),
        np.ones(8, np.int8),
    )
    nets = Nets([f"n{k}" for k in range(8)], np.arange(9), eight.astype(np.int32), np.zeros(8, np.int32), ("A",))
    return Placement("eight", 10, np.array([[0, 0], [2000, 2000]]), cells, nets=nets)


# The cell is 4 by 10 and its pin at (1, 2): where the pin comes to lie from the lower left corner of the turned box.
BY_HAND = {
    "N": (1, 2),
    "W": (8, 1),  # a quarter turn counter-clockwise: what was up is left
    "S": (3, 8),
    "E": (2, 3),
    "FN": (3, 2),  # mirrored left to right
    "FW": (2, 1),  # x and y change places
    "FS": (1, 8),  # mirrored upside down
    "FE": (8, 3),
}


@pytest.mark.parametrize("origin", [(0.0, 0.0), (0.5, -1.0)])
def test_eight_orientations(origin: tuple[float, float]) -> None:
    placement = cells_of_all_orientations()
    found = placement.pin_positions(technology(origin)) - np.stack([placement.cells.x, placement.cells.y], 1)
    expected = np.array([BY_HAND[name] for name in ORIENTATIONS]) * 10.0
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_boxes_of_turned_cells_swap_width_and_height() -> None:
    boxes = cells_of_all_orientations().cell_boxes(technology())
    sizes = (boxes[:, 2:] - boxes[:, :2]).tolist()
    assert sizes == [[100, 40] if name.lstrip("F") in ("W", "E") else [40, 100] for name in ORIENTATIONS]


def test_a_port_turns_about_its_own_origin() -> None:
    eight = np.arange(8)
    shape = np.tile(np.array([[0, 10, 4, 30]]), (8, 1))  # middle (2, 20)
    names = [f"p{k}" for k in range(8)]
    ports = Ports(
        names,
        names,
        [""] * 8,
        [""] * 8,
        ["m1"] * 8,
        shape,
        0 * eight,
        0 * eight,
        eight.astype(np.int8),
        np.ones(8, np.int8),
    )
    found = Placement(ports=ports).port_positions().tolist()
    assert found == [[2, 20], [-20, 2], [-2, -20], [20, -2], [-2, 20], [20, 2], [2, -20], [-20, -2]]


def test_a_pin_is_the_mean_of_its_rectangles_without_cuts() -> None:
    shapes = np.array([[0, 0, 2, 2], [4, 0, 6, 4], [90, 90, 91, 91]], float)
    pin = MacroPin("A", layers=("m1", "m1", "via1"), rectangles=shapes)
    macro = Macro("M", "CORE", 8, 8, pins={"A": pin})
    layers = {"m1": Layer("m1", "ROUTING"), "via1": Layer("via1", "CUT")}
    assert Technology(layers, macros={"M": macro}).pin_centre(macro, "A") == (3.0, 1.5)


def test_unplaced_cells_have_no_place_and_boxes_leave_them_out() -> None:
    placement = cells_of_all_orientations()
    status = np.array([0, 1, 1, 1, 1, 1, 1, 1], np.int8)
    nets = Nets(
        ["n", "empty", "lost"], np.array([0, 3, 3, 4]), np.array([0, 1, 2, 0], np.int32), np.zeros(4, np.int32), ("A",)
    )
    placement = replace(placement, cells=replace(placement.cells, status=status), nets=nets)
    assert np.isnan(placement.pin_positions(technology())[[0, 3]]).all()
    boxes = placement.net_boxes(technology())
    assert boxes[0].tolist() == [180.0, 210.0, 230.0, 480.0]
    assert np.isnan(boxes[1:]).all()
    assert np.isnan(placement.cell_boxes(technology())[0]).all()


def test_what_the_library_lacks_is_named() -> None:
    placement = cells_of_all_orientations()
    with pytest.raises(GraphnasError, match=r"macro .*'M'"):
        placement.pin_positions(Technology())
    bare = Technology(macros={"M": Macro("M", "CORE", 1, 1, pins={"A": MacroPin("A")})})
    with pytest.raises(GraphnasError, match="pin 'A' of macro M has no shape"):
        placement.pin_positions(bare)
    with pytest.raises(GraphnasError, match="unknown pin of macro M 'A'"):
        placement.pin_positions(Technology(macros={"M": Macro("M", "CORE", 1, 1)}))


def test_the_large_table_gives_the_same_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = cells_of_all_orientations()
    before = placement.pin_positions(technology())
    monkeypatch.setattr("eda.placement._DENSE", 0)
    np.testing.assert_array_equal(placement.pin_positions(technology()), before)
