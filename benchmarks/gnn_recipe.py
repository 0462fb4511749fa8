"""Which recipe trains NAS-Bench-Graph networks on Cora best in few epochs: python benchmarks/gnn_recipe.py

Six random architectures, 50 epochs, one thread; the table's validation accuracy (hundreds of epochs, tuned) beside them.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time

import numpy as np

from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.training import TrainingEstimator
from graphnas.registry import get_space, get_table, get_task

RECIPES = (
    Recipe("adam", learning_rate=0.01, weight_decay=5e-4, schedule="constant"),
    Recipe("adam", learning_rate=0.01, weight_decay=5e-4, schedule="cosine"),
    Recipe("sgd", learning_rate=0.1, weight_decay=5e-4, schedule="cosine"),
    Recipe("sgd", learning_rate=0.1, weight_decay=5e-4, schedule="constant"),
    Recipe("sgd", learning_rate=0.3, weight_decay=5e-4, schedule="cosine"),
    Recipe("sgd", learning_rate=0.3, weight_decay=5e-4, schedule="constant"),
    Recipe("sgd", learning_rate=0.5, weight_decay=5e-4, schedule="constant"),
)


def main() -> None:
    space, task, table = get_space("nasbench_graph"), get_task("cora"), get_table("nasbench_graph/cora")
    architectures = [space.sample(np.random.default_rng(seed)) for seed in range(10, 16)]
    recorded = [table.evaluate(a, seed=0).score for a in architectures]
    print(f"{'recipe':<28}{'mean':>7}{'CPU s':>8}   validation accuracy of each")
    print(f"{'table':<28}{np.mean(recorded):>7.1f}{'':>8}   {' '.join(f'{v:.1f}' for v in recorded)}")
    for recipe in RECIPES:
        estimator = TrainingEstimator(space, task, Fidelity(epochs=50), recipe)
        start = time.process_time()
        scores = [estimator.evaluate(a, seed=1).score for a in architectures]
        name = f"{recipe.optimiser} {recipe.learning_rate} {recipe.schedule}"
        each = " ".join(f"{v:.1f}" for v in scores)
        print(f"{name:<28}{np.mean(scores):>7.1f}{time.process_time() - start:>8.1f}   {each}", flush=True)


if __name__ == "__main__":
    main()
