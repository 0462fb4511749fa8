"""Policies by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphnas.errors import GraphnasError, unknown
from graphnas.space import Space
from graphnas.strategies.policy import Policy
from graphnas.strategies.product_policy import ProductPolicy

POLICIES = ("lstm", "product")


def make_policy(name: str, space: Space, rng: np.random.Generator, options: Mapping[str, Any]) -> Policy:
    """The policy of this name, "lstm" or "product", with arguments of its constructor.

    Raises:
        GraphnasError: unknown name or options.
    """
    if name not in POLICIES:
        raise unknown("policy", name, POLICIES)
    try:
        if name == "product":
            return ProductPolicy(space, **options)
        from graphnas.strategies.recurrent_policy import RecurrentPolicy  # torch is slow to import

        return RecurrentPolicy(space, rng, **options)
    except TypeError as error:
        raise GraphnasError(f"policy {name!r} does not take these options: {error}") from None
