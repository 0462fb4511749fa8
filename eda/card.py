"""The card of a model: what it learned from, how good it is, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        "limits": limits(model.preparation),
    }
