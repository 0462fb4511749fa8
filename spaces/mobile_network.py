"""Mobile networks from their blocks: stem, runs of equal layers, head; and the published networks that are written so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from graphnas.architecture import INPUT, Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.base import Signature
from spaces.skeletons import Builder

STEM = 32
HEAD = 1280
SIZE = {"channels": STEM, "head": HEAD, "reductions": 5, "dropout": 0.2}
"""``channels`` of the stem scale all widths (32: as published); of the five ``reductions`` the first ones go when fewer are left,
which suits small images (32 px: 3)."""

_BLOCK = re.compile(r"r(\d)k(\d)s(\d)e(\d+)o(\d+)(se)?(noskip)?")


class Block(NamedTuple):
    """A run of equal layers; the stride is that of its first layer.

    Attributes:
        op: "mobile_conv", "separable" or "inverted_residual".
        channels, kernel, stride, expansion, squeeze, skip: see ``graphnas.ops.mobile``; channels with a stem of 32.
        layers: at least 1.
    """

    op: str
    channels: int
    kernel: int
    stride: int
    layers: int
    expansion: int = 1
    squeeze: float = 0.0
    skip: str = "identity"

    @classmethod
    def parse(cls, text: str) -> Block:
        """``"r3k5s2e3o40se"``: three layers, kernel 5, stride 2, expansion 3, 40 channels, squeeze-and-excitation of 0.25.

        ``noskip`` at the end leaves the short cuts out. This is the writing of MnasNet's released code, without underscores.
        """
        found = _BLOCK.fullmatch(text.replace("_", ""))
        if found is None:
            raise GraphnasError(f"a block is written as in 'r3k5s2e3o40se', not {text!r}")
        layers, kernel, stride, expansion, channels = (int(found[i]) for i in range(1, 6))
        squeeze, skip = (0.25 if found[6] else 0.0), ("none" if found[7] else "identity")
        return cls("inverted_residual", channels, kernel, stride, layers, expansion, squeeze, skip)


class Frame(NamedTuple):
    """What stands around the blocks.

    Attributes:
        activation: of all layers; see ``graphnas.ops.mobile``.
        stem: channels of the first convolution, at stride 2.
    """

    activation: str = "relu"
    stem: int = STEM


PUBLISHED: dict[str, tuple[Frame, tuple[str, ...]]] = {
    "mnasnet_a1": (
        Frame(),
        (
            "r1k3s1e1o16noskip", "r2k3s2e6o24", "r3k5s2e3o40se", "r4k3s2e6o80",
            "r2k3s1e6o112se", "r3k5s2e6o160se", "r1k3s1e6o320",
        ),
    ),
    "mnasnet_b1": (
        Frame(),
        (
            "r1k3s1e1o16noskip", "r3k3s2e3o24", "r3k5s2e3o40", "r3k5s2e6o80",
            "r2k3s1e6o96", "r4k5s2e6o192", "r1k3s1e6o320noskip",
        ),
    ),
    "mobilenet_v2": (
        Frame("relu6"),
        (
            "r1k3s1e1o16", "r2k3s2e6o24", "r3k3s2e6o32", "r4k3s2e6o64",
            "r3k3s1e6o96", "r3k3s2e6o160", "r1k3s1e6o320",
        ),
    ),
}  # fmt: skip
"""Tan et al., CVPR 2019 (figure 7 and the released code); Sandler et al., CVPR 2018 (table 2)."""


def published(name: str, signature: Signature | None = None, **size: Any) -> Architecture:
    """A published network: "mnasnet_a1", "mnasnet_b1" or "mobilenet_v2"; for 224 px ImageNet unless told otherwise.

    Raises:
        GraphnasError: unknown name.
    """
    if name not in PUBLISHED:
        raise unknown("published network", name, PUBLISHED)
    frame, blocks = PUBLISHED[name]
    target = signature or Signature("image", (3, 224, 224), 1000)
    return network_of(map(Block.parse, blocks), target, frame, **{**SIZE, **size})


def network_of(
    blocks: Iterable[Block],
    signature: Signature,
    frame: Frame = Frame(),  # noqa: B008 (immutable)
    *,
    channels: int = STEM,
    head: int = HEAD,
    reductions: int = 5,
    dropout: float = 0.2,
) -> Architecture:
    """Stem, blocks, 1x1 convolution to ``head`` channels, mean over the image, dropout, linear classifier."""
    b = MobileBuilder(signature, frame, channels, reductions)
    for i, block in enumerate(blocks):
        for j in range(block.layers):
            stride = b.stride(block.stride) if j == 0 else 1
            params = layer_params(block, stride, frame.activation, b.width(block.channels))
            b.x = b.add(block.op, [b.x], **params, name=f"block{i + 1}.layer{j + 1}")
    return b.head(head, dropout)


def layer_params(block: Block, stride: int, activation: str, channels: int) -> dict[str, Any]:
    """Parameters of one layer's node; those that change nothing are left out."""
    params: dict[str, Any] = {"channels": channels, "kernel": block.kernel, "activation": activation}
    if stride > 1:
        params["stride"] = stride
    if block.op == "inverted_residual":
        params["expansion"] = block.expansion
    if block.squeeze:
        params["squeeze"] = block.squeeze
    if block.skip != "none":
        params["skip"] = block.skip
    return params


class MobileBuilder(Builder):
    """A network that grows from its stem.

    Attributes:
        x: the last node.
    """

    def __init__(self, signature: Signature, frame: Frame, channels: int, reductions: int) -> None:
        super().__init__()
        self.signature = signature
        self.frame = frame
        self.channels = channels
        self._dropped = max(0, 5 - reductions)  # the stem's is the first to go
        self.x = self.add(INPUT, name="x", shape=signature.input)
        stem = {"channels": self.width(frame.stem), "kernel": 3, "activation": frame.activation}
        stride = self.stride(2)
        self.x = self.add("mobile_conv", [self.x], **stem, **({"stride": 2} if stride == 2 else {}), name="stem")

    def width(self, channels: int) -> int:
        """Channels in this network of what has ``channels`` with a stem of 32."""
        return channels if self.channels == STEM else max(1, round(channels * self.channels / STEM))

    def stride(self, stride: int) -> int:
        """The stride of the next reduction, 1 for those that are left out."""
        if stride > 1 and self._dropped:
            self._dropped -= 1
            return 1
        return stride

    def head(self, width: int, dropout: float) -> Architecture:
        """Close the network."""
        activation = self.frame.activation
        x = self.add(
            "mobile_conv", [self.x], channels=self.width(width), kernel=1, activation=activation, name="head.conv"
        )
        x = self.add("global_average", [x], name="head.pool")
        if dropout:
            x = self.add("dropout", [x], p=dropout, name="head.dropout")
        return self.finish(self.add("linear", [x], features=self.signature.outputs, name="head.classifier"))


def depths(blocks: Sequence[Block]) -> int:
    """The number of layers of all blocks."""
    return sum(block.layers for block in blocks)
