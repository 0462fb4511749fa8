"""ENAS's macro space with six layers, as D-VAE uses it (Pham et al., ICML 2018, section 2.3; Zhang et al., NeurIPS 2019)."""

from __future__ import annotations

from functools import lru_cache

from graphnas.architecture import Architecture, Node, node
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Space

OPS = ("conv_3x3", "sep_conv_3x3", "conv_5x5", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
"""In the order of D-VAE's numbers 0 to 5 (its ``util.py`` and ENAS's shared model agree on it)."""
LAYERS = 6


@lru_cache(maxsize=1)
def space() -> Space:
    """The 6^6 * 2^15 six-layer networks, no two of them isomorphic; decisions are the rows of D-VAE's file, flattened.

    Layer i applies one operation to the result of layer i - 1, and adds to it the results of any of the layers before
    that (0 is the input): ENAS's shared model adds what skips bring behind the operation, so that is where the graph
    has its sum. D-VAE draws the same design with all edges into the operation.
    """
    return _space_of(LAYERS, "enas6")


def small_space(layers: int) -> Space:
    """The same with fewer layers; with up to 3 it is small."""
    return _space_of(layers, f"enas{layers}")


def _space_of(layers: int, name: str) -> Space:
    nodes = [node("input")]
    choices: list[Choice] = []
    result = [0]
    for layer in range(1, layers + 1):
        op = Choice(f"op{layer}", OPS, "op")
        skips = [Choice(f"{source}->{layer}", (0, 1), "skip") for source in range(layer - 1)]
        choices += [op, *skips]
        nodes.append(Node(op, (result[-1],)))
        if skips:
            brought = [skip.at(None, result[source]) for source, skip in enumerate(skips)]
            nodes.append(node("sum", (len(nodes) - 1, *brought)))
        result.append(len(nodes) - 1)
    nodes.append(node("output", (result[-1],)))
    return Space(
        name,
        nodes,
        order=choices,
        recover=_recover if layers == LAYERS else None,
        description=f"image network of {layers} layers with 6 operations and skips between all of them (ENAS, macro)",
    )


def _recover(architecture: Architecture) -> Architecture:
    """The member that is written in another order, or without the sums of one term."""
    made = _read(architecture)
    if len(made) == len(space().choices):
        found = space().decode(made)
        if space().key(found) == space().key(architecture):
            return found
    raise GraphnasError(f"the architecture is not a member of space 'enas6': {architecture!r:.120}")


def _read(architecture: Architecture) -> Decisions:
    """What the decisions are if it is a member: in every order of its nodes, layer i stands behind layer i - 1."""
    layer_of: list[int] = []
    layers: list[tuple[int, set[int]]] = []  # operation, and the layers whose results are added
    for op, inputs, _ in architecture.nodes:
        if op in OPS:
            layers.append((OPS.index(op), set()))
        elif op == "sum" and layers:
            layers[-1][1].update(layer_of[j] for j in inputs)
        layer_of.append(len(layers))
    return tuple([d for i, (op, added) in enumerate(layers) for d in (op, *[int(j in added) for j in range(i)])])
