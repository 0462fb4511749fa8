"""Shorts: where the nets that a router gave up would have to cross others.

qrouter never leaves a short: a net that it cannot route is absent from its result. To get locations, as a router that
draws every net reports them, each such net is completed on the routing grid by cheapest paths (``eda.maze``) through what is
already there: entering a node that another net uses costs ``SHARED``, entering an obstruction ``OBSTRUCTED``. A node used
by two nets is then a **short**, and the nets that share one are **violated**. A net completed without sharing is clean:
the router had given up although a legal path existed. These are shorts of a stated router at a stated effort; no claim is
made about other rules (spacing, minimum area, vias).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eda.maze import Costs, Maze
from eda.routing_grid import Nodes, PinNodes, RoutingGrid

SHARED, OBSTRUCTED = 25.0, 100.0
"""Cost of entering a node that another net uses, and one that a cell obstructs."""


@dataclass(frozen=True, eq=False)
class Shorts:
    """What completing the open nets gave.

    Args:
        nodes: int64[n], nodes used by two nets or more, ascending.
        nets: int64[m], nets that share a node, ascending.
        paths: net -> nodes added for it.
        clean: number of nets completed without sharing a node.
        unresolved: nets for which no path exists at all, ascending.
    """

    nodes: Nodes
    nets: Nodes
    paths: Mapping[int, Nodes]
    clean: int
    unresolved: Nodes


@dataclass(frozen=True, eq=False)
class OpenNet:
    """A net that is still in pieces.

    Args:
        net: its index.
        pieces: for each piece, nodes above the lowest layer from which a path may start.
    """

    net: int
    pieces: Sequence[Nodes]


def complete(grid: RoutingGrid, used: Mapping[int, Nodes], open_nets: Iterable[OpenNet], blocked: Nodes) -> Shorts:
    """Complete nets one after the other, in the order given.

    Of a net's pieces the smallest (in half-perimeter) is joined to the piece that is cheapest to reach, until one is left.

    Args:
        grid: the routing grid.
        used: net -> the nodes that it uses already (routed nets, parts of open nets, ports).
        open_nets: the nets to complete.
        blocked: nodes that cells obstruct.
    """
    maze = Maze(grid)
    users = np.zeros(grid.size, np.int32)
    for nodes in used.values():
        users[nodes] += 1
    obstruction = np.zeros(grid.size)
    obstruction[blocked] = OBSTRUCTED
    added: dict[int, Nodes] = {}
    unresolved = []
    for each in open_nets:
        own = used.get(each.net, np.zeros(0, np.int64))
        price = obstruction + SHARED * (users > 0)
        price[own] = 0.0
        path, whole = _join(maze, grid, [np.unique(piece) for piece in each.pieces], price)
        new = np.setdiff1d(path, own)
        users[new] += 1
        added[each.net] = new
        if not whole:
            unresolved.append(each.net)
    return _judge(used, added, np.array(sorted(unresolved), np.int64))


def _join(maze: Maze, grid: RoutingGrid, pieces: list[Nodes], price: Costs) -> tuple[Nodes, bool]:
    """The nodes of the paths that join the pieces, and whether all could be joined; lowers their price to zero."""
    paths = [np.zeros(0, np.int64)]
    while len(pieces) > 1:
        source = pieces.pop(min(range(len(pieces)), key=lambda place: _span(grid, pieces[place])))
        path = maze.path(source, np.concatenate(pieces), price)
        if path is None:
            return np.unique(np.concatenate(paths)), False
        price[path] = 0.0
        paths.append(path)
        reached = next(place for place, piece in enumerate(pieces) if path[-1] in piece)
        pieces[reached] = np.unique(np.concatenate([pieces[reached], source, path]))
    return np.unique(np.concatenate(paths)), True


def _span(grid: RoutingGrid, nodes: Nodes) -> int:
    """Half-perimeter of the box around nodes, in steps."""
    column = nodes % grid.columns
    row = nodes // grid.columns % grid.rows
    return int(np.ptp(column) + np.ptp(row))


def _judge(used: Mapping[int, Nodes], added: Mapping[int, Nodes], unresolved: Nodes) -> Shorts:
    """Nodes of the added paths that two nets use, and all nets that use one of them."""
    empty = np.zeros(0, np.int64)
    touched = np.unique(np.concatenate([empty, *added.values()]))
    pairs: list[tuple[int, Nodes]] = [*used.items(), *added.items()]
    nodes = np.concatenate([empty, *(np.unique(members) for _, members in pairs)])
    nets = np.repeat([net for net, _ in pairs], [len(np.unique(members)) for _, members in pairs]).astype(np.int64)
    kept = np.isin(nodes, touched)
    both = np.unique(np.stack([nodes[kept], nets[kept]], 1), axis=0)
    found, count = np.unique(both[:, 0], return_counts=True)
    shared = found[count > 1]
    violated = np.unique(both[np.isin(both[:, 0], shared), 1])
    closed = [net for net in added if net not in set(unresolved.tolist())]
    clean = len(set(closed) - set(violated.tolist()))
    return Shorts(shared, violated, dict(added), clean, unresolved)


def pieces_of(pins: PinNodes, members: Iterable[int], wires: Sequence[Nodes]) -> list[Nodes]:
    """The pieces of a net: groups of its pins and wires that hang together.

    Args:
        pins: finds the nodes of pins.
        members: the net's pins.
        wires: nodes of its wires and vias, one array each.

    Returns:
        For each group, ascending nodes above the lowest layer from which a path may start: those of its wires and
        ports, and those right above the shapes of its pins.
    """
    grid = pins.grid
    groups: list[tuple[set[int], set[int]]] = []  # (nodes that connect, nodes to start from)
    plane = grid.rows * grid.columns
    for pin in members:
        shapes = pins.shapes(pin)
        access = pins.access(pin, shapes)
        # A stub inside the pin may end up to half a track from it.
        near = [grid.covered(layer, box.tolist(), slack=0.5) for layer, box in shapes]
        upper = np.where(access < plane, access + plane, access)
        _merge(groups, set(np.concatenate([access, *near]).tolist()), set(upper.tolist()))
    for nodes in wires:
        _merge(groups, set(nodes.tolist()), set(nodes[nodes >= plane].tolist()))
    return [np.array(sorted(start), np.int64) for _, start in groups if start]


def _merge(groups: list[tuple[set[int], set[int]]], nodes: set[int], start: set[int]) -> None:
    """Add a group, joined with all that it touches."""
    touching = [place for place, (members, _) in enumerate(groups) if not members.isdisjoint(nodes)]
    for place in reversed(touching):
        members, begins = groups.pop(place)
        nodes |= members
        start |= begins
    groups.append((nodes, start))
