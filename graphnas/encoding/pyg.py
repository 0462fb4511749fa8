"""Architectures as PyG graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphnas.architecture import Architecture
from graphnas.encoding.exchange import EdgeList, assemble, edge_list
from graphnas.encoding.forms import canonical_forms
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.errors import GraphnasError
from graphnas.space import Space

if TYPE_CHECKING:
    import torch


def to_pyg(space: Space, architectures: Architecture | Sequence[Architecture], canonical: bool = False) -> Any:
    """One architecture as a PyG ``Data``, several as a ``Batch``.

    Fields: ``x [nodes, K]`` float32 (multi-hot of the tokens), ``op [nodes]`` int64 (index into the vocabulary's
    ``ops``), ``edge_index [2, edges]`` int64 (source, target), ``edge_place [edges]`` int64 (which input of the
    target).

    Args:
        space: which tokens there are.
        architectures: one, or any number.
        canonical: convert the canonical forms, as predictors want them; False keeps what is written.

    Raises:
        GraphnasError: a token that the space does not have.
    """
    from torch_geometric.data import Batch

    if isinstance(architectures, Architecture):
        return _data(space, _forms(space, [architectures], canonical)[0])
    return Batch.from_data_list([_data(space, a) for a in _forms(space, architectures, canonical)])


def from_pyg(space: Space, data: Any) -> Any:
    """The Architecture of a ``Data``, or the list of those of a ``Batch``: the inverse of ``to_pyg``.

    Without ``edge_place``, the inputs of a node are in the order of its edges.

    Raises:
        GraphnasError: features of another space, an edge to a node that is not later, or no output.
    """
    from torch_geometric.data import Batch

    if isinstance(data, Batch):
        return [_architecture(space, one) for one in data.to_data_list()]
    return _architecture(space, data)


def node_tensors(space: Space, architecture: Architecture) -> tuple[torch.Tensor, torch.Tensor]:
    """Features ``[nodes, K]`` and op ids ``[nodes]`` of one architecture."""
    import torch

    vocabulary = vocabulary_of(space)
    kinds = [(n.op, n.params) for n in architecture.nodes]
    ops = [vocabulary.columns(op)[0] for op, _ in kinds]
    return torch.from_numpy(vocabulary.table(kinds)), torch.tensor(ops)


def architecture_of(space: Space, x: torch.Tensor, edges: EdgeList) -> Architecture:
    """The architecture of node features ``[nodes, K]`` and edges."""
    vocabulary = vocabulary_of(space)
    if x.ndim != 2 or x.shape[1] != len(vocabulary):
        raise GraphnasError(
            f"node features of shape {tuple(x.shape)} do not fit space {space.name!r}, "
            f"which has {len(vocabulary)} tokens: give features made for this space"
        )
    return assemble([vocabulary.kind(row) for row in x.detach().cpu().numpy()], edges)


def _forms(space: Space, architectures: Sequence[Architecture], canonical: bool) -> Sequence[Architecture]:
    return canonical_forms(space, architectures) if canonical else architectures


def _data(space: Space, architecture: Architecture) -> Any:
    import torch
    from torch_geometric.data import Data

    x, op = node_tensors(space, architecture)
    edges = edge_list(architecture)
    index = torch.tensor([edges.source, edges.target], dtype=torch.long).reshape(2, -1)
    return Data(x=x, edge_index=index, op=op, edge_place=torch.tensor(edges.place, dtype=torch.long))


def _architecture(space: Space, data: Any) -> Architecture:
    source, target = data.edge_index.tolist()
    place = data.edge_place.tolist() if "edge_place" in data else list(range(len(source)))
    return architecture_of(space, data.x, EdgeList(source, target, place))
