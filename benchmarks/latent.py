"""Search in a latent space on NAS-Bench-201/CIFAR-10: python benchmarks/latent.py

NAO (Luo et al., NeurIPS 2018) and SemiNAS (Luo et al., NeurIPS 2020), with the graph encoder and as published with LSTMs:

    reconstruction  share of held-out cells that are decoded from their latents: by the graph encoder up to isomorphism, by
                    the LSTM decision by decision. NAS-Bench-201, trained on 2,000 random writings and their
                    scores, held out are (for the graph encoder) cells of no trained class, each class once; and the 2,532 cells of NAS-Bench-101
                    with up to five vertices, trained on 1,500 without scores
    ranking         Kendall's tau-b by protocol P1: fitted on the validation figures of n random cells and no other label,
                    measured against the test figures of all 15,625; CPU seconds of the fit
    search          300 queries: random cells, then three rounds of 70; selection by validation, test is read once

CPU seconds are those of one thread. Rows are appended to a file of JSON lines as they are measured; a second run measures
what is missing, and prints the table from the file.

    python benchmarks/latent.py --quick   # two seeds of the cheapest rows: minutes
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.table import TableEstimator
from graphnas.metrics import kendall_tau
from graphnas.search import Search
from graphnas.space import Space
from graphnas.strategies.nao import NAO as Strategy
from predictors.nao import NAO
from spaces import nasbench101

TABLE = "nasbench201/cifar10"
QUERIES, ROUND, WANTED = 300, 70, 94.2
UNLABELLED = 2000
MODELS: dict[str, Callable[[Space, int], NAO]] = {
    "nao": lambda space, seed: NAO(space, seed=seed),
    "seminas": lambda space, seed: NAO(space, unlabelled=UNLABELLED, seed=seed),
    "nao, mse": lambda space, seed: NAO(space, loss="mse", seed=seed),
    "seminas, mse": lambda space, seed: NAO(space, loss="mse", unlabelled=UNLABELLED, seed=seed),
    "nao, no structures": lambda space, seed: NAO(space, structures=0, seed=seed),
    "seminas, no structures": lambda space, seed: NAO(space, structures=0, unlabelled=UNLABELLED, seed=seed),
    "nao, lstm": lambda space, seed: NAO(space, "lstm", seed=seed),
    "nao, published": lambda space, seed: NAO.published(space, seed=seed),
    "seminas, published": lambda space, seed: NAO.published(space, unlabelled=UNLABELLED, seed=seed),
}
STEPS = {"graph": 1200, "lstm": 300}
"""Of the optimiser by encoder, where reconstruction is measured: it takes more of them than ranking does."""
SEARCHED = ("random", "nao", "seminas", "nao, mse", "nao, lstm", "nao, published")
Row = dict[str, Any]


@lru_cache(maxsize=1)
def estimator() -> TableEstimator:
    found: TableEstimator = registry.get_table(TABLE)
    return found


@lru_cache(maxsize=1)
def cells() -> list[Architecture]:
    """All cells, in the order of the table's rows."""
    return [estimator().space.decode(row) for row in estimator().table.decisions.tolist()]


def reconstruction(encoder: str, place: str, seed: int) -> Row:
    if place == "nasbench201":
        space, everything, count = estimator().space, cells(), 2000
    else:
        space, count = nasbench101.small_space(5), 1500
        everything = list(space.enumerate())
    order = np.random.default_rng([seed, 1]).permutation(len(everything))
    train, held = [everything[i] for i in order[:count]], [everything[i] for i in order[count:]]
    options: dict[str, Any] = {"steps": STEPS[encoder], "structures": 0, "seed": seed}
    if place == "nasbench201":
        scores = estimator().table.columns[estimator().table.validation][order[:count]]
    else:
        scores, options = np.arange(count), {**options, "weight": 0.0}
    exact = encoder == "lstm"
    if not exact:
        trained = {space.key(a) for a in train}
        held = list({space.key(a): a for a in held if space.key(a) not in trained}.values())
    begin = time.process_time()
    model = NAO(space, encoder, **options).fit(train, scores)
    seconds = time.process_time() - begin
    shares = {name: model.reconstruction(some, exact) for name, some in (("train", train), ("held", held))}
    return {**shares, "count": len(held), "fit": seconds}


def ranking(name: str, labels: int, seed: int) -> Row:
    table, everything = estimator().table, cells()
    rows = np.random.default_rng([seed, labels]).choice(len(everything), labels, replace=False)
    begin = time.process_time()
    model = MODELS[name](estimator().space, seed).fit(
        [everything[i] for i in rows], table.columns[table.validation][rows]
    )
    seconds = time.process_time() - begin
    tau = kendall_tau(model.predict(everything).mean, table.columns[table.test[0]])
    some = np.random.default_rng([seed, 3]).choice(len(everything), 500, replace=False)
    return {"tau": tau, "reconstruction": model.reconstruction([everything[i] for i in some]), "fit": seconds}


def search(name: str, queries: int, seed: int) -> Row:
    strategy: Any = "random"
    options: dict[str, Any] = {}
    if name != "random":
        predictor = MODELS[name]
        options = {"predictor": lambda space: predictor(space, seed), "initial": queries - 3 * ROUND}
        strategy, options = Strategy, {**options, "every": ROUND, "growth": 1.0, "new": ROUND}
    begin = time.process_time()
    found = Search(estimator().space, estimator(), strategy, options=options, budget=queries, seed=seed, batch=10).run()
    seconds = time.process_time() - begin
    assert found.best is not None
    curve = found.curve()
    return {
        "validation": found.best.score,
        "test": estimator().test(found.best.architecture)["test"],
        "queries_to_best": 1 + curve.index(curve[-1]),
        "seconds": seconds,
    }


PARTS: dict[str, Callable[[str, Any, int], Row]] = {
    "reconstruction": reconstruction,
    "ranking": ranking,
    "search": search,
}


def plan(quick: bool, seeds: int) -> list[tuple[str, str, Any, int]]:
    """What to measure: (part, model, on what, seed)."""
    shared: dict[str, dict[Any, Sequence[str]]] = {
        "reconstruction": {"nasbench201": tuple(STEPS), "nasbench101-5": tuple(STEPS)},
        "ranking": {100: tuple(MODELS), 156: ("nao", "seminas", "nao, published")},
        "search": {QUERIES: SEARCHED},
    }
    if quick:
        shared = {"reconstruction": {"nasbench101-5": ["lstm"]}, "ranking": {100: ["nao", "seminas"]}}
        shared["search"] = {QUERIES: ["random", "nao"]}
    return [
        (p, m, on, s)
        for p, places in shared.items()
        for on, models in places.items()
        for m in models
        for s in range(seeds)
    ]


def known_rows(path: Path) -> dict[tuple[Any, ...], Row]:
    """Rows of an earlier run; a line cut short by a kill is left out."""
    rows = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["part"], row["model"], row["on"], row["seed"]] = row
    return rows


def show(rows: list[Row]) -> None:
    def of(part: str) -> list[list[Row]]:
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            if row["part"] == part:
                groups.setdefault((row["on"], row["model"]), []).append(row)
        return list(groups.values())

    def mean(group: list[Row], field: str) -> float:
        return float(np.mean([row[field] for row in group]))

    print(
        f"\n{'reconstruction':<16}{'encoder':<10}{'seeds':>6}{'train':>9}{'held out':>10}{'least':>9}{'CPU s, fit':>12}"
    )
    for group in of("reconstruction"):
        shares = f"{mean(group, 'train'):>9.2%}{mean(group, 'held'):>10.2%}{min(r['held'] for r in group):>9.2%}"
        print(f"{group[0]['on']:<16}{group[0]['model']:<10}{len(group):>6}{shares}{mean(group, 'fit'):>12.1f}")

    print(f"\n{'ranking':<26}{'labels':>7}{'seeds':>6}{'tau':>7}{'s.d.':>7}{'reconstructed':>15}{'CPU s, fit':>12}")
    for group in of("ranking"):
        taus = [row["tau"] for row in group]
        figures = f"{np.mean(taus):>7.3f}{np.std(taus):>7.3f}{mean(group, 'reconstruction'):>15.1%}{mean(group, 'fit'):>12.1f}"
        print(f"{group[0]['model']:<26}{group[0]['on']:>7}{len(group):>6}{figures}")

    print(
        f"\n{f'search, {QUERIES} queries':<26}{'test, one for each seed (queries until the best validation)':<64}{'CPU s':>7}"
    )
    for group in of("search"):
        each = "  ".join(f"{row['test']:.2f} ({row['queries_to_best']})" for row in group)
        reached = sum(row["test"] >= WANTED for row in group)
        print(
            f"{group[0]['model']:<26}{each:<64}{mean(group, 'seconds'):>7.1f}   {reached} of {len(group)} >= {WANTED}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds of the cheapest rows")
    parser.add_argument("--seeds", type=int, help="repetitions (default 5)")
    parser.add_argument("--parts", help=f"separated by commas (default {','.join(PARTS)})")
    parser.add_argument("--results", type=Path, default=Path("latent.jsonl"), help="file of rows (default %(default)s)")
    given = parser.parse_args()
    parts = given.parts.split(",") if given.parts else list(PARTS)
    if wrong := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(wrong))}")
    rows = known_rows(given.results)
    wanted = [name for name in plan(given.quick, given.seeds or (2 if given.quick else 5)) if name[0] in parts]
    NAO(nasbench101.small_space(3), steps=1).fit(
        list(nasbench101.small_space(3).enumerate()), range(7)
    )  # imports are no fit
    for name in wanted:
        if name not in rows:
            part, model, on, seed = name
            rows[name] = {"part": part, "model": model, "on": on, "seed": seed, **PARTS[part](model, on, seed)}
            with given.results.open("a") as file:
                file.write(json.dumps(rows[name]) + "\n")
            print(rows[name], flush=True)
    show([rows[name] for name in wanted])


if __name__ == "__main__":
    try:
        main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
