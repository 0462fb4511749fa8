"""Hits@K, and the names of the metrics of link prediction."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from graphnas.errors import unknown


def parse_metric(name: str) -> int | None:
    """K of "hits@K", or None for "rocauc" and "ap".

    Raises:
        GraphnasError: another name.
    """
    if name in ("rocauc", "ap"):
        return None
    match = re.fullmatch(r"hits@([1-9]\d*)", name)
    if match is None:
        raise unknown("metric of links", name, ("rocauc", "ap", "hits@10", "hits@20", "hits@50", "hits@100"))
    return int(match[1])


def hits(positive: Tensor, negative: Tensor, k: int) -> float:
    """The share of positive scores above the k-th best negative one (Hu et al., 2020, appendix); ties do not count.

    With fewer than ``k`` negative scores it is 1, as OGB has it.
    """
    if len(negative) < k:
        return 1.0
    return float((positive > torch.topk(negative, k).values[-1]).double().mean())
