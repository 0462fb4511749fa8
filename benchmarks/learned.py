"""Comparator and learned strategies on benchmark tables: rank correlation, and the best validation score found.

    python benchmarks/learned.py            # a few minutes: NAC by number of labels
    python benchmarks/learned.py --search   # tens of minutes: random, evolution, guided, ctnas, ... on two tables

The tables come from GRAPHNAS_DATA or from ``graphnas import``. Rank correlation follows protocol P1: fitted on validation
accuracy (200 epochs, one run), Kendall's tau-b with test accuracy over all 15,625 cells of NAS-Bench-201/CIFAR-10, those fitted included;
no label but the stated ones is used.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from graphnas import registry
from graphnas.metrics import kendall_tau
from graphnas.search import Search
from graphnas.strategies.comparator_evolution import ComparatorEvolution
from graphnas.strategies.ctnas import CTNAS
from graphnas.strategies.guided import PredictorGuided
from graphnas.strategies.nao import NAO
from predictors.comparator import NAC
from predictors.nao import NAO as EncoderDecoder

SEEDS = 3
SMALL_NAC = {"comparator": NAC, "comparator_options": {"width": 48, "steps": 150, "learning_rate": 2e-3}, "initial": 20}
SMALL_NAO = {
    "predictor": EncoderDecoder,
    "predictor_options": {"width": 48, "layers": 3, "steps": 200},
    "initial": 20,
}
STRATEGIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "random": ("random", {}),
    "evolution": ("evolution", {"population": 20, "sample": 5}),
    "guided, mean": (PredictorGuided, {"acquisition": "mean", "predictor_options": {"trees": 100}}),
    "guided, half_top": (PredictorGuided, {"predictor_options": {"trees": 100}}),
    "guided, ucb": (PredictorGuided, {"acquisition": "ucb", "predictor_options": {"trees": 100}}),
    "ctnas": (CTNAS, SMALL_NAC),
    "comparator_evolution": (ComparatorEvolution, SMALL_NAC),
    "nao": (NAO, SMALL_NAO),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--search", action="store_true", help="run the strategies instead of fitting the comparator")
    parser.add_argument("--seeds", type=int, default=0, help=f"repetitions (default {SEEDS}, for --search 5)")
    arguments = parser.parse_args()
    if arguments.search:
        searches(arguments.seeds or 5)
    else:
        correlations(arguments.seeds or SEEDS)


def correlations(seeds: int) -> None:
    estimator = registry.get_table("nasbench201/cifar10")
    space, table = estimator.space, estimator.table
    architectures = [space.decode(row) for row in table.decisions.tolist()]
    validation, test = table.columns[table.validation], table.columns[table.test[0]]
    print(f"{'NAC on NAS-Bench-201/CIFAR-10':<40}{'labels':>8}{'tau':>8}{'s.d.':>8}{'s/fit':>8}")
    forms = {
        "default": NAC(space),
        "published, canonical graphs": NAC.published(space),
        "published, graphs as written": NAC.published(space, canonical=False),
    }
    for name, form in forms.items():
        for labels in (78, 156, 469):
            found, start = [], time.perf_counter()
            for seed in range(seeds):
                rows = np.random.default_rng(seed).choice(len(architectures), labels, replace=False)
                nac = NAC(space, **{**form.arguments(), "seed": seed})
                nac.fit([architectures[i] for i in rows], validation[rows])
                found.append(kendall_tau(nac.utilities(architectures)[0], test))
            seconds = (time.perf_counter() - start) / seeds
            print(f"{name:<40}{labels:>8}{np.mean(found):>8.3f}{np.std(found):>8.3f}{seconds:>8.1f}", flush=True)


def searches(seeds: int) -> None:
    for name in ("nasbench201/cifar10", "nasbench_graph/cora"):
        table = registry.get_table(name)
        print(f"{name + ', best validation after':<40}{'50':>9}{'100':>9}{'200':>9}{'s/search':>10}")
        for label, (strategy, options) in STRATEGIES.items():
            curves, start = [], time.perf_counter()
            for seed in range(seeds):
                curve = (
                    Search(table.space, table, strategy, options=options, budget=200, seed=seed, batch=5).run().curve()
                )
                curves.append([curve[i] for i in (49, 99, 199)])
            seconds = (time.perf_counter() - start) / seeds
            values = "".join(f"{v:>9.2f}" for v in np.mean(curves, axis=0))
            print(f"{label:<40}{values}{seconds:>10.1f}", flush=True)


if __name__ == "__main__":
    main()
