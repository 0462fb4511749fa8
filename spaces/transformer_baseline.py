"""The standard Transformer to compare with: of given cost, and as a Space of one architecture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from graphnas.architecture import Architecture, node
from graphnas.cost import cost
from graphnas.errors import GraphnasError
from graphnas.space import Space
from graphnas.tasks.base import Signature
from spaces.transformer_network import standard_network

SIZE: Mapping[str, float] = {
    "width": 512,
    "hidden": 2048,
    "embedding": 512,
    "layers": 6,
    "heads": 8,
    "dropout": 0.1,
}
"""The base model of Vaswani et al. (NeurIPS 2017, table 3)."""


@lru_cache(maxsize=1)
def standard() -> Space:
    """The one Transformer of Vaswani et al., so that it can be trained and measured as members of a space are."""
    inputs = [node("input", name="source"), node("input", name="target")]
    nodes = [*inputs, node("transformer", (0, 1)), node("output", (2,))]
    return Space(
        "transformer_standard",
        nodes,
        network=_network,
        size=SIZE,
        accepts=("translation",),
        description="the standard Transformer alone (Vaswani et al., 2017)",
    )


def _network(architecture: Architecture, signature: Signature, **size: float) -> Architecture:
    return standard_network(signature, **size)  # type: ignore[arg-type]


def standard_of_cost(
    signature: Signature, params: int, *, embedding: int, layers: int, heads: int, dropout: float
) -> Architecture:
    """A standard Transformer with as many parameters as another network, tables included.

    Of all widths, that for which the number is right with the inner maps of the feed-forward layers closest to four times as
    wide; their width makes the number as equal as can be.

    Args:
        signature: of the task.
        params: wanted.
        embedding, layers, heads, dropout: as in ``standard_network``.

    Raises:
        GraphnasError: fewer parameters than the table has.
    """
    best: tuple[float, Architecture] | None = None
    usual = {"embedding": embedding, "layers": layers, "heads": heads, "dropout": dropout}
    for width in range(heads, 100_000, heads):
        least, one = (
            cost(standard_network(signature, width=width, hidden=h, **usual)).params  # type: ignore[arg-type]
            for h in (1, 2)
        )
        hidden = 1 + round((params - least) / (one - least))
        if hidden < 1:
            break
        away = abs(math.log(hidden / (4 * width)))
        if best is None or away < best[0]:
            network = standard_network(signature, width=width, hidden=hidden, **usual)  # type: ignore[arg-type]
            best = away, network
    if best is None:
        raise GraphnasError(f"no standard Transformer of {layers} layers has {params:,} parameters; choose more")
    return best[1]
