"""Transformers whose hidden state is in splits: DARTSformer's spaces of encoders and decoders.

Source: Zhao, Dong, Shen, Zhang, Wei & Chen, *Memory-Efficient Differentiable Transformer Architecture Search*, Findings of ACL
2021. In every layer, an operation reads the others of n parts of the hidden state, joined by their maximum or mean, and its
result is added to the one part that it did not read. The decoder has a part more, whose operation is always attention to the encoder. A cell of ``layers``
layers is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Relaxed, Space
from spaces.transformer_network import transformer_network

ENCODER = (
    "conv_3",
    "conv_5",
    "conv_7",
    "conv_11",
    "dynamic_3",
    "dynamic_7",
    "dynamic_11",
    "dynamic_15",
    "self_attention",
    "glu",
    "ffn",
    "zero",
    "identity",
)
CROSS = "cross_attention"
DECODER = (*ENCODER, CROSS)
POOLS = ("max", "mean")

SEMANTICS = Semantics(
    zero_ops=frozenset({"zero"}),
    identity_ops=frozenset({"identity"}),
    merge_ops=frozenset({"sum", *POOLS}),
    ordered_ops=frozenset({"concat", CROSS}),
)
SIZE = {"width": 960, "embedding": 256, "blocks": 3, "heads": 8, "dropout": 0.1, "affine": True}
"""Six layers each, in three repetitions; width and embedding are those with which the paper searches and trains."""


@lru_cache(maxsize=16)
def space(splits: int = 2, layers: int = 2, pool: str = "max") -> Space:
    """One of 13 operations for every part of ``layers`` encoder layers, one of 14 in the decoder's: 13^4 14^4 by default.

    Args:
        splits: parts of the encoder's hidden state, at least 2; the decoder has one more.
        layers: of the repeated cell.
        pool: how the parts that an operation reads are joined, "max" or "mean".

    Raises:
        GraphnasError: fewer than two parts, no layer, or an unknown way to join.
    """
    if splits < 2 or layers < 1 or pool not in POOLS:
        raise GraphnasError(
            f"a Transformer in splits has at least 2 of them, 1 layer, and joins by {' or '.join(POOLS)}; "
            f"not {splits}, {layers} and {pool!r}"
        )
    nodes: list[Node] = []
    memory = _cell(nodes, "encoder", _inputs(nodes, "source", splits), layers, pool, None)
    _cell(nodes, "decoder", _inputs(nodes, "target", splits + 1), layers, pool, memory)
    nodes.append(node("output", (len(nodes) - 1,)))
    usual = (splits, layers, pool) == (2, 2, "max")
    return Space(
        "transformer" if usual else f"transformer_{splits}_{layers}_{pool}",
        nodes,
        semantics=SEMANTICS,
        network=transformer_network,
        size=SIZE,
        accepts=("translation",),
        relaxed=partial(_relaxed, splits, layers, pool),
        description=f"translation, 13 operations on {splits} splits of {layers} encoder layers, 14 in the decoder (DARTSformer)",
    )


def _relaxed(splits: int, layers: int, pool: str) -> Relaxed:
    """The space itself; as in DARTS, ``zero`` competes in the search and is not chosen, as every part keeps one operation."""
    return Relaxed(space(splits, layers, pool), _same, _same, keep=1)


def _same(architecture: Architecture) -> Architecture:
    return architecture


def _inputs(nodes: list[Node], name: str, splits: int) -> list[int]:
    nodes += [node("input", name=f"{name}.{k}") for k in range(splits)]
    return list(range(len(nodes) - splits, len(nodes)))


def _cell(nodes: list[Node], name: str, parts: Sequence[int], layers: int, pool: str, memory: int | None) -> int:
    """Append the layers and the joined parts; returns the place of the latter."""
    state = list(parts)
    for layer in range(layers):
        for k in range(len(state)):
            others = [x for i, x in enumerate(state) if i != k]
            nodes.append(node(pool, others))
            nodes.append(_operation(f"{name}.{layer}.{k}", len(nodes) - 1, memory, fixed=k == len(state) - 1))
            nodes.append(node("sum", (state[k], len(nodes) - 1)))
            state[k] = len(nodes) - 1
    nodes.append(node("concat", state))
    return len(nodes) - 1


def _operation(name: str, pooled: int, memory: int | None, fixed: bool) -> Node:
    """An open operation, or the decoder's attention to the encoder, which its last part always has."""
    if memory is None:
        return Node(Choice(name, ENCODER, "encoder"), (pooled,))
    if fixed:
        return node(CROSS, (pooled, memory))
    choice = Choice(name, DECODER, "decoder")
    reads: Any = choice.at(*(memory if op == CROSS else None for op in DECODER))
    return Node(choice, (pooled, reads))
