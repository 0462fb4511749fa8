"""Layer-wise inference: one layer after the other on all nodes, with all neighbours, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch_geometric.utils import to_undirected

from graphnas.tasks.sampling import ALL, NeighbourSampler


class LayerwiseInference(fx.Interpreter):
    """Runs a network of node features and edges so that a layer never sees more than a part of the edges.

    What reads both features and edges (a message-passing layer) is computed for ``batch`` nodes at a time, from their
    neighbours and those of their neighbours, so that it finds the degrees at both ends of an edge; everything else for
    all nodes at once. Memory is that of the features, plus one such part. Results are those of a single pass, up to
    the order of sums, for layers that read one hop, or as many as their ``hops`` says, and its degrees; where they count the edges that leave a node
    (ChebNet), this holds for undirected graphs.

    Args:
        network: its arguments are the features and the edges.
        sampler: of the whole graph.
        batch: nodes at a time.
        undirected: every edge is there in both directions, once.
    """

    def __init__(self, network: fx.GraphModule, sampler: NeighbourSampler, batch: int, undirected: bool) -> None:
        super().__init__(network)
        self.sampler = sampler
        self.batch = batch
        self.undirected = undirected
        nodes = list(network.graph.nodes)
        x, self.edge_index = (node for node in nodes if node.op == "placeholder")
        self.reads: dict[fx.Node, frozenset[str]] = {x: frozenset({"x"}), self.edge_index: frozenset({"edges"})}
        for node in nodes:
            if node not in self.reads:
                self.reads[node] = frozenset().union(*(self.reads[source] for source in node.all_input_nodes))
        # what is made of the edges alone is made again for each part of them
        self.of_edges = [node for node in nodes if self.reads[node] == {"edges"} and node is not self.edge_index]
        self.messages = {
            node
            for node in nodes
            if self.reads[node] == {"x", "edges"} and any(self.reads[s] == {"edges"} for s in node.all_input_nodes)
        }

    def run_node(self, n: fx.Node) -> Any:
        """The value of one node of the network's graph, for all nodes of the data."""
        if n in self.of_edges:
            return None
        if n not in self.messages:
            return super().run_node(n)
        values = {source: _dense(self.env[source]) for source in n.all_input_nodes if self.reads[source] != {"edges"}}
        rows = {source: value for source, value in values.items() if "x" in self.reads[source]}
        count = len(self.sampler)
        if not all(isinstance(value, Tensor) and value.shape[:1] == (count,) for value in rows.values()):
            raise NotLayerwise(f"{n.name} reads something else than a row for each node")
        seeds = torch.split(torch.arange(count), self.batch)
        return torch.cat([self._part(n, values, rows, part) for part in seeds])

    def _part(self, n: fx.Node, values: dict[fx.Node, Any], rows: dict[fx.Node, Tensor], seeds: Tensor) -> Tensor:
        hops = getattr(self.submodules[str(n.target)], "hops", 1) if n.op == "call_module" else 1
        nodes, edges = self.sampler.sample(seeds, [ALL] * (hops + 1))
        if self.undirected:  # nodes at the rim get no other edges; those next to them send all of theirs
            edges = to_undirected(edges, num_nodes=len(nodes))
        device = next(iter(rows.values())).device
        nodes, whole = nodes.to(device), self.env
        try:
            self.env = {**values, **{source: value[nodes] for source, value in rows.items()}}
            self.env[self.edge_index] = edges.to(device)
            for node in self.of_edges:
                self.env[node] = super().run_node(node)
            result = super().run_node(n)
        finally:
            self.env = whole
        if not isinstance(result, Tensor) or len(result) != len(nodes):
            raise NotLayerwise(f"{n.name} does not return a row for each node")
        return result[: len(seeds)]


def _dense(value: Any) -> Any:
    """Features that some operations keep in a sparse form, as a tensor."""
    return value if isinstance(value, Tensor) or not hasattr(value, "dense") else value.dense()


class NotLayerwise(Exception):
    """A network has an operation that cannot be computed for some nodes at a time."""


def infer(
    network: nn.Module, inputs: Sequence[Tensor], sampler: NeighbourSampler, batch: int, undirected: bool
) -> Tensor:
    """``network(*inputs)``, layer by layer where its layers can be told apart, else in a single pass."""
    module = traced(network)
    if module is not None:
        try:
            return LayerwiseInference(module, sampler, batch, undirected).run(*inputs)  # type: ignore[no-any-return]
        except NotLayerwise:
            pass
    return network(*inputs)  # type: ignore[no-any-return]


def traced(network: nn.Module) -> fx.GraphModule | None:
    """The network as a graph of layers, if it has two arguments and torch.fx can trace it; else None."""
    if isinstance(network, fx.GraphModule):
        module = network
    else:
        try:
            tracer = _Tracer()
            module = fx.GraphModule(network, tracer.trace(network))
        except Exception:  # control flow that depends on values, or anything else that fx cannot follow
            return None
    arguments = [node for node in module.graph.nodes if node.op == "placeholder"]
    return module if len(arguments) == 2 else None


class _Tracer(fx.Tracer):
    """Keeps message-passing layers, and those of graphnas, whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        from torch_geometric.nn import MessagePassing

        ours = m.__module__.startswith("graphnas.ops")
        return ours or isinstance(m, MessagePassing) or super().is_leaf_module(m, module_qualified_name)
