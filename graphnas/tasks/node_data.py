"""Published graphs as tasks; each function is registered under its name. Options are those of NodeTask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from graphnas.tasks.graph_files import check_size, read_planetoid, read_shchur
from graphnas.tasks.node import NodeTask
from graphnas.tasks.splits import split_per_class, stratified_split

_PLANETOID = {"Cora": (2708, 1433, 7), "CiteSeer": (3327, 3703, 6), "PubMed": (19717, 500, 3)}
_MASKS = ("train_mask", "val_mask", "test_mask")


def cora(**options: Any) -> NodeTask:
    """Cora: 2,708 papers, 5,278 citations, 7 classes, the public split of 140/500/1,000 (Yang et al., 2016)."""
    return NodeTask(planetoid("Cora"), name="cora", **options)


def citeseer(**options: Any) -> NodeTask:
    """CiteSeer: 3,327 papers, 4,552 citations, 6 classes, the public split of 120/500/1,000 (Yang et al., 2016)."""
    return NodeTask(planetoid("CiteSeer"), name="citeseer", **options)


def pubmed(**options: Any) -> NodeTask:
    """PubMed: 19,717 papers, 44,324 citations, 3 classes, the public split of 60/500/1,000 (Yang et al., 2016)."""
    return NodeTask(planetoid("PubMed"), name="pubmed", **options)


def cs(seed: int = 0, **options: Any) -> NodeTask:
    """Coauthor CS: 18,333 authors, 15 classes; 20/30/rest nodes a class, drawn (Shchur et al., 2018)."""
    return _shchur("cs", "ms_academic_cs.npz", 18333, 6805, 15, seed, options)


def physics(seed: int = 0, **options: Any) -> NodeTask:
    """Coauthor Physics: 34,493 authors, 5 classes; 20/30/rest nodes a class, drawn (Shchur et al., 2018)."""
    return _shchur("physics", "ms_academic_phy.npz", 34493, 8415, 5, seed, options)


def photo(seed: int = 0, **options: Any) -> NodeTask:
    """Amazon Photo: 7,650 goods, 8 classes; 20/30/rest nodes a class, drawn (Shchur et al., 2018)."""
    return _shchur("photo", "amazon_electronics_photo.npz", 7650, 745, 8, seed, options)


def computers(seed: int = 0, **options: Any) -> NodeTask:
    """Amazon Computers: 13,752 goods, 10 classes; 20/30/rest nodes a class, drawn (Shchur et al., 2018)."""
    return _shchur("computers", "amazon_electronics_computers.npz", 13752, 767, 10, seed, options)


def karate(seed: int = 0) -> NodeTask:
    """Zachary's karate club (1977): 34 members, 78 ties, 4 communities, one labelled member each; needs no files.

    The other 30 members are split evenly into validation and test, stratified. Features are the identity.
    """
    from torch_geometric.datasets import KarateClub

    data = KarateClub()[0]
    rest = torch.nonzero(~data.train_mask).flatten()
    halves = stratified_split(data.y[rest].numpy(), (0.5, 0.5), np.random.default_rng(seed))
    for attribute, half in zip(_MASKS[1:], halves, strict=True):
        mask = torch.zeros(len(data.y), dtype=torch.bool)
        mask[rest[torch.from_numpy(half)]] = True
        setattr(data, attribute, mask)
    return NodeTask(data, name="karate", seed=seed)


def ogbn_arxiv(**options: Any) -> NodeTask:
    """ogbn-arxiv: 169,343 papers, 40 subjects, split by year (Hu et al., 2020); citations are made undirected."""
    return _ogbn("ogbn-arxiv", options)


def ogbn_products(**options: Any) -> NodeTask:
    """ogbn-products: 2,449,029 goods, 47 categories, split by sales rank (Hu et al., 2020); takes much memory.

    It is trained on samples: batches of 1,024 nodes with 15, 10 and 5 neighbours, unless ``options`` say otherwise.
    """
    return _ogbn("ogbn-products", {"batch": 1024, "neighbours": (15, 10, 5), **options})


def planetoid(name: str) -> Any:
    """The PyG ``Data`` of "Cora", "CiteSeer" or "PubMed", of the published size, each node's features adding up to 1."""
    data = check_size(read_planetoid(name), name, *_PLANETOID[name])
    data.x = data.x / data.x.sum(dim=1, keepdim=True).clamp(min=1.0)
    return data


def _shchur(
    name: str, file: str, nodes: int, features: int, classes: int, seed: int, options: Mapping[str, Any]
) -> NodeTask:
    data = check_size(read_shchur(file), name, nodes, features, classes)
    parts = split_per_class(data.y.numpy(), (20, 30), np.random.default_rng(seed))
    for attribute, part in zip(_MASKS, parts, strict=True):
        mask = torch.zeros(nodes, dtype=torch.bool)
        mask[torch.from_numpy(part)] = True
        setattr(data, attribute, mask)
    return NodeTask(data, name=name, seed=seed, **options)


def _ogbn(name: str, options: Mapping[str, Any]) -> NodeTask:
    from graphnas.tasks.ogb_data import read_ogbn

    data, classes = read_ogbn(name)
    return NodeTask(data, name=name, classes=classes, **options)
