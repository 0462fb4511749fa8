from __future__ import annotations

import itertools
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from eda import circuits, tools
from eda.cli import app
from eda.floorplan import floorplan
from eda.netlist import Netlist, NetlistPort, read_netlist
from eda.place import place
from eda.placement import Placement
from eda.qrouter import route_detailed
from eda.route import Recipe, library, route
from eda.routing_grid import PinNodes, routing_grid, wire_nodes
from eda.synthesis import synthesise
from eda.technology import Technology
from graphnas.errors import GraphnasError

needs_flow = pytest.mark.skipif(bool(tools.missing()), reason=f"not installed: {', '.join(tools.missing())}")
needs_yosys = pytest.mark.skipif(tools.shutil.which("yosys") is None, reason="not installed: Debian package yosys")


def drawn_netlist(cells: int, seed: int, ports: int = 6) -> Netlist:
    """NAND gates whose inputs come from earlier gates or ports, and whose last outputs leave the design."""
    generator = np.random.default_rng(seed)
    pins: list[list[tuple[int, str]]] = [[] for _ in range(ports + cells)]
    for cell in range(cells):
        sources = generator.choice(ports + cell, size=2, replace=False)
        pins[int(sources[0])].append((cell, "A"))
        pins[int(sources[1])].append((cell, "B"))
        pins[ports + cell].append((cell, "Y"))
    inputs = [NetlistPort(f"in[{port}]", "INPUT", port) for port in range(ports)]
    outputs = [NetlistPort(f"out[{k}]", "OUTPUT", ports + cells - 1 - k) for k in range(3)]
    return Netlist(
        "drawn",
        tuple(f"g{cell}" for cell in range(cells)),
        ("NAND2X1",) * cells,
        tuple(f"net{net}" for net in range(ports + cells)),
        tuple(tuple(each) for each in pins),
        (*inputs, *outputs),
    )


def document() -> dict[str, object]:
    cells = {
        "inv": {"type": "INVX1", "connections": {"A": [2], "Y": [4]}},
        "nand": {"type": "NAND2X1", "connections": {"A": [4], "B": ["1"], "Y": [3]}},
    }
    ports = {
        "a": {"direction": "input", "bits": [2]},
        "y": {"direction": "output", "bits": [3, "0", 4]},
    }
    names = {"$1": {"hide_name": 1, "bits": [4]}, "middle": {"hide_name": 0, "bits": [4]}}
    return {"modules": {"top": {"attributes": {"top": "1"}, "ports": ports, "cells": cells, "netnames": names}}}


def written(folder: Path, content: object) -> Path:
    path = folder / "netlist.json.xz"
    path.write_bytes(lzma.compress(json.dumps(content).encode()))
    return path


def test_a_netlist_is_read_and_constants_belong_to_no_net(tmp_path: Path) -> None:
    netlist = read_netlist(written(tmp_path, document()))
    assert (netlist.design, netlist.cell_macros) == ("top", ("INVX1", "NAND2X1"))
    assert dict(zip(netlist.net_names, netlist.net_pins, strict=True)) == {
        "n2": ((0, "A"),),
        "middle": ((0, "Y"), (1, "A")),
        "n3": ((1, "Y"),),
    }
    ports = [(port.name, port.direction, netlist.net_names[port.net]) for port in netlist.ports]
    assert ports == [("a", "INPUT", "n2"), ("y[0]", "OUTPUT", "n3"), ("y[2]", "OUTPUT", "middle")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.clear(), "has no table 'modules'"),
        (lambda d: d["modules"].clear(), "expected one module with cells, found 0"),
        (lambda d: d["modules"]["top"]["cells"]["inv"].update(type="$and"), "is not mapped"),
        (lambda d: d["modules"]["top"]["cells"]["inv"].update(type="top"), "flatten the design first"),
        (lambda d: d["modules"]["top"]["cells"]["inv"]["connections"].update(A=[2.5]), "is connected to 2.5"),
        (lambda d: d["modules"]["top"]["cells"]["inv"].pop("connections"), "has no table 'connections'"),
        (lambda d: d["modules"]["top"]["ports"]["a"].pop("bits"), "has no list of bits"),
    ],
)
def test_a_bad_netlist_is_refused_in_one_sentence(tmp_path: Path, change: object, message: str) -> None:
    content = document()
    change(content)  # type: ignore[operator]
    path = written(tmp_path, content)
    with pytest.raises(GraphnasError) as caught:
        read_netlist(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_netlist_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, document())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(GraphnasError, match="cannot read"):
        read_netlist(path)
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(GraphnasError, match="is not JSON"):
        read_netlist(tmp_path / "deep.json")


def test_missing_programs_are_named_with_their_debian_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "OSU035", tmp_path)
    with pytest.raises(GraphnasError, match="apt-get install qrouter"):
        route_detailed(Placement(), Technology(), tmp_path / "x.lef", effort=10)
    with pytest.raises(GraphnasError, match="apt-get install yosys"):
        synthesise([circuits.verilog("crc")])
    with pytest.raises(GraphnasError, match="apt-get install qflow-tech-osu035"):
        tools.osu035("lef")
    assert set(tools.missing()) >= {"qrouter", "qflow-tech-osu035"}


def test_a_program_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(GraphnasError, match=r"sh did not end within 0\.2 seconds"):
        tools.run(["/bin/sh", "-c", "sleep 30 & wait"], tmp_path, 0.2)
    with pytest.raises(GraphnasError, match="sh failed with code 3: it broke"):
        tools.run(["/bin/sh", "-c", "echo it broke; exit 3"], tmp_path, 5.0)


@needs_flow
def test_a_floorplan_has_the_area_and_ports_asked_for() -> None:
    technology, _ = library()
    netlist = drawn_netlist(60, 1)
    plan = floorplan(netlist, technology, utilisation=0.7, aspect=2.0, seed=3, layers=3)
    macro = technology.macro("NAND2X1")
    rows, width = len(plan.rows), plan.rows[0].count_x * plan.rows[0].step_x / plan.units
    area = 60 * macro.width * macro.height / 0.7
    assert area <= rows * 20 * width < area + rows * 20 * 1.6
    assert 1.5 < rows * 20 / width < 2.7
    assert {row.orientation for row in plan.rows[::2]} == {"N"}
    assert {row.orientation for row in plan.rows[1::2]} == {"FS"}
    # Ports lie on tracks of their layer, outside the rows, no two in one place.
    spots = list(zip(plan.ports.x.tolist(), plan.ports.y.tolist(), strict=True))
    assert len(set(spots)) == len(plan.ports) == 9
    grid = routing_grid(plan, technology)
    for x, y in spots:
        assert (x - grid.start[0]) % grid.step[0] == (y - grid.start[1]) % grid.step[1] == 0
        assert not (
            plan.rows[0].x <= x <= plan.rows[0].x + width * 100 and plan.rows[0].y <= y <= plan.rows[-1].y + 2000
        )


@needs_flow
@pytest.mark.parametrize("spread", [None, 0.9])
def test_cells_lie_on_sites_without_overlap(spread: float | None) -> None:
    technology, _ = library()
    netlist = drawn_netlist(60, 2)
    plan = floorplan(netlist, technology, utilisation=0.75, aspect=1.0, seed=3, layers=3)
    placed = place(plan, technology, effort=1, seed=5, spread=spread)
    boxes = placed.cell_boxes(technology)
    rows = {row.y: row for row in placed.rows}
    order = np.lexsort((boxes[:, 0], boxes[:, 1]))
    for left, right in itertools.pairwise(order):
        assert boxes[left, 1] != boxes[right, 1] or boxes[left, 2] <= boxes[right, 0]
    for cell, box in enumerate(boxes):
        row = rows[int(box[1])]
        assert (box[0] - row.x) % row.step_x == 0
        assert row.x <= box[0]
        assert box[2] <= row.x + row.count_x * row.step_x
        assert placed.cells.orientation[cell] == (6 if row.orientation == "FS" else 0)
    again = place(plan, technology, effort=1, seed=5, spread=spread)
    assert (again.cells.x == placed.cells.x).all()


@needs_flow
def test_the_placer_prints_nothing_and_its_failure_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    technology, _ = library()
    plan = floorplan(drawn_netlist(60, 2), technology, utilisation=1.0, aspect=1.0, seed=3, layers=3)
    crowded = Placement(**{**vars(plan), "rows": plan.rows[:-1]})
    with pytest.raises(GraphnasError, match="choose a lower utilisation"):
        place(crowded, technology, effort=1)
    place(plan, technology, effort=1)
    assert capfd.readouterr().out == ""


@needs_flow
def test_routed_wires_join_all_pins_also_ports() -> None:
    """Of a net that qrouter calls routed, all pins hang together on the grid; so ports are really connected."""
    technology, lef = library()
    plan = floorplan(drawn_netlist(40, 3), technology, utilisation=0.6, aspect=1.0, seed=3, layers=4)
    placed = place(plan, technology, effort=1, seed=5)
    routed = route_detailed(placed, technology, lef, effort=10)
    grid = routing_grid(placed, technology)
    pins = PinNodes(grid, placed, technology)
    from eda.shorts import pieces_of

    nets = placed.nets
    ported = 0
    for net in range(len(nets)):
        if net in routed.failed:
            continue
        members = range(nets.start[net], nets.start[net + 1])
        wires = wire_nodes(grid, routed.wires[net])
        assert len(pieces_of(pins, members, wires)) == 1
        for pin in members:
            if nets.pin_cell[pin] < 0:
                ported += 1
                assert np.isin(pins.access(pin, pins.shapes(pin)), np.concatenate(wires)).any()
    assert ported > 0
    # No two nets share a node: qrouter itself never leaves a short.
    everything = np.concatenate([np.unique(np.concatenate(wire_nodes(grid, w))) for w in routed.wires.values()])
    assert len(np.unique(everything)) == len(everything)


@needs_flow
def test_a_sample_is_the_same_bit_for_bit_and_its_labels_agree() -> None:
    netlist = drawn_netlist(70, 4)
    recipe = Recipe(layers=3, utilisation=0.95, seed=7, placer_effort=1)
    first, second = route(netlist, recipe), route(netlist, recipe)
    assert (first.placement.cells.x == second.placement.cells.x).all()
    assert [label.effort for label in first.labels] == [10, 50]
    for a, b in zip(first.labels, second.labels, strict=True):
        for name in ("nodes", "violated", "hotspots", "usage"):
            assert (getattr(a, name) == getattr(b, name)).all()
        assert (a.wirelength, a.vias, a.failed, a.failed_first) == (b.wirelength, b.vias, b.failed, b.failed_first)
        assert a.hotspots.shape == first.tiles.shape
        assert a.hotspots.sum() == len(a.nodes) == len(np.unique(a.nodes, axis=0))
        assert a.rate == len(a.violated) / len(first.placement.nets)
        assert (len(a.violated) > 0) == (len(a.nodes) > 0)
        assert (a.usage.sum(0) >= a.hotspots).all()
        assert a.unresolved == 0
    other = route(netlist, Recipe(layers=3, utilisation=0.95, seed=8, placer_effort=1))
    assert not np.array_equal(other.placement.cells.x, first.placement.cells.x)


@needs_flow
@needs_yosys
def test_our_own_circuits_are_synthesised() -> None:
    technology, _ = library()
    netlist = synthesise([circuits.verilog("crc")], "crc").check(technology)
    assert sum(macro.startswith("DFF") for macro in netlist.cell_macros) == 8  # the bits of the remainder
    assert len(netlist.ports) == 11 + 8
    with pytest.raises(GraphnasError, match="yosys failed"):
        synthesise([circuits.verilog("crc")], "no_such_module")


@needs_flow
@needs_yosys
def test_the_command_routes_a_circuit_and_its_own_placement_alike(tmp_path: Path) -> None:
    def run(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, ["route", *arguments, "--effort", "10", "--json"], catch_exceptions=False)
        record: dict[str, Any] = json.loads(result.stdout)
        return record

    made = run("crc", "--utilisation", "0.95", "--out", str(tmp_path / "crc"))
    again = run("--def", str(tmp_path / "crc.def.gz"))
    for record in (made, again):
        for label in record["labels"]:
            label.pop("seconds")
    assert made["labels"] == again["labels"]
    assert made["recipe"]["utilisation"] == 0.95
    with np.load(tmp_path / "crc.npz") as archive:
        assert archive["hotspots_10"].shape == tuple(made["tiles"])
    with pytest.raises(GraphnasError, match="give either a circuit"):
        run()
    with pytest.raises(GraphnasError, match="is neither Verilog"):
        run(str(tmp_path / "circuit.vhd"))


@needs_flow
def test_pins_above_the_lowest_layer_take_nodes() -> None:
    technology, _ = library()
    assert "metal2" in technology.macro("XNOR2X1").pin("A").layers
    netlist = drawn_netlist(12, 5)
    netlist = Netlist(**{**vars(netlist), "cell_macros": ("XNOR2X1",) * 12})
    plan = floorplan(netlist, technology, utilisation=0.6, aspect=1.0, seed=3, layers=3)
    placed = place(plan, technology, effort=1)
    grid = routing_grid(placed, technology)
    nets = placed.nets
    found: dict[int, list[int]] = {}
    for net, nodes in PinNodes(grid, placed, technology).above_lowest():
        assert (grid.positions(nodes)[0] > 0).all()
        found.setdefault(net, []).append(len(nodes))
    for net in range(len(nets)):
        pins = range(nets.start[net], nets.start[net + 1])
        high = [pin for pin in pins if nets.pin_cell[pin] < 0 or nets.pin_names[nets.pin_index[pin]] == "A"]
        assert len(found.get(net, [])) == len(high)
        assert all(count >= 1 for count in found.get(net, []))
