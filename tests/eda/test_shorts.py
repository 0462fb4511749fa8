from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from eda.maze import STEP, VIA, WRONG_WAY, Maze
from eda.routing_grid import RoutingGrid
from eda.shorts import SHARED, OpenNet, complete

LAYERS = ("metal1", "metal2", "metal3", "metal4")
VERTICAL = (False, True, False, True)


def grid_of(layers: int, rows: int, columns: int) -> RoutingGrid:
    strides = (1, 1, 1, 2)[:layers]
    return RoutingGrid(LAYERS[:layers], VERTICAL[:layers], strides, (0, 0), (160, 200), columns, rows)


def line(grid: RoutingGrid, layer: int, rows: range, column: int) -> np.ndarray:
    return np.array([grid.number(layer, row, column) for row in rows])


def four_nets(rows_of_third: range) -> tuple[RoutingGrid, dict[int, np.ndarray], OpenNet]:
    """Nets 1 .. 3 make a wall in column 3, and net 0 lies open on both sides of it, in row 2 of metal3."""
    grid = grid_of(3, 5, 7)
    used = {1: line(grid, 1, range(5), 3), 2: line(grid, 2, range(2), 3), 3: line(grid, 2, rows_of_third, 3)}
    ends = [np.array([grid.number(2, 2, 0)]), np.array([grid.number(2, 2, 6)])]
    return grid, used, OpenNet(0, ends)


def test_the_one_short_of_four_nets() -> None:
    grid, used, opened = four_nets(range(2, 5))
    found = complete(grid, used, [opened], np.zeros(0, np.int64))
    # Straight on costs 6 steps and one shared node; any way round it leads through the wall as well.
    assert found.nodes.tolist() == [grid.number(2, 2, 3)]
    assert found.nets.tolist() == [0, 3]
    assert found.paths[0].tolist() == [grid.number(2, 2, column) for column in range(7)]
    assert (found.clean, found.unresolved.tolist()) == (0, [])


def test_a_gap_in_the_wall_leaves_no_short() -> None:
    grid, used, opened = four_nets(range(2, 4))
    found = complete(grid, used, [opened], np.zeros(0, np.int64))
    # Two wrong-way steps down and two up cost 16, less than the 25 of a shared node.
    assert 4 * WRONG_WAY < SHARED
    assert grid.number(2, 4, 3) in found.paths[0]
    assert (len(found.nodes), len(found.nets), found.clean) == (0, 0, 1)


def test_an_obstruction_is_dearer_than_a_short() -> None:
    grid, used, opened = four_nets(range(2, 4))
    found = complete(grid, used, [opened], line(grid, 2, range(4, 5), 3))
    assert found.nodes.tolist() == [grid.number(2, 2, 3)]


def test_two_open_nets_may_violate_each_other() -> None:
    grid = grid_of(3, 3, 3)
    blocked = np.array([grid.number(1, row, 1) for row in range(3)] + [grid.number(2, row, 1) for row in (0, 2)])
    ends = [[np.array([grid.number(2, row, 0)]), np.array([grid.number(2, row, 2)])] for row in (0, 2)]
    found = complete(grid, {}, [OpenNet(4, ends[0]), OpenNet(9, ends[1])], blocked)
    assert found.nets.tolist() == [4, 9]
    assert grid.number(2, 1, 1) in found.nodes


def test_a_start_on_another_net_is_a_short() -> None:
    grid = grid_of(3, 3, 5)
    spot = np.array([grid.number(2, 1, 0)])
    found = complete(grid, {7: spot}, [OpenNet(2, [spot, np.array([grid.number(2, 1, 4)])])], np.zeros(0, np.int64))
    assert (found.nodes.tolist(), found.nets.tolist()) == (spot.tolist(), [2, 7])


def reference(grid: RoutingGrid, price: np.ndarray) -> nx.DiGraph:
    """The same grid as a graph whose edges cost the step and the entered node's price, written node by node."""
    graph = nx.DiGraph()
    layers = range(1, len(grid.layers))

    def there(layer: int, column: int) -> bool:
        return column % grid.strides[layer] == 0

    for layer, row, column in itertools.product(layers, range(grid.rows), range(grid.columns)):
        if not there(layer, column):
            continue
        here = grid.number(layer, row, column)
        for up, dy, dx in itertools.product((-1, 0, 1), repeat=3):
            if abs(up) + abs(dy) + abs(dx) != 1:
                continue
            other, r, c = layer + up, row + dy, column + dx
            if other not in layers or not 0 <= r < grid.rows or not 0 <= c < grid.columns or not there(other, c):
                continue
            step = VIA if up else (STEP if (dy != 0) == grid.vertical[layer] else WRONG_WAY)
            node = grid.number(other, r, c)
            graph.add_edge(here, node, weight=step + price[node])
    return graph


@pytest.mark.parametrize("seed", range(6))
def test_paths_are_as_cheap_as_an_independent_search_finds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    grid = grid_of(3 + seed % 2, int(generator.integers(8, 16)), int(generator.integers(60, 240)))
    price = SHARED * (generator.random(grid.size) < 0.45)
    graph = reference(grid, price)
    nodes = np.array(sorted(graph.nodes))
    sources, targets = np.split(generator.choice(nodes, 6, replace=False), [3])
    for source in sources.tolist():
        graph.add_edge("start", source, weight=price[source])
    length = nx.single_source_dijkstra_path_length(graph, "start")
    best = min(length[target] for target in targets.tolist())
    path = Maze(grid).path(sources, targets, price)
    assert path is not None
    assert path[0] in sources
    assert path[-1] in targets
    cost = price[path[0]] + sum(graph[a][b]["weight"] for a, b in itertools.pairwise(path.tolist()))
    assert cost == pytest.approx(best)


@pytest.mark.parametrize("seed", range(4))
def test_violated_nets_are_those_with_shared_nodes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    grid = grid_of(4, 24, 24)
    free = generator.permutation(np.arange(grid.rows * grid.columns, grid.size // 4 * 4))
    used = dict(enumerate(np.split(free[:900], 30)))  # nothing shared at first
    nodes = list(range(grid.rows * grid.columns, 2 * grid.rows * grid.columns))
    opened = [OpenNet(100 + k, [np.array([n]) for n in generator.choice(nodes, 3, replace=False)]) for k in range(12)]
    found = complete(grid, used, opened, np.zeros(0, np.int64))
    users: dict[int, set[int]] = {}
    for net, members in [*used.items(), *found.paths.items()]:
        for node in members.tolist():
            users.setdefault(node, set()).add(net)
    shared = {node: nets for node, nets in users.items() if len(nets) > 1}
    assert found.nodes.tolist() == sorted(shared)
    assert found.nets.tolist() == sorted(set().union(*shared.values()))
    assert found.clean == len(set(found.paths) - set(found.nets.tolist()))
    assert len(shared) > 0
