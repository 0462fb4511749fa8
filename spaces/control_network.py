"""The networks around cells for control: RL-DARTS's two macros, and the IMPALA encoder that they are compared with."""

from __future__ import annotations

from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node
from graphnas.errors import GraphnasError
from graphnas.tasks.base import Signature
from spaces.skeletons import Builder

SIZE = {"channels": 16, "cells": 2, "stages": 3, "dense": 256}
_OPS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv_3x3": ("control_conv", {"kernel": 3}),
    "relu": ("control_activation", {"function": "relu"}),
    "tanh": ("control_activation", {"function": "tanh"}),
    "conv_3x3_relu": ("control_conv", {"kernel": 3, "relu": True}),
    "dil_conv_3x3_relu": ("control_conv", {"kernel": 3, "dilation": 2, "relu": True}),
    "conv_5x5_relu": ("control_conv", {"kernel": 5, "relu": True}),
    "dil_conv_5x5_relu": ("control_conv", {"kernel": 5, "dilation": 2, "relu": True}),
}


def control_network(
    architecture: Architecture, signature: Signature, *, channels: int, cells: int, stages: int, dense: int
) -> Architecture:
    """Stages of cells, then flatten, ReLU, a dense layer, ReLU, and the outputs.

    Source: Miao et al., arXiv 2106.02229. The first stage has ``channels``, the others twice as many ([16, 32, 32] by default).
    With a normal cell alone, a stage is a 3x3 convolution, 3x3 max pooling at stride 2 and ``cells`` normal cells, as in the
    IMPALA encoder; with a reduction cell, it is that cell and ``cells`` normal ones, behind an initial convolution.

    Args:
        architecture: one or two cells, decided or open.
        signature: of a task with images.
        channels: of the first stage.
        cells: normal cells a stage.
        stages: how many times the resolution is halved.
        dense: features of the layer in front of the outputs.
    """
    members = _members(architecture)
    reduces = "reduce" in members
    b = Builder()
    x = b.add(INPUT, name="x", shape=signature.input)
    if reduces:
        x = b.add("control_conv", [x], channels=channels, kernel=3, name="stem")
    for stage in range(stages):
        width, name = channels * (1 if stage == 0 else 2), f"stage{stage + 1}"
        x = _cell(b, members["reduce"], x, width, f"{name}.reduce") if reduces else _halved(b, x, width, name)
        for number in range(cells):
            x = _cell(b, members["normal"], x, width, f"{name}.cell{number + 1}")
    return _head(b, x, signature, dense)


def impala(
    signature: Signature, *, channels: int = 16, cells: int = 2, stages: int = 3, dense: int = 256
) -> Architecture:
    """The large encoder of IMPALA (Espeholt et al., ICML 2018, figure 3) without its recurrent layer.

    A stage is a 3x3 convolution, 3x3 max pooling at stride 2, and ``cells`` residual blocks of ReLU, convolution, ReLU, convolution.
    Arguments as in ``control_network``.
    """
    b = Builder()
    x = b.add(INPUT, name="x", shape=signature.input)
    for stage in range(stages):
        width, name = channels * (1 if stage == 0 else 2), f"stage{stage + 1}"
        x = _halved(b, x, width, name)
        for number in range(cells):
            y = x
            for half in ("first", "second"):
                y = b.add("relu", [y], name=f"{name}.block{number + 1}.{half}_relu")
                y = b.add("control_conv", [y], channels=width, kernel=3, name=f"{name}.block{number + 1}.{half}")
            x = b.add("sum", [x, y])
    return _head(b, x, signature, dense)


def _halved(b: Builder, x: int, width: int, name: str) -> int:
    x = b.add("control_conv", [x], channels=width, kernel=3, name=f"{name}.conv")
    return b.add("control_pool", [x], name=f"{name}.pool")


def _head(b: Builder, x: int, signature: Signature, dense: int) -> Architecture:
    x = b.add("flatten", [x], name="head.flatten")
    x = b.add("relu", [x], name="head.relu")
    x = b.add("linear", [x], features=dense, name="head.dense")
    x = b.add("relu", [x], name="head.dense_relu")
    return b.finish(b.add("linear", [x], features=signature.outputs, name="head.outputs"))


def _members(architecture: Architecture) -> dict[str, list[tuple[int, Node]]]:
    """The nodes of each cell with their places, from its input to its output."""
    cell: list[str] = []
    found: dict[str, list[tuple[int, Node]]] = {}
    for i, n in enumerate(architecture.nodes):
        cell.append(str(n.get("name")) if n.op == INPUT else cell[n.inputs[0]])
        found.setdefault(cell[i], []).append((i, n))
    return found


def _cell(b: Builder, members: list[tuple[int, Node]], x: int, width: int, name: str) -> int:
    """One copy of a cell; its input is projected to the width of the cell."""
    first = members[0][0]
    index: dict[int, int] = {}
    for i, n in members:
        inputs = [index[j] for j in n.inputs]
        place = f"{name}.node{i - first}"
        if n.op == INPUT:
            index[i] = b.add("control_conv", [x], channels=width, kernel=1, name=f"{name}.input")
        elif n.op == OUTPUT:
            return inputs[0]
        elif n.op == "norm_sum":
            index[i] = b.add("control_norm", [b.add("sum", inputs)], name=f"{place}_norm")
        elif n.op == "concat":
            index[i] = b.add("control_conv", [b.add("concat", inputs)], channels=width, kernel=1, name=f"{name}.output")
        else:
            index[i] = b.place(n, inputs, place, _translate)
    raise GraphnasError(f"the architecture has no output for {name}")


def _translate(op: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if op == "skip":
        strided = {"function": "identity", **params}
        return ("control_activation", strided) if params.get("stride", 1) != 1 else ("identity", {})
    if op in _OPS:
        name, fixed = _OPS[op]
        return name, {**fixed, **params}
    return op, params
