"""The card of a model: what it learned from, how good it is, and where it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eda.development import metrics_with_intervals
from eda.model import RoutabilityModel, space_of
from eda.preparation import Preparation
from eda.tasks import RoutabilityTask


def limits(preparation: Preparation) -> list[str]:
    """What a prediction does not say, from the data that was learned from."""
    layers = " or ".join(map(str, preparation.layers))
    size = f"at most {preparation.cells:,} cells" if preparation.cells else "unknown size"
    return [
        f"Labels are shorts left by qrouter at the stated effort on OSU035 (0.35 um, {layers} routing layers), not the rule check of "
        "a foundry.",
        f"Learned from placements of {size}; larger ones are extrapolation.",
        "In other technologies a prediction ranks placements at best.",
    ]


def card_of(model: RoutabilityModel, task: RoutabilityTask, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The card, as JSON values; the test part is read here, once."""
    metrics, designs = {}, {}
    for split in task.splits:
        if split != "train":
            outputs = [model.outputs(s.features, s.recipe.layers, s.graph) for s in task.samples(split)]
            metrics[split] = {name: list(v) for name, v in metrics_with_intervals(outputs, task, split).items()}
            designs[split] = of_designs(outputs, task, split)
    samples = task.samples("train")
    return {
        "task": task.describe(),
        "tools": dict(samples[0].tools),
        "space": space_of(model.task, model.graph).name,
        "parameters": sum(p.numel() for p in model.networks[0].parameters()),
        "networks": len(model.networks),
        "recipe": dict(recipe),
        "metrics": metrics,
        "designs": designs,
        "limits": limits(model.preparation),
    }


def of_designs(outputs: Sequence[np.ndarray], task: RoutabilityTask, split: str) -> dict[str, dict[str, float | None]]:
    """The metrics among the placements of every design of a part; None where they all have the same label."""
    samples, made = task.samples(split), {}
    for design in dict.fromkeys(s.design for s in samples):
        rows = [i for i, s in enumerate(samples) if s.design == design]
        found = task.measure([outputs[i] for i in rows], [samples[i] for i in rows])
        made[design] = {name: value if math.isfinite(value) else None for name, value in found.items()}
    return made
