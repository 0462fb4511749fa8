"""Published graphs as tasks; each function is registered under its name."""

from __future__ import annotations

import numpy as np
import torch

from graphnas.tasks.graph_files import check_size, read_planetoid, read_shchur
from graphnas.tasks.node import NodeTask
from graphnas.tasks.splits import split_per_class, stratified_split

_MASKS = ("train_mask", "val_mask", "test_mask")


def cora() -> NodeTask:
    """Cora: 2,708 papers, 5,278 citations, 7 classes, the public split of 140/500/1,000 (Yang et al., 2016)."""
    return _planetoid("Cora", 2708, 1433, 7)


def citeseer() -> NodeTask:
    """CiteSeer: 3,327 papers, 4,552 citations, 6 classes, the public split of 120/500/1,000 (Yang et al., 2016)."""
    return _planetoid("CiteSeer", 3327, 3703, 6)


def pubmed() -> NodeTask:
    """PubMed: 19,717 papers, 44,324 citations, 3 classes, the public split of 60/500/1,000 (Yang et al., 2016)."""
    return _planetoid("PubMed", 19717, 500, 3)


def cs(seed: int = 0) -> NodeTask:
    """Coauthor CS: 18,333 authors, 15 classes; 20/30/rest nodes a class, drawn (Shchur et al., 2018)."""
    return _shchur("cs", "ms_academic_cs.npz", 18333, 6805, 15, seed)


def physics(seed: int = 0) -> NodeTask:
    """Coauthor Physics: 34,493 authors, 5 classes; 20/30/rest nodes a class, drawn (Shchur et al., 2018)."""
    return _shchur("physics", "ms_academic_phy.npz", 34493, 8415, 5, seed)


def photo(seed: int = 0) -> NodeTask:
    """Amazon Photo: 7,650 goods, 8 classes; 20/30/rest nodes a class, drawn (Shchur et al., 2018)."""
    return _shchur("photo", "amazon_electronics_photo.npz", 7650, 745, 8, seed)


def computers(seed: int = 0) -> NodeTask:
    """Amazon Computers: 13,752 goods, 10 classes; 20/30/rest nodes a class, drawn (Shchur et al., 2018)."""
    return _shchur("computers", "amazon_electronics_computers.npz", 13752, 767, 10, seed)


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


def ogbn_arxiv() -> NodeTask:
    """ogbn-arxiv: 169,343 papers, 40 subjects, split by year (Hu et al., 2020); citations are made undirected."""
    return _ogbn("ogbn-arxiv")


def ogbn_products() -> NodeTask:
    """ogbn-products: 2,449,029 goods, 47 categories, split by sales rank (Hu et al., 2020); takes much memory."""
    return _ogbn("ogbn-products")


def _planetoid(name: str, nodes: int, features: int, classes: int) -> NodeTask:
    data = check_size(read_planetoid(name), name, nodes, features, classes)
    data.x = data.x / data.x.sum(dim=1, keepdim=True).clamp(min=1.0)
    return NodeTask(data, name=name.lower())


def _shchur(name: str, file: str, nodes: int, features: int, classes: int, seed: int) -> NodeTask:
    data = check_size(read_shchur(file), name, nodes, features, classes)
    parts = split_per_class(data.y.numpy(), (20, 30), np.random.default_rng(seed))
    for attribute, part in zip(_MASKS, parts, strict=True):
        mask = torch.zeros(nodes, dtype=torch.bool)
        mask[torch.from_numpy(part)] = True
        setattr(data, attribute, mask)
    return NodeTask(data, name=name, seed=seed)


def _ogbn(name: str) -> NodeTask:
    from graphnas.tasks.ogb_data import read_ogbn

    data, classes = read_ogbn(name)
    return NodeTask(data, name=name, classes=classes)
