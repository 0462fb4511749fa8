"""Which weights of an ancestor a new GNN may start from (Zhou, Song, Huang & Hu, "Auto-GNN", 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown

RULES = ("homogeneous", "free", "none")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class GraphLayer:
    """A layer of a GNN as sharing sees it.

    Attributes:
        name: ``layer<k>.conv``; it means the same layer in every architecture of a space.
        attention: the attention function.
        activation: the activation function.
        outputs: whether it gives the outputs of the task; its width is then that of the task, whatever was chosen.
        shapes: of its tensors, by their name inside the layer.
    """

    name: str
    attention: str
    activation: str
    outputs: bool
    shapes: Shapes


@dataclass(frozen=True)
class Verdict:
    """Whether weights are inherited, and why.

    Attributes:
        tensors: names, inside the layer, of those that are inherited; empty when none are.
        reason: one line.
    """

    tensors: tuple[str, ...]
    reason: str

    @property
    def shared(self) -> bool:
        """Whether anything is inherited."""
        return bool(self.tensors)


@dataclass(frozen=True)
class Sharing:
    """Which layers of a new architecture start from the weights of the same layers of an ancestor.

    - "homogeneous" (AGNN): a layer inherits all its tensors, and only if (i) they are the same ones with the same shapes,
      and (ii) attention function and activation function are the same; what a layer learned to read or to give would
      otherwise have other statistics.
    - "free" (as in ENAS and GraphNAS): every tensor of the same name and shape, whatever the functions are.
    - "none": nothing.

    Only graph layers inherit. Batch normalisation, residual links, the maps before a maximum of layers and the classifier
    never do (iii), under any rule: what they mean depends on the layers around them.

    Args:
        rule: one of these names.
        outputs: whether a layer that gives the outputs of the task may inherit from one that does so too; one that gives
            outputs and one that does not never share.

    Raises:
        GraphnasError: unknown rule.
    """

    rule: str = "homogeneous"
    outputs: bool = False

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("rule of sharing", self.rule, RULES)

    def judge(self, child: GraphLayer, ancestor: GraphLayer | None) -> Verdict:
        """What ``child`` inherits from ``ancestor``, the layer of the same name in another architecture, if there is one."""
        if self.rule == "none":
            return Verdict((), "sharing is off")
        if ancestor is None:
            return Verdict((), "the ancestor has no such layer")
        if child.outputs != ancestor.outputs:
            return Verdict((), "one of them gives the outputs of the task, the other does not")
        if child.outputs and not self.outputs:
            return Verdict((), "it gives the outputs of the task")
        fitting = tuple(n for n, shape in child.shapes.items() if ancestor.shapes.get(n) == shape)
        if self.rule == "free":
            return Verdict(fitting, "tensors of equal shape" if fitting else "no tensor of equal shape")
        if dict(child.shapes) != dict(ancestor.shapes):
            return Verdict((), "other tensors")
        if child.attention != ancestor.attention:
            return Verdict((), f"other attention ({child.attention}, not {ancestor.attention})")
        if child.activation != ancestor.activation:
            return Verdict((), f"other activation ({child.activation}, not {ancestor.activation})")
        return Verdict(fitting, "same tensors, attention and activation")

    def compatible(self, child: GraphLayer, ancestor: GraphLayer | None) -> bool:
        """Whether ``child`` inherits anything from ``ancestor``."""
        return self.judge(child, ancestor).shared

    def inherited(
        self, child: Mapping[str, GraphLayer], ancestor: Mapping[str, GraphLayer]
    ) -> tuple[dict[str, Verdict], list[str]]:
        """The verdict on each graph layer of a network by name, and the full names of all tensors that it inherits."""
        verdicts = {name: self.judge(layer, ancestor.get(name)) for name, layer in child.items()}
        return verdicts, [f"{name}.{tensor}" for name, verdict in verdicts.items() for tensor in verdict.tensors]


def graph_layers(network: Architecture, shapes: Shapes) -> dict[str, GraphLayer]:
    """The graph layers of a whole network by name.

    Args:
        network: as ``space.network(architecture, signature)`` builds it.
        shapes: of all tensors of its state dict, by their full names.

    Raises:
        GraphnasError: it has none.
    """
    found = {}
    for n in network.nodes:
        if n.op == "agnn":
            name = n.get("name")
            start = f"{name}."
            own = {full[len(start) :]: tuple(shape) for full, shape in shapes.items() if full.startswith(start)}
            found[name] = GraphLayer(name, n.get("attention"), n.get("activation"), bool(n.get("average")), own)
    if not found:
        raise GraphnasError(
            "weights are shared between AGNN layers only, and this network has none; train from scratch"
        )
    return found
