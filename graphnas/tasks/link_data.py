"""Published graphs as link prediction tasks; each is registered under its name. Options are those of LinkTask."""

from __future__ import annotations

from typing import Any

import torch

from graphnas.errors import GraphnasError
from graphnas.tasks.link import Links, LinkTask
from graphnas.tasks.node_data import planetoid
from graphnas.tasks.ogb_data import read_ogb


def cora_links(seed: int = 0, **options: Any) -> LinkTask:
    """Missing citations of Cora: 85/5/10 % of 5,278 links, ROC-AUC (Kipf & Welling, 2016)."""
    return LinkTask(planetoid("Cora"), name="cora-links", seed=seed, **options)


def citeseer_links(seed: int = 0, **options: Any) -> LinkTask:
    """Missing citations of CiteSeer: 85/5/10 % of 4,552 links, ROC-AUC (Kipf & Welling, 2016)."""
    return LinkTask(planetoid("CiteSeer"), name="citeseer-links", seed=seed, **options)


def pubmed_links(seed: int = 0, **options: Any) -> LinkTask:
    """Missing citations of PubMed: 85/5/10 % of 44,324 links, ROC-AUC (Kipf & Welling, 2016)."""
    return LinkTask(planetoid("PubMed"), name="pubmed-links", seed=seed, **options)


def ogbl_collab(*, validation_edges: bool = True, seed: int = 0, **options: Any) -> LinkTask:
    """ogbl-collab: who will write papers together, 235,868 authors, split by year, Hits@50 (Hu et al., 2020).

    Collaborations of several years count once. OGB's rules allow ``validation_edges`` in this data set.
    """
    data, links = _ogbl("ogbl-collab")
    return LinkTask(
        data,
        links,
        name="ogbl-collab",
        validation_edges=validation_edges,
        metric="hits@50",
        evaluator="ogbl-collab",
        **{"batch_size": 65_536, "seed": seed, **options},
    )


def ogbl_ddi(*, seed: int = 0, **options: Any) -> LinkTask:
    """ogbl-ddi: interactions of 4,267 drugs, split by protein targets, Hits@20 (Hu et al., 2020).

    Drugs have no features: the network gets the identity, a linear map of which is a learned embedding of each drug.
    """
    data, links = _ogbl("ogbl-ddi")
    data.x = torch.eye(int(data.num_nodes))
    return LinkTask(
        data,
        links,
        name="ogbl-ddi",
        validation_edges=False,
        metric="hits@20",
        evaluator="ogbl-ddi",
        **{"batch_size": 65_536, "seed": seed, **options},
    )


def _ogbl(name: str) -> tuple[Any, dict[str, Links]]:
    dataset, split = read_ogb(name)
    none = torch.empty(2, 0, dtype=torch.long)
    try:
        links = {
            ours: Links(*(torch.as_tensor(split[theirs][part]).t() for part in ("edge", "edge_neg")))
            for ours, theirs in (("validation", "valid"), ("test", "test"))
        }
        links["train"] = Links(torch.as_tensor(split["train"]["edge"]).t(), none)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise GraphnasError(f"the split of {name} is not as it should be ({error!r}); get its files again") from None
    return dataset[0], links
