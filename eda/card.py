"""The card of a model: what it learned from, how good it is, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eda.development import metrics_with_intervals
from eda.model import RoutabilityModel, space_of
from eda.tasks import RoutabilityTask

LIMITS = (
    "Labels are shorts left by qrouter at the stated effort on OSU035 (0.35 um, 3 or 4 routing layers), not the rule check of a foundry.",
    "Learned from placements of at most 1,450 cells without macros; larger ones are extrapolation.",
    "In other technologies a prediction ranks placements at best.",
)


def card_of(model: RoutabilityModel, task: RoutabilityTask, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The card, as JSON values; the test part is read here, once."""
    metrics = {}
    for split in task.splits:
        if split != "train":
            outputs = [model.outputs(s.features, s.recipe.layers) for s in task.samples(split)]
            metrics[split] = {name: list(v) for name, v in metrics_with_intervals(outputs, task, split).items()}
    samples = task.samples("train")
    return {
        "task": task.describe(),
        "tools": dict(samples[0].tools),
        "space": space_of(model.task).name,
        "parameters": sum(p.numel() for p in model.networks[0].parameters()),
        "networks": len(model.networks),
        "recipe": dict(recipe),
        "metrics": metrics,
        "limits": list(LIMITS),
    }
