"""The supernet of the routability spaces: all operations, edges and links at once.

A decided network leaves out what its input does not reach, and joins only what is there. While edges are open, a vertex counts by the weight
with which it is reached. With e(u, v) the weight of an edge, and r = 1 for the input of a stage::

    r(v) = 1 - prod_u (1 - e(u, v) r(u))        x(v) = op(sum_u e(u, v) r(u) x(u))

and the result joins e(u, out) r(u) x(u) for all u by a 1x1 convolution over all their channels. With one-hot weights all of it is the decided
network, whose joins have the columns of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, Params, freeze
from graphnas.oneshot.opened import OPEN
from graphnas.space import Space
from graphnas.tasks.base import Signature
from spaces.nasbench101 import prune
from spaces.routability_network import CONVOLUTIONS, NET_MESSAGE, arguments, fit, head, kernel_of, nets_of
from spaces.skeletons import Builder

if TYPE_CHECKING:
    from torch import Tensor


class OpenNetwork:
    """Builds the network of the open template.

    Args:
        channels: as in ``spaces.routability_network.build``.
    """

    def __init__(self, b: Builder, architecture: Architecture, channels: int) -> None:
        self.b, self.channels = b, channels
        self.nodes = architecture.nodes
        self.value: dict[int, int] = {}
        self.reached: dict[int, int | None] = {}  # the weight with which a node is reached; None: 1
        self._shares: dict[object, int] = {}

    def width(self, n: Node) -> int:
        """Channels of the stage of a node."""
        return int(self.channels * 2 ** (n.get("stage") - 1))

    def terms(self, n: Node) -> list[tuple[int, int | None]]:
        """What an open merge reads: each value with its weight (None: 1)."""
        found = []
        for slot in n.get("slots"):
            if isinstance(slot, int):
                source, weight = n.inputs[slot], None
            else:
                row, (_, place) = slot
                source = n.inputs[place]
                if row not in self._shares:
                    name = f"{row[0]}{row[1]}.weight"
                    self._shares[row] = self.b.add("share", options=(1,), rows=(row,), name=name)
                weight = self._shares[row]
            found.append((self.value[source], self._times(weight, self.reached[source])))
        return found

    def _times(self, weight: int | None, other: int | None) -> int | None:
        if weight is None or other is None:
            return other if weight is None else weight
        return self.b.add("scale", [weight, other])

    def scaled(self, term: tuple[int, int | None]) -> int:
        """A value times its weight."""
        value, weight = term
        return value if weight is None else self.b.add("scale", [value, weight])

    def reach(self, terms: Sequence[tuple[int, int | None]]) -> int | None:
        """The weight with which at least one of some terms is there."""
        left: int | None = None
        for _, weight in terms:
            if weight is None:
                return None
            left = self._times(left, self.b.add("complement", [weight]))
        assert left is not None
        return self.b.add("complement", [left])


def open_network(architecture: Architecture, signature: Signature, *, channels: int, inside: int = 0) -> Architecture:
    """The supernet's network; arguments as those of ``spaces.routability_network.build``."""
    b = Builder()
    given = arguments(b, signature)
    nets: list[int] = []
    made = OpenNetwork(b, architecture, channels)
    for i, n in enumerate(architecture.nodes):
        template = _template(n)
        name = f"place{i}"
        reached: int | None = None
        if n.op == INPUT:
            value = b.add("map_conv", [given["x"]], kernel=5, channels=channels, name="stem")
        elif n.op == OUTPUT:
            return b.finish(made.value[n.inputs[0]])
        elif template == "sum":
            terms = made.terms(n)
            reached = made.reach(terms)
            parts = [made.scaled(term) for term in terms]
            value = parts[0] if len(parts) == 1 else b.add("sum", parts)
        elif template == "concat":
            value = b.add("concat", [made.scaled(term) for term in made.terms(n)])
        elif template in ("join", "reduce"):
            source = made.value[n.inputs[0]]
            if template == "reduce":
                source = b.add("max_pool_2x2", [source], name=f"{name}.pool")
            value = b.add("map_conv", [source], kernel=kernel_of(n), channels=made.width(n), name=f"{name}.{template}")
        elif template == "lift":
            value = b.add("map_upsample", [made.value[n.inputs[0]]], factor=2, name=f"{name}.lift")
        elif template == "fit":
            value = fit(b, made.value[n.inputs[0]], n.get("source"), n.get("stage"), f"{name}.fit")
        elif template == "score":
            value = head(b, made.value[n.inputs[0]], signature, bool(inside))
        else:
            with_nets = any(op == NET_MESSAGE for op, _ in n.get("options"))
            options = [_option(op, dict(params), with_nets) for op, params in n.get("options")]
            if with_nets and not nets:
                nets = nets_of(b, given)
            value = b.add(
                "mixed",
                [made.value[n.inputs[0]], *(nets if with_nets else ())],
                options=options,
                rows=n.get("rows"),
                name=name,
            )
            reached = made.reached[n.inputs[0]]
        made.value[i], made.reached[i] = value, reached
    raise AssertionError("a template has an output")


def _template(n: Node) -> str:
    """The operation of a template's node; of an open merge, that of its one option."""
    if n.op != OPEN:
        return str(n.op)
    return str(n.get("options")[0][0]) if not n.get("rows") else OPEN


def _option(op: str, params: Mapping[str, Any], with_nets: bool) -> tuple[str, Params]:
    """The operation of a network for one of the space; beside messages of nets, others say that they read the map alone."""
    if op == NET_MESSAGE:
        return op, freeze({"factor": 2 ** (params["stage"] - 1)})
    alone = {"reads": 1} if with_nets else {}
    if op in CONVOLUTIONS:
        return "map_conv", freeze({**CONVOLUTIONS[op], **alone})
    return {"mixed": "mixed_depthwise", "max_pool": "maxpool3x3"}.get(op, op), freeze(alone)


def inherited(
    find: Callable[[], Space], ops: Sequence[str], state: Mapping[str, Tensor], architecture: Architecture
) -> dict[str, Tensor]:
    """The supernet's weights that a decided network has, by their names there.

    Args:
        find: gives the space.
        ops: of the space.
        state: of the supernet's network.
        architecture: as the space decodes it.
    """
    joins = _joins(find().template)
    placed = Architecture(Node(n.op, n.inputs, (*n.params, ("place", i))) for i, n in enumerate(architecture.nodes))
    nodes = prune(placed).nodes
    made = {name: value for name, value in state.items() if name.partition(".")[0] in ("stem", "head")}
    for i, n in enumerate(nodes):
        if n.op not in ops and n.op not in ("join", "reduce"):
            continue
        inside = f"options.{ops.index(n.op)}" if n.op in ops else n.op
        start = f"place{n.get('place')}.{inside}."
        for name, value in state.items():
            if name.startswith(start):
                made[f"node{i}.{n.op}.{name[len(start) :]}"] = value
        if n.op == "join":
            name, joined = f"node{i}.join.0.weight", nodes[n.inputs[0]]
            made[name] = made[name][:, _columns(joins[joined.get("place")], joined, nodes, made[name].shape[1])]
    return made


def _joins(template: Sequence[Node]) -> dict[int, list[tuple[int, int]]]:
    """For each join of the template its sources, with their channels in units of those of the first stage."""
    width: list[int] = []
    found: dict[int, list[tuple[int, int]]] = {}
    for i, n in enumerate(template):
        sources = [slot if isinstance(slot, int) else slot.values[-1] for slot in n.inputs]
        if n.op == "concat":
            found[i] = [(j, width[j]) for j in sources]
        stage = n.get("stage")
        own = stage and n.op not in ("lift", "fit")
        width.append(2 ** (stage - 1) if own else width[sources[0]] if sources else 1)
    return found


def _columns(sources: Sequence[tuple[int, int]], joined: Node, nodes: Sequence[Node], columns: int) -> list[int]:
    """Which columns of a join a decided network has."""
    there = {nodes[j].get("place") for j in joined.inputs}
    unit = columns // sum(width for _, width in sources)
    kept: list[int] = []
    end = 0
    for place, width in sources:
        start, end = end, end + width * unit
        kept += range(start, end) if place in there else ()
    return kept
