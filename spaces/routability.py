"""Routability predictors with flexible connections, after Chang et al., "Automatic Routability Predictor Development Using NAS",
ICCAD 2021.

Three stages at full, half and quarter resolution. Each is a DAG: its input, four vertices with an operation each, and its result. Every
edge from an earlier to a later vertex may be there or not (together they are the stage's guide-DAG); what feeds a
vertex is summed, what feeds the result is joined and mixed by a 1x1 convolution. The paper names the candidate operations (regular,
atrous and mixed depth-wise convolutions) and the parts that stay (stem, pooling between stages, head); sizes and details are
ours. Two spaces share the stages: ``routability_nets`` ends in one number, ``routability_hotspots`` in a map at the resolution of the
input, by way of two decoder levels that any earlier stage may feed. ``routability_nets_graph`` and ``routability_hotspots_graph``
have one operation more, messages through nets (ours, after LHNN), for tasks that give networks the nets of placements.
"""

from __future__ import annotations

from functools import lru_cache, partial

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.oneshot.opened import OPEN
from graphnas.space import Choice, Decisions, Pick, Relaxed, Space
from graphnas.tasks.base import Signature
from spaces.routability_network import NET_MESSAGE, NETS_INPUTS, build
from spaces.routability_supernet import inherited, open_network

STAGES = 3
VERTICES = 4
OPS = ("conv3", "conv5", "atrous2", "atrous4", "mixed", "max_pool", "identity")
GRAPH_OPS = (*OPS, NET_MESSAGE)
SEMANTICS = Semantics(identity_ops=frozenset({"identity"}), merge_ops=frozenset({"sum", "concat"}))
SIZE = {"channels": 16}
NETS_SIZE = {**SIZE, "inside": 0}


@lru_cache(maxsize=1)
def nets() -> Space:
    """For the number of violated nets: stages, then the mean over the map and a linear map."""
    return _space("routability_nets", "image", decoder=False)


@lru_cache(maxsize=1)
def hotspots() -> Space:
    """For hotspot maps: stages, then two decoder levels with searchable links from stages 1 and 2."""
    return _space("routability_hotspots", "map", decoder=True)


@lru_cache(maxsize=1)
def nets_graph() -> Space:
    """As ``nets``, with messages through nets as a further operation."""
    return _space("routability_nets_graph", "image", decoder=False, graph=True)


@lru_cache(maxsize=1)
def hotspots_graph() -> Space:
    """As ``hotspots``, with messages through nets as a further operation."""
    return _space("routability_hotspots_graph", "map", decoder=True, graph=True)


def _space(name: str, kind: str, decoder: bool, graph: bool = False) -> Space:
    options = GRAPH_OPS if graph else OPS
    nodes: list[Node] = [node("input")]
    edges: list[Choice] = []
    ops: list[Choice] = []
    guides: list[dict[tuple[int, int], int]] = []  # for each stage, the place of every edge among the decisions
    ends: list[int] = []
    x = 0
    for stage in range(STAGES):
        if stage:
            nodes.append(node("reduce", (x,), stage=stage + 1))
            x = len(nodes) - 1
        guide: dict[tuple[int, int], int] = {}
        value = [x]
        for v in range(1, VERTICES + 2):
            into: list[int | Pick] = []
            for u in range(v):
                guide[u, v] = len(edges)
                edges.append(Choice(f"stage{stage + 1}.{u}->{'out' if v > VERTICES else v}", (0, 1), "edge"))
                into.append(edges[-1].at(None, value[u]))
            if v <= VERTICES:
                nodes.append(node("sum", into))
                ops.append(Choice(f"stage{stage + 1}.op{v}", options, "op"))
                nodes.append(node(ops[-1], (len(nodes) - 1,), stage=stage + 1))
            else:
                nodes.append(node("concat", into))
                nodes.append(node("join", (len(nodes) - 1,), stage=stage + 1))
            value.append(len(nodes) - 1)
        guides.append(guide)
        x = value[-1]
        ends.append(x)
    links: list[Choice] = []
    if decoder:
        for level in (2, 1):
            nodes.append(node("lift", (x,), stage=level))
            slots: list[int | Pick] = [len(nodes) - 1]
            for source in (1, 2):
                links.append(Choice(f"link{source}->{level}", (0, 1), "link"))
                nodes.append(node("fit", (ends[source - 1],), source=source, stage=level))
                slots.append(links[-1].at(None, len(nodes) - 1))
            nodes.append(node("concat", slots))
            nodes.append(node("join", (len(nodes) - 1,), stage=level, decoder=1))
            x = len(nodes) - 1
    nodes.append(node("score", (x,)))
    nodes.append(node("output", (len(nodes) - 1,)))
    return Space(
        name,
        nodes,
        semantics=SEMANTICS,
        valid=_Rule(guides),
        count=connected_stages() ** STAGES * len(options) ** len(ops) * 2 ** len(links),
        order=[*edges, *ops, *links],
        network=_network,
        size=SIZE if decoder else NETS_SIZE,
        accepts=(kind,),
        reads=NETS_INPUTS if graph else (),
        relaxed=partial(_relaxed, decoder, graph),
        description=f"three stages with searchable edges for routability ({'hotspot map' if decoder else 'violated nets'}"
        f"{'; messages through nets' if graph else ''})",
    )


def _network(architecture: Architecture, signature: Signature, **size: int) -> Architecture:
    """The network of decided stages, or that of open ones."""
    make = open_network if any(n.op == OPEN for n in architecture.nodes) else build
    return make(architecture, signature, **size)


def _relaxed(decoder: bool, graph: bool) -> Relaxed:
    """The space itself: a supernet holds all edges with their weights."""
    find = {(False, False): nets, (True, False): hotspots, (False, True): nets_graph, (True, True): hotspots_graph}
    found = find[decoder, graph]
    return Relaxed(found(), _same, _same, inherit=partial(inherited, found, GRAPH_OPS if graph else OPS))


def _same(architecture: Architecture) -> Architecture:
    return architecture


@lru_cache(maxsize=1)
def connected_stages() -> int:
    """The number of edge sets of a stage in which a path leads from its input to its result."""
    pairs = [(u, v) for v in range(1, VERTICES + 2) for u in range(v)]
    count = 0
    for edges in range(2 ** len(pairs)):
        reached = 1  # bit v: vertex v is reached
        for place, (u, v) in enumerate(pairs):
            if edges >> place & 1 and reached >> u & 1:
                reached |= 1 << v
        count += reached >> (VERTICES + 1) & 1
    return count


class _Rule:
    """Every stage has a path from its input to its result."""

    def __init__(self, guides: list[dict[tuple[int, int], int]]) -> None:
        self.guides = guides
        self.parts = tuple(tuple(guide.values()) for guide in guides)

    def __call__(self, decisions: Decisions) -> bool:
        for guide in self.guides:
            reached = {0}
            for (u, v), place in guide.items():  # ordered by v, so one pass suffices
                if decisions[place] and u in reached:
                    reached.add(v)
            if VERTICES + 1 not in reached:
                return False
        return True
