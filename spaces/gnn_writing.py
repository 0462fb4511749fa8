"""Chains of graph layers that are written otherwise than the template: links left out, nodes in another order."""

from __future__ import annotations

from dataclasses import dataclass

from graphnas.architecture import Architecture, Node, node
from graphnas.errors import GraphnasError

JOINS = ("concat", "max")


@dataclass(frozen=True)
class Links:
    """Which links besides the chain a space has; see ``spaces.gnn.agnn``."""

    residual: bool = False
    jumping_knowledge: bool = False
    propagation: bool = False


NONE = Links()


@dataclass(frozen=True)
class Rewrite:
    """Writes a chain of layers with links in the form of the template of ``spaces.gnn.agnn``.

    Attributes:
        layers: how many.
        links: those of the template.
    """

    layers: int
    links: Links

    def __call__(self, architecture: Architecture) -> Architecture:
        """The same architecture in the template's form.

        Raises:
            GraphnasError: it is no chain of as many layers with such links.
        """
        nodes = architecture.nodes
        alias = list(range(len(nodes)))  # merges of one input and identities stand for what they read
        for i, n in enumerate(nodes):
            if len(n.inputs) == 1 and n.op in ("sum", "identity", *JOINS):
                alias[i] = alias[n.inputs[0]]
        reads = [tuple(alias[j] for j in n.inputs) for n in nodes]
        layers = [i for i, n in enumerate(nodes) if n.op == "agnn"]
        if len(layers) != self.layers or nodes[0].op != "input":
            raise _foreign(architecture)
        made: list[Node] = [node("input")]
        place = {0: 0}
        before, outputs = 0, []
        for i in layers:
            if reads[i] != (before,):
                raise _foreign(architecture)
            made.append(Node("agnn", (place[before],), nodes[i].params))
            ends = [k for k, n in enumerate(nodes) if n.op == "sum" and sorted(reads[k]) == sorted((before, i))]
            if self.links.residual:
                made.append(node("sum", (len(made) - 1, *([place[before]] if ends else []))))
            before = ends[0] if ends else i
            place[before] = len(made) - 1
            outputs.append(before)
        (last,) = reads[-1] if nodes[-1].op == "output" and len(reads[-1]) == 1 else (-1,)
        walk = nodes[last]
        if self.links.propagation and walk.op == "propagation" and len(reads[last]) == 1:
            (last,) = reads[last]
        joined = nodes[last].op in JOINS and sorted(reads[last]) == sorted(outputs)
        if self.links.jumping_knowledge:
            op, sources = (nodes[last].op, outputs) if joined else ("identity", outputs[-1:])
            made.append(node(op, [place[j] for j in sources]))
        if not joined and last != outputs[-1]:
            raise _foreign(architecture)
        if self.links.propagation:
            walks = walk.op == "propagation"
            made.append(Node(walk.op if walks else "identity", (len(made) - 1,), walk.params if walks else ()))
        return Architecture([*made, node("output", (len(made) - 1,))])


def _foreign(architecture: Architecture) -> GraphnasError:
    return GraphnasError(f"the architecture is no chain of AGNN layers: {architecture!r:.120}")
