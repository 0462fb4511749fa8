"""The spaces of AGNN and GraphNAS: a chain of graph layers, each one node whose parameters are the choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError, unknown
from graphnas.ops.graph_agnn import ACTIVATIONS, ATTENTIONS, COMBINES, HEADS, SELF, WIDTHS
from graphnas.space import Choice, Relaxed, Space
from spaces.gnn_functions import relaxed
from spaces.gnn_network import gnn_network
from spaces.gnn_writing import NONE, Links, Rewrite

AGNN: Mapping[str, Sequence[str | int]] = {
    "width": WIDTHS,
    "attention": ATTENTIONS,
    "heads": HEADS,
    "aggregate": ("sum", "mean", "max"),
    "combine": COMBINES,
    "activation": tuple(ACTIVATIONS),
}
"""Component classes of AGNN and their options: 14,112 layers (Zhou et al., 2019)."""

GRAPHNAS: Mapping[str, Sequence[str | int]] = {
    "attention": ATTENTIONS,
    "aggregate": ("sum", "mean", "max", "mlp"),
    "activation": tuple(ACTIVATIONS),
    "heads": HEADS,
    "width": WIDTHS,
}
"""Those of GraphNAS: 9,408 layers (Gao et al., 2020)."""

STEPS = (0, 2, 5, 10)
"""Steps of propagation; 10 as in its paper."""

MANUAL: Mapping[str, Mapping[str, str | int]] = {
    "gat": {"width": 8, "attention": "gat", "heads": 8, "activation": "elu"},
    "gcn": {"width": 16, "attention": "gcn", "heads": 1, "activation": "relu"},
    "appnp": {"width": 64, "attention": SELF, "heads": 1, "activation": "relu", "propagation": 10},
}

SEMANTICS = Semantics(identity_ops=frozenset({"identity"}), merge_ops=frozenset({"sum", "concat", "max"}))

RECIPE = {"optimiser": "adam", "learning_rate": 0.005, "weight_decay": 5e-4, "schedule": "constant", "clip": None}
"""How GraphNAS trains (its released code)."""


@lru_cache(maxsize=16)
def agnn(
    layers: int = 2,
    residual: bool = False,
    jumping_knowledge: bool = False,
    batch_norm: bool = False,
    propagation: bool = False,
) -> Space:
    """The space of AGNN: 14,112 ** ``layers`` networks, times 2 ** ``layers`` and 3 for the two kinds of links.

    The choices of one component class form a group (width, attention, heads, aggregate, combine, activation), so that
    ``mutate(architecture, rng, group="attention")`` changes one class only; so do the links (residual, jumping_knowledge, propagation).
    The last layer gives the outputs of the task: its width is theirs, whatever is chosen, and its heads are averaged, as in
    AGNN and GraphNAS; its activation counts, as in the released code of GraphNAS. With jumping knowledge it is a layer
    like the others, and a linear map gives the outputs.

    Source: Zhou, Song, Huang & Hu, "Auto-GNN: Neural architecture search of graph neural networks", 2019.

    Args:
        layers: number of layers; AGNN takes 2 for citation graphs and 3 for protein interactions.
        residual: for each layer, whether what it reads is added to what it gives (Kipf & Welling, 2017, appendix B).
        jumping_knowledge: whether the output reads the last layer, or all layers joined or their maximum (Xu et al., 2018).
        batch_norm: normalise the features before every layer but the first; no choice.
        propagation: whether and how often (0, 2, 5 or 10 steps) the outputs are propagated by personalised PageRank with
            teleport 0.1 (Gasteiger, Bojchevski & Günnemann, "Predict then propagate", ICLR 2019); and one more attention, "self",
            which reads no neighbours: two such layers and ten steps are their APPNP.

    Raises:
        GraphnasError: fewer than one layer, or jumping knowledge with one.
    """
    links = Links(residual, jumping_knowledge, propagation)
    options = {"residual": residual, "jumping_knowledge": jumping_knowledge, "batch_norm": batch_norm}
    return _Chain(
        name="agnn" + _suffix(layers, **options, propagation=propagation),
        description=f"GNN of {layers} layers with 6 choices each (AGNN)",
        classes={**AGNN, "attention": (*ATTENTIONS, SELF)} if propagation else AGNN,
        layers=layers,
        links=links,
        batch_norm=batch_norm,
    ).space()


@lru_cache(maxsize=16)
def graphnas_space(layers: int = 2) -> Space:
    """The space of GraphNAS: 9,408 ** ``layers`` networks; see ``agnn`` for the last layer.

    The aggregate "mlp" is the sum through a perceptron (the DGL version of the released code).

    Source: Gao, Yang, Zhang, Zhou & Hu, "Graph neural architecture search", IJCAI 2020.

    Raises:
        GraphnasError: fewer than one layer.
    """
    description = f"GNN of {layers} layers with 5 choices each (GraphNAS)"
    return _Chain("graphnas_gnn" + _suffix(layers), description, GRAPHNAS, layers).space()


def manual_network(space: Space, kind: str = "gat") -> Architecture:
    """The member of an ``agnn`` space that is a network of the literature, as its paper has it for citation graphs.

    Links that a space may have are not taken, but for "appnp".

    Args:
        space: of ``agnn``.
        kind: "gat": layers of eight heads of eight features with ELU, the last one with one head (Veličković et al., ICLR 2018).
            "gcn": layers of 16 features with ReLU (Kipf & Welling, ICLR 2017). "appnp": dense layers of 64 features with
            ReLU, and ten steps of propagation (Gasteiger et al., ICLR 2019).

    Raises:
        GraphnasError: another kind, or "appnp" in a space without propagation.
    """
    if kind not in MANUAL:
        raise unknown("manual network", kind, tuple(MANUAL))
    groups = {c.group: c for c in space.choices}
    if kind == "appnp" and "propagation" not in groups:
        raise GraphnasError(f"space {space.name!r} has no propagation, so APPNP is no member of it")
    inner = {"aggregate": "sum", "combine": "identity", **MANUAL[kind]}
    last = {**inner, "heads": 1, "activation": "linear"}
    number = max(int(c.name.removeprefix("width")) for c in space.choices if c.group == "width")
    decisions = []
    for choice in space.choices:
        chosen = last if choice.name == f"{choice.group}{number}" else inner
        decisions.append(choice.options.index(chosen[choice.group]) if choice.group in chosen else 0)
    return space.decode(decisions)


def _suffix(layers: int, **options: bool) -> str:
    """What tells a space from the registered one of its family."""
    parts = ([str(layers)] if layers != 2 else []) + [name for name, chosen in options.items() if chosen]
    return "".join(f"-{part}" for part in parts)


@dataclass(frozen=True)
class _Chain:
    """What a space of this file is made from; see ``agnn``."""

    name: str
    description: str
    classes: Mapping[str, Sequence[str | int]]
    layers: int
    links: Links = NONE
    batch_norm: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.layers, bool) or not isinstance(self.layers, int) or self.layers < 1:
            raise GraphnasError(f"a GNN needs at least 1 layer, not {self.layers!r}")
        if self.links.jumping_knowledge and self.layers < 2:
            raise GraphnasError("jumping knowledge joins layers; with only 1 there is nothing to join")

    def space(self) -> Space:
        """The space."""
        nodes, order = self._template()
        return Space(
            self.name,
            nodes,
            semantics=SEMANTICS,
            order=order,
            network=partial(gnn_network, batch_norm=self.batch_norm),
            size={"dropout": 0.6, "attention_dropout": 0.6},
            accepts=("node",),
            recipe=RECIPE,
            recover=Rewrite(self.layers, self.links) if self.links != NONE else None,
            relaxed=self._relaxed,
            description=self.description,
        )

    def _relaxed(self) -> Relaxed:
        return relaxed(self.space(), self.batch_norm)

    def _template(self) -> tuple[list[Node], list[Choice]]:
        """Nodes with choices, and the choices in their order."""
        order: list[Choice] = []
        nodes: list[Node] = [node("input")]
        outputs: list[int] = []
        before = 0
        for number in range(1, self.layers + 1):
            choices = {key: Choice(f"{key}{number}", tuple(options), key) for key, options in self.classes.items()}
            order += choices.values()
            nodes.append(node("agnn", (before,), **choices))
            if self.links.residual:
                link = Choice(f"residual{number}", (False, True), "residual")
                order.append(link)
                nodes.append(node("sum", (len(nodes) - 1, link.at(None, before))))
            before = len(nodes) - 1
            outputs.append(before)
        if self.links.jumping_knowledge:
            jump = Choice("jumping_knowledge", ("last", "concat", "max"), "jumping_knowledge")
            order.append(jump)
            earlier = [jump.at(None, layer, layer) for layer in outputs[:-1]]
            nodes.append(node(jump.at("identity", "concat", "max"), (*earlier, outputs[-1])))
        if self.links.propagation:
            walk = Choice("propagation", STEPS, "propagation")
            order.append(walk)
            op = walk.at("identity", *["propagation"] * (len(STEPS) - 1))
            nodes.append(node(op, (len(nodes) - 1,), steps=walk.at(None, *STEPS[1:])))
        nodes.append(node("output", (len(nodes) - 1,)))
        return nodes, order
