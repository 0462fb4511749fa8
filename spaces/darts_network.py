"""The networks around DARTS's image cells: for searching and for the final training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node
from graphnas.errors import GraphnasError
from graphnas.tasks.base import Signature
from spaces.skeletons import Builder, Translate

STEM = 3
CELLS = ("normal", "reduce")
_NAMES = {
    "none": "zero",
    "max_pool_3x3": "darts_max_pool_3x3",
    "avg_pool_3x3": "darts_avg_pool_3x3",
}


def darts_network(
    architecture: Architecture,
    signature: Signature,
    *,
    channels: int,
    cells: int,
    auxiliary: bool,
    drop_path: float,
    affine: bool,
) -> Architecture:
    """DARTS's network for small images: stem, ``cells`` cells of which those at one and two thirds reduce, head.

    Source: Liu, Simonyan & Yang, ICLR 2019, section 3.1 and appendix A. The paper searches with 16 channels, 8 cells and
    normalisation without scale and shift, and trains with 36 channels, 20 cells, affine normalisation, the auxiliary head and
    a drop-path probability that rises to 0.2.

    Args:
        architecture: two cells, decided or open.
        signature: of an image task.
        channels: of the first cells; they double at each reduction. Must be even.
        cells: how many.
        auxiliary: a second result, of a small classifier behind two thirds of the cells.
        drop_path: the probability that an operation other than the identity counts for nothing in a training example; it
            rises from 0 to this over the training.
        affine: learned scale and shift in the normalisations of the cells.
    """
    if channels % 2:
        raise GraphnasError(f"reductions split the channels in two halves, so channels must be even, not {channels}")
    members = {cell: _members(architecture.nodes, cell) for cell in CELLS}
    b = Builder()
    x = b.add(INPUT, name="x", shape=signature.input)
    before = last = b.add("conv_bn", [x], channels=STEM * channels, kernel=3, name="stem")
    width, reduced, side = channels, False, None
    for number in range(cells):
        name = f"cell{number}"
        reduces = number in (cells // 3, 2 * cells // 3)
        width *= 1 + reduces
        # The result of the cell before the last one is twice as large when the last one reduced.
        fit = {"op": "factorized_reduce"} if reduced else {"op": "relu_conv_bn", "kernel": 1}
        first = b.add(inputs=[before], channels=width, affine=affine, name=f"{name}.first", **fit)
        second = b.add("relu_conv_bn", [last], channels=width, kernel=1, affine=affine, name=f"{name}.second")
        cell = _cell(b, members[CELLS[reduces]], [first, second], name, _translation(affine), drop_path)
        before, last, reduced = last, cell, reduces
        if auxiliary and number == 2 * cells // 3:
            side = b.add("auxiliary_head", [cell], features=signature.outputs, name="auxiliary")
    x = b.add("global_average", [last], name="head.pool")
    x = b.add("linear", [x], features=signature.outputs, name="head.classifier")
    return b.finish(x, *([] if side is None else [side]))


def _members(nodes: Sequence[Node], cell: str) -> list[tuple[int, Node]]:
    """The nodes of one cell with their places: its inputs, what reads them, its output."""
    found: dict[int, Node] = {}
    for i, n in enumerate(nodes):
        if any(j in found for j in n.inputs) or (n.op == INPUT and str(n.get("name")).split(".")[0] == cell):
            found[i] = n
    return list(found.items())


def _cell(
    b: Builder,
    members: Sequence[tuple[int, Node]],
    inputs: Sequence[int],
    name: str,
    translate: Translate,
    drop_path: float,
) -> int:
    """One copy of a cell, as it is written."""
    index: dict[int, int] = {}
    for i, n in members:
        if n.op == INPUT:
            index[i] = inputs[int(str(n.get("name")).split(".")[1])]
        elif n.op == OUTPUT:
            return index[n.inputs[0]]
        else:
            place = f"{name}.node{i}"
            index[i] = b.place(n, [index[j] for j in n.inputs], place, translate)
            plain = n.op in ("sum", "concat", "none", "open") or (n.op == "skip_connect" and n.get("stride", 1) == 1)
            if drop_path and not plain:
                index[i] = b.add("drop_path", [index[i]], p=drop_path, name=f"{place}_drop")
    raise GraphnasError(f"the architecture has no output for {name}")


def _translation(affine: bool) -> Translate:
    def translate(op: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if op in ("sum", "concat"):
            return op, params
        if op == "skip_connect":
            return ("factorized_reduce", {"affine": affine}) if params.get("stride", 1) == 2 else ("identity", {})
        if op in ("none", "noise"):
            return _NAMES.get(op, op), params
        return _NAMES.get(op, op), {**params, "affine": affine}

    return translate
