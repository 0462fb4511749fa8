"""Options under which the learned strategies of graphnas learn within a handful of trials, for quick tests."""

from __future__ import annotations

from typing import Any

_TINY = {"width": 8, "layers": 1, "steps": 5}

SMALL_OPTIONS: dict[str, dict[str, Any]] = {
    "evolution": {"population": 6, "sample": 3},
    "nsga2": {"population": 6},
    "guided_front": {
        "initial": 6,
        "candidates": 20,
        "growth": 2.0,
        "predictor_options": {"features": "one_hot", "trees": 3},
    },
    "ppo": {"collect": 4},
    "guided": {"initial": 6, "candidates": 30, "every": 5, "predictor_options": {"trees": 5, "reference": 60}},
    "single_path_evolution": {"population": 6, "top": 3, "mutants": 3, "crossovers": 3},
    "progressive_segments": {
        "samples": 8,
        "keep": 3,
        "contexts": 2,
        "most": 30,
        "predictor": "surrogate",
        "predictor_options": {"trees": 5, "reference": 60},
    },
    "agnn": {"hidden": 8, "initial": 3, "patience": 5},
    "graphnas_controller": {"hidden": 8},
    "nao": {"initial": 6, "best": 4, "new": 6, "predictor_options": {**_TINY, "beams": 2, "structures": 20}},
    "comparator_evolution": {
        "initial": 6,
        "population": 5,
        "children": 8,
        "generations": 2,
        "comparator_options": _TINY,
    },
    "ctnas": {
        "initial": 6,
        "steps": 6,
        "batch": 3,
        "baseline_every": 3,
        "explore_every": 4,
        "explore_pairs": 6,
        "candidates": 8,
        "comparator_options": _TINY,
    },
}
"""By the name of the strategy; strategies that are not listed need none."""
