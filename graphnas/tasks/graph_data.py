"""A user's graph, checked: features, edges, labels and masks as tensors that fit together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphnas.errors import GraphnasError

_MASKS = {"train": "train_mask", "validation": "val_mask", "test": "test_mask"}


def graph_inputs(x: Tensor, edge_index: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
    """What every graph task calls a network with: the one place where that is decided."""
    return (x, edge_index, *more)


def features_of(data: Any) -> Tensor:
    """Node features ``x[N, F]`` as float32.

    Raises:
        GraphnasError: no ``x``, not a dense matrix, empty, or values that are not finite.
    """
    x = _tensor(data, "x", "node features [N, F]; use torch.eye(N) where nodes have none")
    if x.layout != torch.strided or x.ndim != 2 or x.numel() == 0:
        raise GraphnasError(f"x of the graph has shape {list(x.shape)}; it must be a dense matrix [N, F] with N, F > 0")
    x = x.detach().cpu().float()
    if not bool(torch.isfinite(x).all()):
        raise GraphnasError("x of the graph holds NaN or infinite values; remove or replace them")
    return x


def edges_of(data: Any, nodes: int, undirected: bool) -> Tensor:
    """Edges ``edge_index[2, E]``, with the reverse of each and without duplicates if ``undirected``.

    Raises:
        GraphnasError: no ``edge_index``, a wrong shape or type, or an edge to a node that does not exist.
    """
    edges = _tensor(data, "edge_index", "edges [2, E]").detach().cpu()
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.is_floating_point():
        raise GraphnasError(
            f"edge_index has shape {list(edges.shape)} and type {edges.dtype}; it must be [2, E] integers"
        )
    edges = edges.long()
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        wrong = int(edges.min()) if int(edges.min()) < 0 else int(edges.max())
        raise GraphnasError(f"edge_index names node {wrong}; the {nodes} nodes of the graph are 0 to {nodes - 1}")
    if undirected:
        from torch_geometric.utils import to_undirected

        edges = to_undirected(edges, num_nodes=nodes)
    return edges.contiguous()


def labels_of(data: Any, nodes: int, classes: int | None) -> Tensor:
    """Classes ``y[N]`` as int64; -1 marks a node without label.

    Raises:
        GraphnasError: no ``y``, a wrong shape or type, or a label out of range.
    """
    y = _tensor(data, "y", "one class a node [N]").detach().cpu()
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.is_floating_point():
        raise GraphnasError(
            f"y of the graph has shape {list(y.shape)} and type {y.dtype}; it must be [N] integers, one class a node"
        )
    if len(y) != nodes:
        raise GraphnasError(f"the graph has {nodes} nodes but {len(y)} labels")
    y = y.long()
    low, high = int(y.min()), int(y.max())
    if low < -1 or high < 0 or (classes is not None and high >= classes):
        wrong = low if low < -1 else high
        limit = "the number of classes - 1" if classes is None else str(classes - 1)
        raise GraphnasError(f"the graph has the label {wrong}; labels must be between 0 and {limit}, or -1 for none")
    return y.contiguous()


def masked_rows(data: Any, y: Tensor, split: int) -> dict[str, Tensor]:
    """Node indices of the splits that the graph has masks for.

    Raises:
        GraphnasError: a mask of a wrong shape or type, an empty one, overlapping ones, or unlabelled nodes in one.
    """
    rows: dict[str, Tensor] = {}
    for name, attribute in _MASKS.items():
        mask = getattr(data, attribute, None)
        if mask is None:
            continue
        mask = torch.as_tensor(mask).detach().cpu()
        if mask.dtype != torch.bool or mask.ndim not in (1, 2) or len(mask) != len(y):
            raise GraphnasError(
                f"{attribute} has shape {list(mask.shape)} and type {mask.dtype}; it must be boolean, "
                f"[{len(y)}] or [{len(y)}, k]"
            )
        if mask.ndim == 2:
            if not 0 <= split < mask.shape[1]:
                raise GraphnasError(f"split {split} does not exist; {attribute} has splits 0 to {mask.shape[1] - 1}")
            mask = mask[:, split]
        rows[name] = torch.nonzero(mask).flatten()
        if len(rows[name]) == 0:
            raise GraphnasError(f"{attribute} selects no node; the {name} split needs at least one")
        if bool((y[rows[name]] < 0).any()):
            raise GraphnasError(f"{attribute} selects nodes without label (-1); remove them from the mask")
        for other, taken in rows.items():
            shared = int(torch.isin(rows[name], taken).sum())
            if other != name and shared:
                raise GraphnasError(f"the {other} and {name} masks share {shared} nodes; splits must be disjoint")
    return rows


def _tensor(data: Any, attribute: str, meaning: str) -> Tensor:
    value = getattr(data, attribute, None)
    if value is None:
        raise GraphnasError(f"the graph has no {attribute}: {meaning}")
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise GraphnasError(
            f"{attribute} of the graph is a {type(value).__name__}; it must be a tensor or an array"
        ) from None
