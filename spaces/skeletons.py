"""The networks around a cell: stem, stacked cells, reductions and head, as one Architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, freeze, node
from graphnas.tasks.base import Signature

Translate = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]
_CONVOLUTIONS = frozenset({"nor_conv_1x1", "nor_conv_3x3"})
WITHOUT_LAYER = frozenset({"zero", "identity", "sum", "concat"})


class Builder:
    """A growing list of nodes; ``add`` returns the index of the new one."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, op: str, inputs: Sequence[int] = (), **params: Any) -> int:
        """Append a node."""
        self.nodes.append(node(op, inputs, **params))
        return len(self.nodes) - 1

    def place(self, n: Node, inputs: Sequence[int], name: str, translate: Translate) -> int:
        """Append the network's node for a node of a cell, decided or still open (see ``graphnas.oneshot.opened``).

        Args:
            n: the node of the cell.
            inputs: what stands for its inputs in the network.
            name: of its layer.
            translate: from an op of the cell and its parameters to those of the network.
        """
        if n.op != "open":
            op, params = translate(n.op, dict(n.params))
            return self.add(op, inputs, **params, **({} if op in WITHOUT_LAYER else {"name": name}))
        chosen = []
        for number, slot in enumerate(n.get("slots")):
            if isinstance(slot, int):
                chosen.append(inputs[slot])
            else:
                row, place = slot
                chosen.append(self.add("select", inputs, place=place, rows=(row,), name=f"{name}.select{number}"))
        options = [
            (op, freeze(params)) for op, params in (translate(op, dict(given)) for op, given in n.get("options"))
        ]
        if n.get("rows"):
            return self.add("mixed", chosen, options=options, rows=n.get("rows"), name=name)
        ((op, given),) = options
        return self.add(op, chosen, **dict(given), **({} if op in WITHOUT_LAYER else {"name": name}))

    def finish(self, *results: int) -> Architecture:
        """The architecture with these nodes as its outputs."""
        for result in results:
            self.add(OUTPUT, [result])
        return Architecture(self.nodes)


def stacked_cells(
    architecture: Architecture, signature: Signature, *, channels: int, cells: int, affine: bool = True
) -> Architecture:
    """NAS-Bench-201's network: stem, three stages of ``cells`` cells, a residual reduction before stages 2 and 3, head.

    Source: Dong & Yang, ICLR 2020, section 2.1. Channels double at each reduction. ``affine``: learned scale and shift in
    the normalisations of the cells.
    """
    b = Builder()
    x = b.add(INPUT, name="x", shape=signature.input)
    x = b.add("conv_bn", [x], channels=channels, kernel=3, name="stem")
    width = channels
    for stage in range(3):
        if stage:
            width *= 2
            x = _residual_reduction(b, x, width, f"reduction{stage}")
        for cell in range(cells):
            x = _cell(b, architecture, x, f"stage{stage + 1}.cell{cell + 1}", affine)
    x = b.add("bn_relu", [x], name="head.activation")
    x = b.add("global_average", [x], name="head.pool")
    return b.finish(b.add("linear", [x], features=signature.outputs, name="head.classifier"))


def _residual_reduction(b: Builder, x: int, width: int, name: str) -> int:
    """Two 3x3 convolutions, the first at stride 2, beside pooling and a 1x1 convolution."""
    main = b.add("relu_conv_bn", [x], channels=width, kernel=3, stride=2, name=f"{name}.conv_a")
    main = b.add("relu_conv_bn", [main], channels=width, kernel=3, name=f"{name}.conv_b")
    short = b.add("pool_conv", [x], channels=width, name=f"{name}.short_cut")
    return b.add("sum", [short, main])


def _cell(b: Builder, architecture: Architecture, x: int, name: str, affine: bool) -> int:
    """One copy of a NAS-Bench-201 cell, as it is written (dead operations included)."""

    def translate(op: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        op = {"none": "zero", "skip_connect": "identity"}.get(op, op)
        return op, params if affine or op not in _CONVOLUTIONS else {**params, "affine": False}

    index: list[int] = []
    for i, n in enumerate(architecture.nodes):
        if n.op == INPUT:
            index.append(x)
        elif n.op == OUTPUT:
            return index[n.inputs[0]] if n.inputs else b.add("zero", [x])
        else:
            index.append(b.place(n, [index[j] for j in n.inputs], f"{name}.node{i}", translate))
    raise AssertionError("a valid architecture has an output")


def graph_cell(architecture: Architecture, signature: Signature, *, channels: int, dropout: float) -> Architecture:
    """NAS-Bench-Graph's network: four operations, leaves joined, ReLU, two linear maps.

    The raw features pass dropout once; every other input of an operation passes batch normalisation, ReLU and dropout
    first. A skip is the identity, and a skip of the raw features counts only when nothing else feeds the output. With
    256 channels the parameters equal those that the benchmark records for Cora, but for the 512 of a
    normalisation that it allocates and does not use at each operation on raw features and each skip.
    """
    b = Builder()
    raw = b.add(INPUT, name="x", shape=(signature.nodes, *signature.input))
    edges = b.add(INPUT, name="edge_index", shape=(2, signature.edges))
    features = b.add("feature_dropout", [raw], p=dropout, name="input.dropout")
    index: list[int] = []
    for i, n in enumerate(architecture.nodes):
        if n.op == INPUT:
            index.append(features)
        elif n.op in ("skip", OUTPUT):
            index.append(index[n.inputs[0]])
        elif n.op == "concat":
            leaves = [index[j] for j in n.inputs]
            hidden = [leaf for leaf in leaves if leaf != features] or leaves[:1]
            index.append(hidden[0] if len(hidden) == 1 else b.add("concat", hidden))
        else:
            h = index[n.inputs[0]]
            if h != features:
                h = b.add("feature_norm", [h], name=f"node{i}.norm")
                h = b.add("relu", [h], name=f"node{i}.relu")
                h = b.add("dropout", [h], p=dropout, name=f"node{i}.dropout")
            if n.op == "fc":
                index.append(b.add("feature_linear", [h], features=channels, name=f"node{i}.fc"))
            else:
                index.append(b.add(n.op, [h, edges], features=channels, name=f"node{i}.{n.op}"))
    h = b.add("relu", [index[-1]], name="head.relu")
    h = b.add("linear", [h], features=channels, name="head.hidden")
    return b.finish(b.add("linear", [h], features=signature.outputs, name="head.classifier"))
