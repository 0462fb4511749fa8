"""The supernet of NAS-Bench-Graph: all operations and all links at once.

A decided network treats the raw features differently from hidden ones: an operation on them has another width and no
normalisation in front, a skip passes them on as they are, and they do not reach the output. While links and operations are open,
every node is therefore described by the weight with which it is raw features, and by its hidden features. With
L(i, j) the weight of node j as input of node i, w the weights of operations, and node 0 the raw features (raw(0) = 1, h(0) = 0)::

    rawness(i) = sum_j L(i, j) raw(j)          of what node i reads
    raw(i)     = rawness(i) w(i, skip)         of node i itself
    read(i)    = sum_j L(i, j) h(j)
    h(i)       = rawness(i) sum_k w(i, k) op_k(raw features)
                 + (1 - rawness(i)) sum_k w(i, k) op_k(prepared read(i)) + w(i, skip) read(i)

The first sum's operations have weights of their own. With one-hot weights all of it is the decided network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphnas.architecture import INPUT, Architecture, Node, freeze
from graphnas.tasks.base import Signature
from spaces.skeletons import Builder

if TYPE_CHECKING:
    from torch import Tensor

SKIP = "skip"


def open_graph_cell(architecture: Architecture, signature: Signature, *, channels: int, dropout: float) -> Architecture:
    """The supernet's network; arguments as those of ``spaces.skeletons.graph_cell``."""
    b = Builder()
    x = b.add(INPUT, name="x", shape=(signature.nodes, *signature.input))
    edges = b.add(INPUT, name="edge_index", shape=(2, signature.edges))
    features = b.add("feature_dropout", [x], p=dropout, name="input.dropout")
    nodes = [n for n in architecture.nodes if n.get("rows")]
    raw: dict[int, int | None] = {0: None}  # None: always
    hidden: dict[int, int] = {}
    for i, n in enumerate(nodes, 1):
        name = f"node{i}"
        (slot,) = n.get("slots")
        read = _Read(b, n, slot, name)
        rawness = read.total([j for j in raw if read.has(j)], raw)
        options, skip = _options(n, channels)
        made = [_mixed(b, [features, edges], options, n, f"{name}.raw")]
        made = [b.add("scale", [made[0], rawness])]
        passed = b.add("share", options=(skip,), rows=n.get("rows"), name=f"{name}.skip")
        raw[i] = b.add("scale", [rawness, passed])
        if hidden:
            h = read.hidden(hidden)
            prepared = b.add("feature_norm", [h], name=f"{name}.norm")
            prepared = b.add("relu", [prepared], name=f"{name}.relu")
            prepared = b.add("dropout", [prepared], p=dropout, name=f"{name}.dropout")
            through = _mixed(b, [prepared, edges], options, n, f"{name}.hidden")
            made.append(b.add("scale", [through, b.add("complement", [rawness])]))
            made.append(b.add("scale", [h, passed]))
        hidden[i] = b.add("sum", made)
    joined = architecture.nodes[-2]
    leaves = []
    for number, (row, place) in enumerate(joined.get("slots")):
        source = hidden[joined.inputs[max(place)]]
        gate = tuple(0 if p >= 0 else -1 for p in place)
        leaves.append(b.add("select", [source], place=gate, rows=(row,), name=f"leaf{number + 1}"))
    h = b.add("relu", [b.add("concat", leaves)], name="head.relu")
    h = b.add("linear", [h], features=channels, name="head.hidden")
    return b.finish(b.add("linear", [h], features=signature.outputs, name="head.classifier"))


class _Read:
    """The link of a node: with which weight it reads which node."""

    def __init__(self, b: Builder, n: Node, slot: tuple[Any, Sequence[int]], name: str) -> None:
        self.b, self.name = b, name
        self.row, place = slot
        self.source = [n.inputs[p] for p in place]

    def has(self, j: int) -> bool:
        return j in self.source

    def total(self, sources: Sequence[int], values: Mapping[int, int | None]) -> int:
        """``sum_j L(i, j) values[j]``."""
        terms = []
        for j in sources:
            options = tuple(option for option, source in enumerate(self.source) if source == j)
            share = self.b.add("share", options=options, rows=(self.row,), name=f"{self.name}.reads{j}")
            value = values[j]
            terms.append(share if value is None else self.b.add("scale", [share, value]))
        return terms[0] if len(terms) == 1 else self.b.add("sum", terms)

    def hidden(self, values: Mapping[int, int]) -> int:
        """``sum_j L(i, j) h(j)``."""
        known = [j for j in values if self.has(j)]
        place = tuple(known.index(j) if j in known else -1 for j in self.source)
        return self.b.add("select", [values[j] for j in known], place=place, rows=(self.row,), name=f"{self.name}.read")


def _options(n: Node, channels: int) -> tuple[list[Any], int]:
    """The layers between which a node decides, and the place of the skip, which is none here."""
    made: list[Any] = []
    skip = -1
    for k, (op, _) in enumerate(n.get("options")):
        if op == SKIP:
            skip = k
            made.append(("zero", freeze({"features": channels})))
        elif op == "fc":
            made.append(("feature_linear", freeze({"features": channels, "reads": 1})))
        else:
            made.append((op, freeze({"features": channels})))
    return made, skip


def _mixed(b: Builder, inputs: Sequence[int], options: Sequence[Any], n: Node, name: str) -> int:
    return b.add("mixed", inputs, options=options, rows=n.get("rows"), name=name)


def inherited(
    state: Mapping[str, Tensor], decided: Mapping[str, Any], ops: Sequence[str], links: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """The supernet's weights that a decided network has, by their names there.

    Args:
        state: of the supernet's network.
        decided: the decisions by name.
        ops: of the space.
        links: of the space; for each the input of every node.
    """
    link = links[decided["link"]]
    raw, made = {0}, {name: value for name, value in state.items() if name.startswith("head.")}
    for i, source in enumerate(link, 1):
        op = decided[f"op{i}"]
        if op == SKIP:
            raw |= {i} if source in raw else set()
            continue
        kind = "raw" if source in raw else "hidden"
        prefix = f"node{i}.{kind}.options.{ops.index(op)}."
        made.update(_moved(state, prefix, f"node{i}.{op}."))
        if kind == "hidden":
            made.update(_moved(state, f"node{i}.norm.", f"node{i}.norm."))
    leaves = [i for i in range(1, len(link) + 1) if i not in link and i not in raw]
    weight = state["head.hidden.weight"]
    made["head.hidden.weight"] = weight.view(len(weight), len(link), -1)[:, [i - 1 for i in leaves]].flatten(1)
    return made


def _moved(state: Mapping[str, Tensor], prefix: str, to: str) -> dict[str, Tensor]:
    return {to + name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
