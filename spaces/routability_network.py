"""The network of an architecture of the routability spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node
from graphnas.tasks.base import Signature
from spaces.nasbench101 import prune
from spaces.skeletons import Builder

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "conv3": {"kernel": 3},
    "conv5": {"kernel": 5},
    "atrous2": {"kernel": 3, "dilation": 2},
    "atrous4": {"kernel": 3, "dilation": 4},
}
NET_MESSAGE = "net_message"
NETS_INPUTS = ("nets", "covers", "pins", "places")
"""What it needs beside the map."""


def build(architecture: Architecture, signature: Signature, *, channels: int, inside: int = 0) -> Architecture:
    """Stem (5x5), stages of ``channels``, twice and four times as many channels, head.

    The head is global average pooling and a linear map for images, and a 1x1 convolution for maps. With ``inside`` 1, the
    average is over the pixels that the last channel of the input marks with 1 (dies of different sizes in a batch). What
    cannot affect the result is left out, but for inputs: all that the signature names are arguments, so that one batch fits every network.
    """
    b = Builder()
    given = arguments(b, signature)
    nets: list[int] = []  # made when they are first read
    index: list[int] = []
    for i, n in enumerate(prune(architecture).nodes):
        inputs = [index[j] for j in n.inputs]
        stage = n.get("stage")
        width = channels * 2 ** (stage - 1) if stage else channels
        if n.op == INPUT:
            index.append(b.add("map_conv", [given["x"]], kernel=5, channels=channels, name="stem"))
        elif n.op == OUTPUT:
            return b.finish(inputs[0])
        elif n.op in ("sum", "concat"):
            index.append(inputs[0] if len(inputs) == 1 else b.add(n.op, inputs))
        elif n.op == "identity":
            index.append(inputs[0])
        elif n.op in ("join", "reduce"):
            source = b.add("max_pool_2x2", inputs, name=f"node{i}.pool") if n.op == "reduce" else inputs[0]
            index.append(b.add("map_conv", [source], kernel=kernel_of(n), channels=width, name=f"node{i}.{n.op}"))
        elif n.op == "lift":
            index.append(b.add("map_upsample", inputs, factor=2, name=f"node{i}.lift"))
        elif n.op == "fit":
            index.append(fit(b, inputs[0], n.get("source"), stage, f"node{i}.fit"))
        elif n.op == "score":
            index.append(head(b, inputs[0], signature, bool(inside)))
        elif n.op == NET_MESSAGE:
            nets = nets or nets_of(b, given)
            index.append(b.add(n.op, [*inputs, *nets], factor=2 ** (stage - 1), name=f"node{i}.{n.op}"))
        elif n.op in CONVOLUTIONS:
            index.append(b.add("map_conv", inputs, **CONVOLUTIONS[n.op], name=f"node{i}.{n.op}"))
        else:
            op = {"mixed": "mixed_depthwise", "max_pool": "maxpool3x3"}.get(n.op, n.op)
            index.append(b.add(op, inputs, name=f"node{i}.{n.op}"))
    raise AssertionError("a valid architecture has an output")


def arguments(b: Builder, signature: Signature) -> dict[str, int]:
    """The arguments of the network by name: the map ``x`` first, then what else the signature names."""
    made = {"x": b.add(INPUT, name="x", shape=signature.input)}
    for name, shape, points_to in signature.extra:
        made[name] = b.add(INPUT, name=name, shape=shape, points_to=points_to)
    return made


def nets_of(b: Builder, given: Mapping[str, int]) -> list[int]:
    """What messages through nets read after a map: nets, what they cover, and where their pins are."""
    return [given["nets"], given["covers"], b.add("pin_tiles", [given["pins"], given["places"]])]


def kernel_of(n: Node) -> int:
    """The kernel of the convolution of a join or reduction."""
    return 3 if n.get("decoder") else 1  # neighbours correct what up-sampling repeats


def fit(b: Builder, x: int, source: int, target: int, name: str) -> int:
    """The result of a stage at the resolution of another."""
    if source == target:
        return x
    op = "map_upsample" if source > target else "map_pool"
    return b.add(op, [x], factor=2 ** abs(source - target), name=name)


def head(b: Builder, x: int, signature: Signature, inside: bool) -> int:
    """A score for every pixel of a map, or of the whole image."""
    if signature.kind == "map":
        return b.add("map_score", [x], channels=signature.outputs, name="head.score")
    pool, inputs = ("inside_average", [x, 0]) if inside else ("global_average", [x])  # node 0 is the input
    x = b.add(pool, inputs, name="head.pool")
    return b.add("linear", [x], features=signature.outputs, name="head.score")
