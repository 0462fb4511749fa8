"""Mobile networks: MnasNet's factorised hierarchical space, and the layer-wise space of ProxylessNAS.

Sources: Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019, section 4.1 and figure 4; Cai, Zhu & Han,
"ProxylessNAS", ICLR 2019, section 4.2 (the MobileNetV2-like space, which RLNAS and others search too).
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.ops.mobile import SKIPS
from graphnas.space import Choice, Space
from graphnas.tasks.base import Signature
from spaces.mobile_network import SIZE, Block, Frame, MobileBuilder, layer_params, network_of

FILTERS = (16, 24, 32, 64, 96, 160, 320)
LAYERS = (1, 2, 3, 4, 3, 3, 1)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""MobileNetV2's seven blocks, which MnasNet's choices are relative to."""

OPS = ("mobile_conv", "separable", "mb3", "mb6")
KERNELS = (3, 5)
SQUEEZE = (0.0, 0.25)
FILTER_SHARES = (0.75, 1.0, 1.25)

STAGES = ((32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""Channels, layers and stride of the stages of the released networks; a layer of 16 channels without expansion comes before them."""
LAYER_OPS = ("mb3_k3", "mb3_k5", "mb3_k7", "mb6_k3", "mb6_k5", "mb6_k7")
SKIP = "skip"


@lru_cache(maxsize=1)
def mnasnet() -> Space:
    """Seven blocks; each chooses operation, kernel, squeeze-and-excitation, skip, filters and number of layers.

    All layers of a block are alike. Filters are 0.75, 1 or 1.25 times MobileNetV2's; layers one fewer, as many, or one more, but at
    least one, so blocks of one layer have two options: 432^5 * 288^2 architectures.
    """
    choices: list[Choice] = []
    nodes: list[Node] = [node(INPUT)]
    for i, (filters, layers) in enumerate(zip(FILTERS, LAYERS, strict=True)):
        b = f"block{i + 1}"
        made = {
            "layer": Choice(f"{b}.layer", OPS, "layer"),
            "kernel": Choice(f"{b}.kernel", KERNELS, "kernel"),
            "squeeze": Choice(f"{b}.squeeze", SQUEEZE, "squeeze"),
            "skip": Choice(f"{b}.skip", SKIPS, "skip"),
            "channels": Choice(
                f"{b}.channels", tuple(int(share * filters) for share in FILTER_SHARES), f"{b}.channels"
            ),
            "layers": Choice(f"{b}.layers", tuple(range(max(1, layers - 1), layers + 2)), f"{b}.layers"),
        }
        choices += made.values()
        nodes.append(node("mobile_block", (i,), **made, stride=STRIDES[i]))
    nodes.append(node(OUTPUT, (len(FILTERS),)))
    return Space(
        "mnasnet",
        nodes,
        order=choices,
        network=block_network,
        size=SIZE,
        accepts=("image",),
        description="mobile image network of 7 blocks with 6 choices each (MnasNet)",
    )


def blocks_of(architecture: Architecture) -> list[Block]:
    """The blocks of an architecture of a space of blocks (``mnasnet``, ``accel_nasbench``)."""
    found = []
    for n in architecture.nodes:
        if n.op != "mobile_block":
            if n.op not in (INPUT, OUTPUT):
                raise GraphnasError(
                    "the layers of a block have widths and numbers of their own, which one supernet cannot hold; "
                    "search it by trials, or take the space 'proxylessnas'"
                )
            continue
        params: dict[str, Any] = dict(n.params)
        op = params.pop("layer", "inverted_residual")
        if op in ("mb3", "mb6"):
            params["expansion"], op = int(op[2:]), "inverted_residual"
        found.append(Block(op, **params))
    return found


def block_network(
    architecture: Architecture, signature: Signature, *, activation: str = "relu", **size: Any
) -> Architecture:
    """The network of an architecture that is written as blocks."""
    return network_of(blocks_of(architecture), signature, Frame(activation), **size)


@lru_cache(maxsize=1)
def proxylessnas() -> Space:
    """21 layers, each an inverted residual of expansion 3 or 6 and kernel 3, 5 or 7, or, but for the first of a stage, nothing.

    6^6 * 7^15 writings. Layers that are skipped leave the network as it is wherever they stand in their stage, which the key knows.
    """
    nodes: list[Node] = [node(INPUT)]
    for stage, (_, layers, _) in enumerate(STAGES):
        for i in range(layers):
            ops = (*LAYER_OPS, SKIP) if i else LAYER_OPS
            choice = Choice(f"stage{stage + 1}.layer{i + 1}", ops, "op" if i else "first")
            # An operation knows its stage; a skip without parameters is the identity, and vanishes from the canonical form.
            params = {"stage": choice.at(*(None if op == SKIP else stage for op in ops))}
            if not i:
                params["first"] = choice.at(*(1 for _ in ops))
            nodes.append(node(choice, (len(nodes) - 1,), **params))
    nodes.append(node(OUTPUT, (len(nodes) - 1,)))
    return Space(
        "proxylessnas",
        nodes,
        semantics=Semantics(identity_ops=frozenset({SKIP})),
        network=layer_network,
        size=SIZE,
        accepts=("image",),
        recover=_recover,
        description="mobile image network of 21 layers with 6 operations or none (ProxylessNAS)",
    )


def layer_network(
    architecture: Architecture,
    signature: Signature,
    *,
    channels: int,
    head: int,
    reductions: int,
    dropout: float,
    activation: str = "relu6",
) -> Architecture:
    """The network of a member of ``proxylessnas``, or its supernet."""
    b = MobileBuilder(signature, Frame(activation), channels, reductions)
    first = Block("separable", 16, 3, 1, 1, skip="none")
    b.x = b.add("separable", [b.x], **layer_params(first, 1, activation, b.width(16)), name="first")
    strides = [b.stride(stride) for _, _, stride in STAGES]
    place = dict.fromkeys(range(len(STAGES)), 0)
    stage = 0
    for n in architecture.nodes:
        if n.op in (INPUT, OUTPUT):
            continue
        # A skipped layer, which belongs to the stage before it, keeps its number: so a child has the supernet's names.
        stage = stage if n.op == SKIP else _stage(n)
        place[stage] += 1
        if n.op == SKIP:
            continue
        translate = partial(
            _translate, channels=b.width(STAGES[stage][0]), stride=strides[stage], activation=activation
        )
        b.x = b.place(n, [b.x], f"stage{stage + 1}.layer{place[stage]}", translate)
    return b.head(head, dropout)


def _stage(n: Node) -> int:
    if n.op != "open":
        return int(n.get("stage"))
    return next(int(dict(given)["stage"]) for _, given in n.get("options") if "stage" in dict(given))


def _translate(
    op: str, params: dict[str, Any], channels: int, stride: int, activation: str
) -> tuple[str, dict[str, Any]]:
    if op == SKIP:
        return "identity", {}
    expansion, kernel = (int(part.lstrip("mbk")) for part in op.split("_"))
    block = Block("inverted_residual", channels, kernel, stride, 1, expansion)
    return block.op, layer_params(block, stride if params.get("first") else 1, activation, channels)


def _recover(architecture: Architecture) -> Architecture:
    """The member with the skips at the end of every stage, from the canonical form or any other order of the nodes."""
    layers: list[list[str]] = [[] for _ in STAGES]
    for n in architecture.nodes:
        if n.op in LAYER_OPS and isinstance(n.get("stage"), int) and n.get("stage") < len(STAGES):
            layers[n.get("stage")].append(n.op)
    space = proxylessnas()
    decisions = []
    for choice in space.choices:
        stage = layers[int(choice.name[5]) - 1]
        if not stage and choice.group == "first":
            raise GraphnasError(f"the architecture is not a member of space 'proxylessnas': {architecture!r:.120}")
        decisions.append(choice.options.index(stage.pop(0) if stage else SKIP))
    found = space.decode(decisions)
    if any(layers) or space.key(found) != space.key(architecture):
        raise GraphnasError(f"the architecture is not a member of space 'proxylessnas': {architecture!r:.120}")
    return found
