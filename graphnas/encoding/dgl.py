"""Architectures as DGL graphs; DGL is an optional extra."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from graphnas.architecture import Architecture
from graphnas.encoding.exchange import EdgeList, edge_list
from graphnas.encoding.forms import canonical_forms
from graphnas.encoding.pyg import architecture_of, node_tensors
from graphnas.errors import GraphnasError
from graphnas.space import Space


def to_dgl(space: Space, architectures: Architecture | Sequence[Architecture], canonical: bool = False) -> Any:
    """One architecture as a DGL graph, several as a batched one.

    ``ndata["x"] [nodes, K]`` float32 (multi-hot of the tokens), ``ndata["op"] [nodes]`` int64 (index into the
    vocabulary's ``ops``), ``edata["place"] [edges]`` int64 (which input of the target).

    Args:
        space: which tokens there are.
        architectures: one, or any number.
        canonical: convert the canonical forms, as predictors want them; False keeps what is written.

    Raises:
        GraphnasError: DGL is not installed, or a token that the space does not have.
    """
    dgl = _library()
    several = [architectures] if isinstance(architectures, Architecture) else list(architectures)
    if canonical:
        several = canonical_forms(space, several)
    graphs = [_graph(dgl, space, a) for a in several]
    return graphs[0] if isinstance(architectures, Architecture) else dgl.batch(graphs)


def from_dgl(space: Space, graph: Any) -> Any:
    """The Architecture of a DGL graph, or the list of those of a batched one: the inverse of ``to_dgl``.

    A batch of one graph cannot be told from a single graph; it gives one Architecture. Without
    ``edata["place"]``, the inputs of a node are in the order of its edges.

    Raises:
        GraphnasError: DGL is not installed, features of another space, or no valid architecture.
    """
    dgl = _library()
    if graph.batch_size == 1:
        return _architecture(space, graph)
    return [_architecture(space, one) for one in dgl.unbatch(graph)]


def _library() -> Any:
    try:
        return importlib.import_module("dgl")
    except ImportError:
        raise GraphnasError("DGL is not installed: pip install 'graphnas[dgl]'") from None


def _graph(dgl: Any, space: Space, architecture: Architecture) -> Any:
    import torch

    edges = edge_list(architecture)
    ends = torch.tensor([edges.source, edges.target], dtype=torch.long).reshape(2, -1)
    graph = dgl.graph((ends[0], ends[1]), num_nodes=len(architecture))
    graph.ndata["x"], graph.ndata["op"] = node_tensors(space, architecture)
    graph.edata["place"] = torch.tensor(edges.place, dtype=torch.long)
    return graph


def _architecture(space: Space, graph: Any) -> Architecture:
    source, target = (end.tolist() for end in graph.edges(order="eid"))
    place = graph.edata["place"].tolist() if "place" in graph.edata else list(range(len(source)))
    return architecture_of(space, graph.ndata["x"], EdgeList(source, target, place))
