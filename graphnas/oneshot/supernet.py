"""The supernet: the compiled template of a Space, with weights that all its architectures share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from graphnas.architecture import Architecture, Node
from graphnas.compile import compile
from graphnas.errors import GraphnasError, unknown
from graphnas.oneshot.discretisers import NONE
from graphnas.oneshot.opened import OPEN, groups_of, opened
from graphnas.oneshot.repair import likeliest
from graphnas.oneshot.reversible import make_reversible
from graphnas.ops.depthwise import quicken
from graphnas.ops.layers import Cost
from graphnas.ops.mixture import Mixed, Row
from graphnas.ops.registry import get, infer
from graphnas.space import Decisions, Space

if TYPE_CHECKING:
    from torch.fx import GraphModule

MEMORY = ("store", "checkpoint", "reversible")
Weights = Mapping[str, Tensor]
"""The mixing weights of each group: ``[R, K]``, or ``[B, R, K]`` with other ones for each example."""


class Supernet(nn.Module):
    """Every architecture of a space at once: all options of each decision, weighted by mixing weights.

    ``forward(*inputs, mix)`` is differentiable in the inputs, the weights of the layers and the mixing weights. With
    the one-hot weights of an architecture it is the network of that architecture (its *child*), and
    runs the operations of that architecture only. Evaluation with other weights of the layers goes through
    ``torch.func.functional_call``; nothing is ever changed in place for it.

    Args:
        space: whose network builder accepts open decisions; see ``Space.relaxed``.
        signature: of the task.
        seed: initialises the weights; None draws from torch's generator.
        memory: "store" keeps all intermediate results for the backward pass, "checkpoint" only the inputs of the mixed
            operations (activation checkpointing), "reversible" only the last state of each chain of couplings, for networks
            that have some (see ``graphnas.oneshot.reversible``).
        part: one channel in so many passes the mixed operations, the others bypass them (PC-DARTS).
        node_norm: normalise every sum of mixed operations (the clipped weights of DARTS-PRIME, version 1). Of a supernet
            with either of the two, a child has the structure but cannot have the weights.
        **size: overrides of ``space.network_size``; normalisations have no learned scale and shift unless ``affine`` says
            so, because a scale would take the place of a mixing weight.

    Attributes:
        groups: the decisions, one matrix for each group.
        size: what was given.

    Raises:
        GraphnasError: the space builds no networks for this kind of task, or none with open decisions.
    """

    def __init__(
        self,
        space: Space,
        signature: Any,
        seed: int | None = None,
        *,
        memory: str = "store",
        part: int = 1,
        node_norm: bool = False,
        **size: Any,
    ) -> None:
        super().__init__()
        if memory not in MEMORY:
            raise unknown("memory mode of a supernet", memory, MEMORY)
        self.original = space
        self.space, self._to, self._back, keep, absent, self._inherit, usual = space.relaxed()
        self.signature = signature
        self.size = {**({"affine": False} if "affine" in space.network_size else {}), **usual, **size}
        self.part, self.node_norm = part, node_norm
        architecture, self.groups = opened(self.space, keep, absent)
        whole = self.space.network(architecture, signature, **self.size)
        if any(n.op == OPEN for n in whole.nodes):
            raise GraphnasError(
                f"space {space.name!r} has no supernet: its networks cannot be built with open decisions"
            )
        if part > 1 and any(n.op == "recurrent" for n in whole.nodes):
            raise GraphnasError(
                "recurrent cells have no channels of which a part could pass the operations; choose another method"
            )
        self.architecture = altered(whole, part, node_norm)
        self.places = groups_of(self.space)[1]
        self.network = compile(self.architecture, seed)
        quicken(self.network)
        self.memory = memory
        for module in self.mixed().values():
            module.recompute = memory == "checkpoint"
        if memory == "reversible" and not make_reversible(self.network):
            raise GraphnasError(
                f"networks of space {space.name!r} have no state in splits to work out backwards (nodes 'coupling'); "
                'use memory="checkpoint"'
            )

    def mixed(self) -> dict[str, Mixed]:
        """The mixed operations by the name of their node."""
        return {name: module for name, module in self.network.named_modules() if isinstance(module, Mixed)}

    def forward(self, *inputs: Tensor, mix: Weights | Mapping[str, tuple[Row, ...]]) -> Tensor:
        """The output for these mixing weights; ones that carry no gradient run only where they are not zero."""
        rows = {name: w if isinstance(w, tuple) else rows_of(w) for name, w in mix.items()}
        return self.network(*inputs, rows)  # type: ignore[no-any-return]

    # -- architectures --------------------------------------------------------------------------

    def one_hot(self, architecture: Architecture) -> dict[str, Tensor]:
        """The mixing weights ``[R, K]`` that make the supernet this architecture.

        Raises:
            GraphnasError: an architecture of another space.
        """
        mix = {group.name: torch.zeros(group.mask.shape) for group in self.groups}
        decisions = self.space.encode(self._written(architecture))
        for choice, decision in zip(self.space.choices, decisions, strict=True):
            group, row = self.places[choice]
            mix[group][row, decision] = 1.0
        return mix

    def decode(self, mix: Weights) -> Architecture:
        """The architecture of the largest weight of each decision, a member of the space that the supernet was made for.

        A row of zeros is no operation, where the decision has that option. Where the space has a rule that these decisions break,
        it is the likeliest one that keeps it.

        Raises:
            GraphnasError: that space has no such architecture.
        """
        decisions = []
        for choice in self.space.choices:
            group, row = self.places[choice]
            weights, names = mix[group][row], [str(option) for option in choice.options]
            dropped = next((k for k, name in enumerate(names) if name in NONE), None)
            empty = dropped is not None and not bool(weights.any())
            decisions.append(dropped if empty and dropped is not None else int(weights.argmax()))
        if not self.space.is_valid(tuple(decisions)):
            rows = [mix[group][row] for group, row in (self.places[choice] for choice in self.space.choices)]
            kept = [row[: len(c.options)].tolist() for row, c in zip(rows, self.space.choices, strict=True)]
            return self._back(self.space.decode(likeliest(self.space, kept)))
        return self._back(self.space.decode(decisions))

    def decisions(self, architecture: Architecture) -> Decisions:
        """The decisions of an architecture in the space that the supernet holds."""
        return self.space.encode(self._written(architecture))

    def _written(self, architecture: Architecture) -> Architecture:
        """A member of either space as decoded by the space that the supernet holds."""
        if architecture.decisions_in(self.space) is not None:
            return architecture
        if self.original is not self.space and not self.space.contains(architecture):
            return self._to(architecture)
        return self.space.decode(self.space.encode(architecture))

    def child(self, architecture: Architecture, inherit: bool = True, seed: int | None = None) -> GraphModule:
        """The network of an architecture.

        Args:
            architecture: a member of the space.
            inherit: copy the weights and buffers of the supernet; otherwise they are drawn.
            seed: of the draw.

        Raises:
            GraphnasError: an architecture of another space, or a supernet whose weights do not fit its children.
        """
        if inherit and (self.part > 1 or self.node_norm):
            raise GraphnasError(
                "a supernet whose operations read a part of the channels, or whose sums are normalised, shares no weights "
                "with its children; make them with inherit=False"
            )
        written = self._written(architecture)
        module = compile(self.space.network(written, self.signature, **self.size), seed)
        if inherit:
            module.load_state_dict(self.state_of(written))
        return module.train(self.training)

    def state_of(self, architecture: Architecture) -> dict[str, Tensor]:
        """The supernet's weights and buffers that an architecture uses, by their names in its child."""
        if self._inherit is not None:
            return self._inherit(self.network.state_dict(), self._written(architecture))
        chosen = self.chosen(architecture)
        state = {}
        for name, value in self.network.state_dict().items():
            node, _, rest = name.partition(".options.")
            if node in chosen and rest:
                option, _, leaf = rest.partition(".")
                if int(option) == chosen[node]:
                    state[f"{node}.{leaf}"] = value
            else:
                state[name] = value
        return state

    def chosen(self, architecture: Architecture) -> dict[str, int]:
        """For the name of each mixed operation the option that runs in an architecture."""
        decisions = self.space.encode(self._written(architecture))
        at = {self.places[c]: (d, len(c.options)) for c, d in zip(self.space.choices, decisions, strict=True)}
        found = {}
        for n in self.architecture.nodes:
            if n.op == "mixed":
                option = 0
                for row in n.get("rows"):
                    decision, _ = at[row]
                    option = option * self._width(row[0]) + decision
                found[n.get("name")] = option
        return found

    def place_in(self, n: Node, place: int) -> bool:
        """Whether a node of the network is an operation that depends on the decision at this place of its space."""
        return n.op == "mixed" and self.places[self.space.choices[place]] in n.get("rows")

    def _width(self, group: str) -> int:
        return next(g.mask.shape[1] for g in self.groups if g.name == group)

    # -- cost -----------------------------------------------------------------------------------

    def costs(self) -> dict[str, Tensor]:
        """Parameters and multiply-adds of each option, summed over all cells, ``[R, K, 2]`` for each group.

        The cost of an architecture is the sum over its decisions plus that of what is fixed (``fixed_cost``). An
        operation that depends on several decisions adds to each of them its mean over the others. The options of a recurrent
        cell cost nothing by themselves: the maps that they share are fixed, each as often as it could run.
        """
        tables = {g.name: torch.zeros(*g.mask.shape, 2, dtype=torch.float64) for g in self.groups}
        shapes = [shape for shape, _ in infer(self.architecture.nodes)]
        for n in self.architecture.nodes:
            if n.op != "mixed":
                continue
            inputs = [shapes[j] for j in n.inputs]
            costs = get("mixed").layer(dict(n.params), inputs).costs(*inputs)  # type: ignore[misc]
            cost = torch.tensor([[c.params, c.macs] for c in costs]).double()
            widths = [self._width(group) for group, _ in n.get("rows")]
            grid = cost.view(*widths, 2)
            for axis, (group, row) in enumerate(n.get("rows")):
                others = [a for a in range(len(widths)) if a != axis]
                tables[group][row] += grid.mean(others) if others else grid
        return tables

    def fixed_cost(self) -> Cost:
        """Parameters and multiply-adds of what all architectures have in common."""
        total = Cost()
        for n, (_, cost) in zip(self.architecture.nodes, infer(self.architecture.nodes), strict=True):
            total = total if n.op == "mixed" else total + cost
        return total


def altered(network: Architecture, part: int, node_norm: bool) -> Architecture:
    """A network with open operations that read a part of the channels, or whose sums are normalised; see Supernet."""
    nodes: list[Node] = []
    place: list[int] = []
    for i, n in enumerate(network.nodes):
        params = (*n.params, ("part", part)) if n.op == "mixed" and part > 1 else n.params
        nodes.append(Node(n.op, tuple(place[j] for j in n.inputs), params))
        if node_norm and n.op == "sum" and any(network.nodes[j].op == "mixed" for j in n.inputs):
            nodes.append(Node("node_norm", (len(nodes) - 1,), (("name", f"node_norm.sum{i}"),)))
        place.append(len(nodes) - 1)
    return Architecture(nodes)


def rows_of(weights: Tensor, rest: bool = False, live: Tensor | None = None) -> tuple[Row, ...]:
    """The rows of ``[R, K]`` or ``[B, R, K]`` weights; options of weight zero run only if a gradient is wanted for them.

    Args:
        weights: of one group.
        rest: options of weight zero of a matrix that carries a gradient do not run either, but their weights are added.
        live: ``[R, K]``, False at options whose weights are 0 and need no gradient.
    """
    rows = weights.unbind(-2)
    if weights.requires_grad and not rest:
        used = torch.ones(weights.shape[-2:], dtype=torch.bool) if live is None else live
    else:
        used = weights.detach() != 0
        used = used.any(0) if used.ndim == 3 else used
    which = [tuple(k for k, on in enumerate(row) if on) or (0,) for row in used.tolist()]
    return tuple(Row(row, at, rest) for row, at in zip(rows, which, strict=True))
