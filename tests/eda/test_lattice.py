"""Cells, nets and tiles as a graph: the packed form, its tensors, and the network on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from eda.grid import Grid
from eda.models.lattice import RELATIONS, LatticeHypergraph
from eda.models.manual import HOTSPOTS, MODELS, Counting, manual
from eda.net_graph import NetGraph, net_graph, packed, unpacked
from eda.placement import Cells, Nets, Placement, Ports
from eda.technology import Macro, MacroPin, Technology
from eda.tile_graph import TileGraph, joined, tile_graph
from graphnas.errors import GraphnasError
from graphnas.ops.map_modules import InsideAverage


def drawn(seed: int, shape: tuple[int, int] = (4, 5), cells: int = 9, ports: int = 2, nets: int = 6) -> NetGraph:
    rng = np.random.default_rng(seed)
    n, top = cells + ports, np.array([shape[1], shape[0]]) * 100
    middles = rng.integers(0, top + 1, (n, 2))
    width = np.where(np.arange(n) < cells, rng.integers(8, 60, n), 0)
    degree = rng.integers(2, 5, nets).astype(np.uint16)
    ends = np.sort(rng.integers(0, top + 1, (nets, 2, 2)), axis=1).reshape(nets, 4)
    pins = rng.integers(0, n, int(degree.sum())).astype(np.uint16)
    return NetGraph(np.column_stack([middles, width]).astype(np.int16), ports, degree, pins, ends.astype(np.int16))


def test_the_graph_of_a_placement_by_hand() -> None:
    pin = MacroPin("A", layers=("m1",), rectangles=np.array([[0.0, 0.0, 1.0, 1.0]]))
    technology = Technology(macros={"inv": Macro("inv", "CORE", 2.0, 4.0, pins={"A": pin})})
    placement = Placement(
        units=10,
        die=np.array([[0, 0], [200, 100]]),
        cells=Cells(("u", "v"), ("inv",), np.zeros(2, np.int32), np.array([20, 150]), np.array([0, 40]),
                    np.array([0, 4], np.int8), np.ones(2, np.int8)),
        ports=Ports(("p",), ("b",), ("INPUT",), ("",), ("m1",), np.array([[-2, -2, 2, 2]]), np.array([0]), np.array([90]),
                    np.zeros(1, np.int8), np.ones(1, np.int8)),
        nets=Nets(("a", "b"), np.array([0, 2, 4]), np.array([0, 1, 1, -1], np.int32), np.zeros(4, np.int32), ("A",)),
    )  # fmt: skip
    grid = Grid(np.array([20.0, 70.0, 120.0, 170.0, 200.0]), np.array([0.0, 50.0, 100.0]))
    made = net_graph(placement, technology, grid)
    # u is 20 x 40 at (20, 0); v at (150, 40), mirrored, so that its pin at (5, 5) lies at (165, 45); steps are 0.5 units.
    assert made.cells.tolist() == [[20, 40, 40], [280, 120, 40], [0, 180, 0]]
    assert (made.ports, made.degree.tolist(), made.pins.tolist()) == (1, [2, 2], [0, 1, 1, 2])
    assert made.boxes.tolist() == [[10, 10, 290, 90], [0, 90, 290, 180]]
    unplaced = replace(placement, cells=replace(placement.cells, status=np.array([1, 0], np.int8)))
    with pytest.raises(GraphnasError, match="has unplaced cells"):
        net_graph(unplaced, technology, grid)


def test_packed_graphs_come_back_and_damage_is_refused() -> None:
    graphs = [drawn(0), None, drawn(1, cells=3)]
    arrays = packed(graphs)
    again = unpacked(arrays)
    assert again[1] is None
    for a, b in zip(graphs, again, strict=True):
        if a is not None and b is not None:
            assert a.ports == b.ports
            for name in ("cells", "degree", "pins", "boxes"):
                assert np.array_equal(getattr(a, name), getattr(b, name))
    with pytest.raises(ValueError, match="do not fit"):
        unpacked({**arrays, "pins": arrays["pins"][:-1]})
    with pytest.raises(GraphnasError, match="do not fit together"):
        replace(drawn(0), pins=drawn(0).pins + np.uint16(11))


def test_nets_cover_the_tiles_that_their_box_touches() -> None:
    graph, shape = drawn(3, nets=30), (4, 5)
    made = tile_graph(graph, shape)
    expected = set()
    for net, (x1, y1, x2, y2) in enumerate(graph.boxes / 100.0):
        for row in range(shape[0]):
            for column in range(shape[1]):
                low_x, low_y = min(x1, 4.99), min(y1, 3.99)  # a box on the border lies in the last tile
                if row <= y2 and low_y < row + 1 and column <= x2 and low_x < column + 1:
                    expected.add((net, row, column))
    assert {tuple(each) for each in made.covers.T.tolist()} == expected
    assert made.covers.shape[1] == len(expected)
    assert made.pins.shape == (2, int(graph.degree.sum()))
    assert made.cells[:, 2].tolist() == [0.0] * 9 + [1.0] * 2


def inputs(graphs: list[TileGraph], channels: int = 3, seed: int = 0) -> tuple[torch.Tensor, ...]:
    height = max(g.shape[0] for g in graphs) + 1
    width = max(g.shape[1] for g in graphs) + 2
    x = torch.zeros(len(graphs), channels, height, width)
    rng = torch.Generator().manual_seed(seed)
    for row, g in zip(x, graphs, strict=True):
        row[:-1, : g.shape[0], : g.shape[1]] = torch.randn(channels - 1, *g.shape, generator=rng)
        row[-1, : g.shape[0], : g.shape[1]] = 1
    return x, *joined(graphs, (height, width))


def network(channels: int = 3) -> LatticeHypergraph:
    torch.manual_seed(0)
    return LatticeHypergraph(channels, width=8, depth=2).eval()


def dense(model: LatticeHypergraph, x: torch.Tensor, graph: NetGraph, shape: tuple[int, int]) -> np.ndarray:
    """The same for one placement with matrices of all pairs."""
    part = tile_graph(graph, shape)
    n, m, (rows, columns) = len(part.cells), len(part.nets), shape
    tiles = [(r, c) for r in range(rows) for c in range(columns)]
    pins, on, over = np.zeros((m, n)), np.zeros((len(tiles), n)), np.zeros((len(tiles), m))
    for net, cell in zip(np.repeat(np.arange(m), graph.degree), graph.pins, strict=True):
        pins[net, cell] += 1
    for cell, (px, py, _) in enumerate(graph.cells):
        on[tiles.index((min(py // 100, rows - 1), min(px // 100, columns - 1))), cell] = 1
    for net, row, column in part.covers.T:
        over[tiles.index((row, column)), net] = 1
    beside = np.array([[abs(a - c) + abs(b - d) == 1 for c, d in tiles] for a, b in tiles], float)
    hears = {("cell", "net"): pins, ("net", "cell"): pins.T, ("cell", "tile"): on, ("tile", "cell"): on.T,
             ("net", "tile"): over, ("tile", "net"): over.T, ("tile", "tile"): beside}  # fmt: skip

    def weights(module: torch.nn.Module) -> list[np.ndarray]:
        return [p.detach().double().numpy() for p in module.parameters()]

    given = {"cell": part.cells, "net": part.nets, "tile": np.stack([x[:, r, c] for r, c in tiles])}
    state = {}
    for kind, value in given.items():
        w, b = weights(model.start[kind])
        state[kind] = np.maximum(value.astype(float) @ w.T + b, 0)
    for layer, norms in zip(model.layers, model.norms, strict=True):
        total = dict(state)
        for source, name, target in RELATIONS:
            convolution = layer.convs[source, name, target]
            (w, b), (own,) = weights(convolution.lin_l), weights(convolution.lin_r)
            matrix = hears[source, target]
            mean = matrix @ state[source] / np.maximum(matrix.sum(1, keepdims=True), 1)
            total[target] = total[target] + mean @ w.T + b + state[target] @ own.T
        for kind, value in total.items():
            w, b = weights(norms[kind])
            centred = value - value.mean(1, keepdims=True)
            state[kind] = np.maximum(centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * w + b, 0)
    w, b = weights(model.last)
    return (state["tile"] @ w.T + b).reshape(shape)


def test_the_network_against_matrices_of_all_pairs() -> None:
    graphs, shapes = [drawn(0), drawn(1, (3, 6), 12, 1, 8)], [(4, 5), (3, 6)]
    given = inputs([tile_graph(g, s) for g, s in zip(graphs, shapes, strict=True)])
    model = network()
    made = model(*given).detach().numpy()
    for i, (graph, (rows, columns)) in enumerate(zip(graphs, shapes, strict=True)):
        expected = dense(model, given[0][i, :, :rows, :columns].numpy(), graph, (rows, columns))
        np.testing.assert_allclose(made[i, 0, :rows, :columns], expected, atol=2e-5)
        assert not made[i, 0, rows:].any()
        assert not made[i, 0, :, columns:].any()


def test_names_of_cells_and_nets_and_the_batch_do_not_matter() -> None:
    graph, other = drawn(0), drawn(1)
    rng = np.random.default_rng(5)
    cells, nets = np.append(rng.permutation(9), [10, 9]), rng.permutation(6)
    place = np.argsort(cells).astype(np.uint16)
    start = np.append(0, np.cumsum(graph.degree, dtype=np.int64))
    pins = np.concatenate([place[graph.pins[start[k] : start[k + 1]]][::-1] for k in nets])
    renamed = NetGraph(graph.cells[cells], graph.ports, graph.degree[nets], pins, graph.boxes[nets])
    model, shape = network(), (4, 5)
    given = inputs([tile_graph(graph, shape), tile_graph(other, shape)])
    first = model(*given)
    canvas = given[0].shape[2], given[0].shape[3]
    torch.testing.assert_close(
        model(given[0], *joined([tile_graph(renamed, shape), tile_graph(other, shape)], canvas)), first
    )
    swapped = model(given[0].flip(0), *joined([tile_graph(other, shape), tile_graph(graph, shape)], canvas))
    torch.testing.assert_close(swapped.flip(0), first)


def test_mirrored_maps_and_graphs_give_mirrored_logits() -> None:
    graphs = [tile_graph(drawn(k), (4, 5)) for k in (0, 1)]
    given, model = inputs(graphs), network()
    canvas, first = (given[0].shape[2], given[0].shape[3]), model(*inputs(graphs))
    for flips, axes in (((True, False), [2]), ((False, True), [3]), ((True, True), [2, 3])):
        made = model(given[0].flip(axes), *joined(graphs, canvas, flips))
        torch.testing.assert_close(made.flip(axes), first)


def test_counting_and_the_inside_average_leave_out_padding() -> None:
    given = inputs([tile_graph(drawn(0), (4, 5)), tile_graph(drawn(1, (3, 6)), (3, 6))])
    model = network()
    logits = model(*given).detach()
    expected = [logits[0, 0, :4, :5].mean(), logits[1, 0, :3, :6].mean()]
    torch.testing.assert_close(Counting(model)(*given).detach().squeeze(1), torch.stack(expected))
    x = torch.randn(1, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    maps = torch.zeros(1, 1, 4, 6)
    maps[..., :4, :3] = 1  # of the three columns of x one whole and half of the next
    share = torch.tensor([1.0, 0.5, 0.0])
    torch.testing.assert_close(InsideAverage()(x, maps), (x * share).sum((2, 3)) / 3)


def test_manual_models_by_name() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 11)
    x[:, -1] = 1
    assert set(MODELS["nets"]) == {*HOTSPOTS, "RouteNet FCN"}
    for name, each in MODELS["nets"].items():
        if not each.graph and name not in ("RouteNet", "PROS"):
            assert each.build(4).eval()(x).shape == (2, 1)
    with pytest.raises(GraphnasError, match="unknown manual model 'Unet'"):
        manual("hotspots", "Unet")
