"""Where the nodes and edges of an architecture go on paper: a layered, top-to-bottom drawing.

The four steps of Sugiyama, Tagawa and Toda (1981): layers by longest path, virtual points on long edges, crossing
reduction by barycentres, and coordinates after Brandes and Koepf (2001, "Fast and simple horizontal coordinate
assignment"), whose blocks are placed here by longest paths in the block graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from graphnas.architecture import INPUT, OUTPUT, Architecture
from graphnas.errors import GraphnasError

Order = tuple[tuple[int, ...], ...]

MAX_POINTS = 60_000
BOX = (84.0, 30.0)
_NODE_GAP = 22.0
_POINT_GAP = 14.0
_LAYER_GAP = 34.0
_PORT_PITCH = 13.0


class Box(NamedTuple):
    """A rectangle: left and top edge, width and height, in pixels; y grows downwards."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layers:
    """A layered graph whose edges join neighbouring layers only.

    Attributes:
        order: the vertices of each layer from left to right; numbers from ``len(architecture)`` on are virtual points.
        chains: for each of ``architecture.edges``, the vertices it runs through: source, virtual points, target.
    """

    order: Order
    chains: tuple[tuple[int, ...], ...]

    @property
    def vertices(self) -> int:
        """Number of nodes and virtual points."""
        return sum(map(len, self.order))

    def neighbours(self) -> tuple[list[list[int]], list[list[int]]]:
        """For every vertex those in the layer above and those in the layer below, once per edge."""
        above: list[list[int]] = [[] for _ in range(self.vertices)]
        below: list[list[int]] = [[] for _ in range(self.vertices)]
        for chain in self.chains:
            for a, b in pairwise(chain):
                above[b].append(a)
                below[a].append(b)
        return above, below


@dataclass(frozen=True)
class Layout:
    """A finished drawing in pixels, all coordinates at least 0.

    Attributes:
        layers: the layered graph with its final order.
        boxes: one for each node.
        routes: one for each of ``architecture.edges``: points from the source's lower to the target's upper edge.
            Points come in pairs: within a pair the edge runs vertically through a layer, between pairs through a gap.
        width, height: extent of everything.
    """

    layers: Layers
    boxes: tuple[Box, ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def layout(architecture: Architecture, sizes: Sequence[tuple[float, float]] | None = None) -> Layout:
    """Place an architecture: boxes that do not overlap, edges that go down and cross no box.

    Args:
        architecture: what to place; about 300 nodes take a second or two.
        sizes: (width, height) of each node's box; ``BOX`` for all by default.

    Raises:
        GraphnasError: wrong number of sizes, or a graph too large to draw.
    """
    if sizes is None:
        sizes = [BOX] * len(architecture)
    if len(sizes) != len(architecture):
        raise GraphnasError(f"layout needs one size for each of {len(architecture)} nodes, but {len(sizes)} are given")
    layers = reduce_crossings(layered(architecture))
    count = len(sizes)
    widths = [w for w, _ in sizes] + [0.0] * (layers.vertices - count)
    x = _coordinates(layers, widths, count)
    heights = [max(sizes[v][1] for v in layer if v < count) for layer in layers.order]
    layer_of = _place(layers.order, layer=True)
    ports = _ports(layers, x, widths)

    tops = [0.0] * len(heights)
    reach = [0.0] * len(heights)  # the longest horizontal run below each layer: wide fans get a little more room
    for leave, enter, chain in zip(*ports, layers.chains, strict=True):
        xs = [leave, *(x[v] for v in chain[1:-1]), enter]
        for v, a, b in zip(chain, xs, xs[1:], strict=False):
            reach[layer_of[v]] = max(reach[layer_of[v]], abs(a - b))
    for i in range(1, len(tops)):
        tops[i] = tops[i - 1] + heights[i - 1] + _LAYER_GAP + min(36.0, 0.06 * reach[i - 1])
    bottoms = [top + height for top, height in zip(tops, heights, strict=True)]

    boxes = []
    for v, (width, height) in enumerate(sizes):
        middle = (tops[layer_of[v]] + bottoms[layer_of[v]]) / 2
        boxes.append(Box(x[v] - width / 2, middle - height / 2, width, height))
    routes = []
    for leave, enter, chain in zip(*ports, layers.chains, strict=True):
        source, target = chain[0], chain[-1]
        points = [(leave, boxes[source].y + boxes[source].height), (leave, bottoms[layer_of[source]])]
        for v in chain[1:-1]:
            points += [(x[v], tops[layer_of[v]]), (x[v], bottoms[layer_of[v]])]
        points += [(enter, tops[layer_of[target]]), (enter, boxes[target].y)]
        routes.append(tuple(points))
    right = max([b.x + b.width for b in boxes] + [px for route in routes for px, _ in route])
    return Layout(layers, tuple(boxes), tuple(routes), right, bottoms[-1])


def layered(architecture: Architecture) -> Layers:
    """The layers by longest path from the inputs, in the order of the nodes; outputs share the last layer.

    Raises:
        GraphnasError: more than ``MAX_POINTS`` nodes, edges and virtual points.
    """
    nodes, consumers = architecture.nodes, architecture.consumers()
    layer = [0] * len(nodes)
    for i, n in enumerate(nodes):
        layer[i] = max((layer[j] + 1 for j in n.inputs), default=0)
    last = max(layer)
    for i in range(len(nodes) - 1, -1, -1):
        if nodes[i].op == OUTPUT:
            layer[i] = last
        elif nodes[i].op != INPUT and len(consumers[i]) > len(nodes[i].inputs):  # further down means shorter edges
            layer[i] = min(layer[j] for j in consumers[i]) - 1
    used = sorted(set(layer))
    layer = [used.index(value) for value in layer]
    edges = architecture.edges
    points = len(nodes) + len(edges) + sum(layer[b] - layer[a] - 1 for a, b in edges)
    if points > MAX_POINTS:
        raise GraphnasError(
            f"an architecture of {len(nodes)} nodes and {len(edges)} edges is too large to draw; draw a part of it"
        )
    order: list[list[int]] = [[] for _ in used]
    for i, value in enumerate(layer):
        order[value].append(i)
    chains, vertex = [], len(nodes)
    for a, b in edges:
        inner = range(vertex, vertex + layer[b] - layer[a] - 1)
        for value, v in enumerate(inner, start=layer[a] + 1):
            order[value].append(v)
        vertex += len(inner)
        chains.append((a, *inner, b))
    return Layers(tuple(map(tuple, order)), tuple(chains))


def crossings(layers: Layers) -> int:
    """Number of pairs of edge segments between neighbouring layers that cross."""
    _, below = layers.neighbours()
    return _crossings(layers.order, below, _place(layers.order))


def _crossings(order: Sequence[Sequence[int]], below: Sequence[Sequence[int]], place: Sequence[int]) -> int:
    total = 0
    for upper, lower in pairwise(order):
        tree = [0] * (len(lower) + 1)  # Fenwick tree over the ends of the segments seen so far
        seen = 0
        for v in upper:
            ends = [place[w] for w in below[v]]
            for end in ends:
                i, not_right = end + 1, 0
                while i:
                    not_right += tree[i]
                    i &= i - 1
                total += seen - not_right
            for end in ends:
                i = end + 1
                while i <= len(lower):
                    tree[i] += 1
                    i += i & -i
            seen += len(ends)
    return total


def reduce_crossings(layers: Layers) -> Layers:
    """The same layers, reordered by barycentre sweeps and swaps of neighbours; never more crossings than before."""
    above, below = layers.neighbours()
    best, fewest = layers.order, crossings(layers)
    small = layers.vertices <= 3000
    starts = [layers.order, _depth_first(layers, below)]
    starts += [_scattered(layers, k) for k in range(1, 15 if layers.vertices <= 300 else 3 if small else 1)]
    for start in starts:
        order = [list(layer) for layer in start]
        place = _place(order)
        stale = 0
        for sweep in range(24 if small else 8):
            if not fewest or stale == 6:
                break
            near, rows = (above, order[1:]) if sweep % 2 == 0 else (below, order[-2::-1])
            for row in rows:
                if sweep % 4 >= 2:
                    row.reverse()  # the sort is stable: ties are now broken the other way
                mean = {v: sum(place[u] for u in near[v]) / len(near[v]) if near[v] else place[v] for v in row}
                row.sort(key=mean.__getitem__)
                for i, v in enumerate(row):
                    place[v] = i
            if small:
                _swap_neighbours(order, above, below, place)
            found = _crossings(order, below, place)
            stale += 1
            if found < fewest:
                best, fewest, stale = tuple(map(tuple, order)), found, 0
    return Layers(best, layers.chains)


def _depth_first(layers: Layers, below: list[list[int]]) -> Order:
    """The layers in the order of a depth-first walk, which keeps branches together."""
    stack = [v for layer in reversed(layers.order) for v in reversed(layer)]
    rank: dict[int, int] = {}
    while stack:
        v = stack.pop()
        if v not in rank:
            rank[v] = len(rank)
            stack.extend(w for w in reversed(below[v]) if w not in rank)
    return tuple(tuple(sorted(layer, key=rank.__getitem__)) for layer in layers.order)


def _scattered(layers: Layers, k: int) -> Order:
    """The k-th of many fixed shuffles (Knuth's multiplicative hashing): other starts end in other local optima."""
    factor = 2654435761 + 81006 * k
    return tuple(tuple(sorted(row, key=lambda v: (v + k) * factor % 2**32 >> 7)) for row in layers.order)


def _swap_neighbours(order: list[list[int]], above: list[list[int]], below: list[list[int]], place: list[int]) -> None:
    """Swap vertices that stand side by side wherever that removes crossings."""
    for row in order:
        for i in range(len(row) - 1):
            v, w = row[i], row[i + 1]
            gain = 0
            for near in (above, below):
                for a in near[v]:
                    for b in near[w]:
                        gain += (place[a] > place[b]) - (place[a] < place[b])
            if gain > 0:
                row[i], row[i + 1] = w, v
                place[v], place[w] = i + 1, i


def _place(order: Sequence[Sequence[int]], *, layer: bool = False) -> list[int]:
    """For every vertex its place within its layer, or the number of its layer."""
    place = [0] * sum(map(len, order))
    for i, row in enumerate(order):
        for j, v in enumerate(row):
            place[v] = i if layer else j
    return place


def _ports(layers: Layers, x: Sequence[float], widths: Sequence[float]) -> tuple[list[float], list[float]]:
    """Where each edge leaves its source and enters its target: side by side, in the order of where they come from."""
    found: list[list[float]] = []
    for end, step in ((0, 1), (-1, -2)):
        at: dict[int, list[int]] = {}
        for e, chain in enumerate(layers.chains):
            at.setdefault(chain[end], []).append(e)
        port = [0.0] * len(layers.chains)
        for v, edges in at.items():
            edges.sort(key=lambda e: (x[layers.chains[e][step]], e))
            pitch = min(_PORT_PITCH, 0.7 * widths[v] / len(edges))
            for i, e in enumerate(edges):
                port[e] = x[v] + pitch * (i - (len(edges) - 1) / 2)
        found.append(port)
    return found[0], found[1]


def _coordinates(layers: Layers, widths: Sequence[float], nodes: int) -> list[float]:
    """Centres of all vertices: of four extreme placements the mean of the two middle ones (keeps all distances)."""
    above, below = layers.neighbours()
    marked = _conflicts(layers.order, above, _place(layers.order), nodes)
    found = []
    for near, rows in ((above, layers.order), (below, layers.order[::-1])):
        for mirrored in (False, True):
            order = [row[::-1] for row in rows] if mirrored else list(rows)
            x = _packed(order, near, marked, widths, nodes)
            found.append([-value for value in x] if mirrored else x)
    spans = [_extent(x, widths) for x in found]
    low, high = min(spans, key=lambda span: span[1] - span[0])
    for i, (left, right) in enumerate(spans):
        shift = high - right if i % 2 else low - left
        found[i] = [value + shift for value in found[i]]
    x = [sum(sorted(values)[1:3]) / 2 for values in zip(*found, strict=True)]
    left, _ = _extent(x, widths)
    return [value - left for value in x]


def _extent(x: Sequence[float], widths: Sequence[float]) -> tuple[float, float]:
    pairs = list(zip(x, widths, strict=True))
    return min(c - w / 2 for c, w in pairs), max(c + w / 2 for c, w in pairs)


def _conflicts(
    order: Sequence[Sequence[int]], above: list[list[int]], place: Sequence[int], nodes: int
) -> set[tuple[int, int]]:
    """Segments that cross the inner segment of a long edge: they give way, so that long edges run straight."""
    marked = set()
    for upper, lower in pairwise(order):
        left, done = 0, 0
        for i, v in enumerate(lower):
            inner = v >= nodes and above[v][0] >= nodes
            if not inner and i < len(lower) - 1:
                continue
            right = place[above[v][0]] if inner else len(upper) - 1
            for w in lower[done : i + 1]:
                for u in above[w]:
                    if not left <= place[u] <= right and (u < nodes or w < nodes):
                        marked.add((u, w))
            left, done = right, i + 1
    return marked | {(w, u) for u, w in marked}


def _packed(
    order: Sequence[Sequence[int]],
    near: list[list[int]],
    marked: set[tuple[int, int]],
    widths: Sequence[float],
    nodes: int,
) -> list[float]:
    """Align each vertex with a median neighbour, then pack the aligned blocks as far to the left as they go."""
    place = _place(order)
    root = list(range(len(place)))
    for row in order:
        limit = -1
        for v in row:
            close = sorted(near[v], key=place.__getitem__)
            for u in close[(len(close) - 1) // 2 : len(close) // 2 + 1]:
                if root[v] == v and place[u] > limit and (u, v) not in marked:
                    root[v], limit = root[u], place[u]
    after: dict[int, list[tuple[int, float]]] = {v: [] for v in set(root)}
    waiting = dict.fromkeys(after, 0)
    for row in order:
        for a, b in pairwise(row):
            gap = _NODE_GAP if a < nodes and b < nodes else _POINT_GAP
            after[root[a]].append((root[b], (widths[a] + widths[b]) / 2 + gap))
            waiting[root[b]] += 1
    x = dict.fromkeys(after, 0.0)
    ready = sorted(v for v, n in waiting.items() if not n)
    for v in ready:  # grows while it is walked: a topological order of the blocks
        for w, distance in after[v]:
            x[w] = max(x[w], x[v] + distance)
            waiting[w] -= 1
            if not waiting[w]:
                ready.append(w)
    for v in reversed(ready):  # close the gap to the right where there is a neighbour
        if after[v]:
            x[v] = max(x[v], min(x[w] - distance for w, distance in after[v]))
    return [x[r] for r in root]
