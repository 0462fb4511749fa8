"""Best architecture found against queries, for every strategy: python benchmarks/search_quality.py

A query is an evaluated architecture (by canonical key). Selection is by the validation column of the table, and the test
column is read afterwards, at the architecture that is best after 50, 100, 150 and 200 queries. A search ends when it has found the
best validation score of the table: nothing can change any more.

NAS-Bench-201    mean queries until the best-validation architecture is found; a search that has not found it in "cap" queries counts
                 as cap, and "found" says how many did. Mean validation and test of the best so far.
NAS-Bench-Graph  queries for equal validation score, in proportion to regularised evolution: q / q_E, where q is the first query at
                 which the mean curve of a strategy reaches the mean score of evolution after q_E = 300 or 600 queries; a ">" says
                 that it did not in its cap, which then stands for q. Geometric mean over the tables.

Intervals are 95 % bootstrap intervals over seeds. Rows are appended to a file of JSON lines; a second run does what is missing,
and several runs may share the file, each with its own --shard. The last run, or --show, prints the tables.

    python benchmarks/search_quality.py --quick                     # two tables, three seeds, the fast rows: two minutes
    python benchmarks/search_quality.py --shard 1/2 & python benchmarks/search_quality.py --shard 2/2
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np

from graphnas import registry
from graphnas.errors import GraphnasError
from graphnas.search import Search
from graphnas.strategies.base import Trial

IMAGES = [f"nasbench201/{name}" for name in ("cifar10", "cifar100", "imagenet16-120")]
NAMES = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins")
GRAPHS = [f"nasbench_graph/{name}" for name in NAMES]
QUICK = ["nasbench201/imagenet16-120", "nasbench_graph/arxiv"]
FIRST_SEED = 100_000  # those below were used while the strategies were developed
QUICK_SEED = 70_000
MARKS = (50, 100, 150, 200)
YARDSTICKS = ("evolution", "evolution, 50")
QUERIES = (300, 600)
RESAMPLES = 1000


@dataclass(frozen=True)
class Plan:
    """One row of the tables: how a strategy is run, for how many queries and how often on either kind of table."""

    strategy: str
    options: dict[str, Any] = field(default_factory=dict)
    batch: int = 1
    cap: tuple[int, int] = (600, 600)
    seeds: tuple[int, int] = (50, 50)


_NAC = {"comparator_options": {"width": 48, "steps": 150}, "initial": 20}
_NAO = {"predictor_options": {"width": 48, "layers": 3, "steps": 200}, "initial": 20}
_BANANAS = {
    "predictor": "path_ensemble", "acquisition": "thompson", "targets": "scores", "initial": 10, "candidates": 100,
    "mutants": 1.0, "parents": 5, "climbs": 0, "every": 10, "growth": 1.0,
}  # fmt: skip
PLANS: dict[str, Plan] = {
    "random": Plan("random"),
    "local_search": Plan("local_search"),
    "evolution": Plan("evolution", {"population": 20, "sample": 10}),
    "evolution, 50": Plan("evolution", {"population": 50, "sample": 25}),
    "policy_gradient": Plan("policy_gradient"),
    "guided": Plan("guided", {}, 5, (300, 200)),
    "guided, no trees": Plan("guided", {"predictor_options": {"trees": 0}}, 5, (300, 200)),
    "guided, forest": Plan(
        "guided", {"predictor": "random_forest", "predictor_options": {"trees": 100}}, 8, (200, 200)
    ),
    "guided, gcn": Plan("guided", {"predictor": "gcn", "every": 20, "growth": 1.2}, 10, (100, 100), (50, 10)),
    "bananas": Plan("guided", _BANANAS, 10, (150, 150)),
    "ctnas": Plan("ctnas", _NAC, 10, (200, 200)),
    "comparator_evolution": Plan("comparator_evolution", _NAC, 10, (200, 200)),
    "nao": Plan("nao", _NAO, 10, (200, 200)),
    "agnn": Plan("agnn", {}, cap=(300, 300)),
    "graphnas_controller": Plan("graphnas_controller", {}, cap=(300, 300)),
    "guide_dag": Plan("guide_dag", {}, cap=(300, 300)),
}
FAST = ("random", "local_search", *YARDSTICKS, "policy_gradient", "guided")
Rows = dict[tuple[str, str, int], dict[str, Any]]


class _Found(Exception):
    """The best validation score of the table was found."""


@lru_cache(maxsize=1)
def table_of(name: str) -> Any:
    return registry.get_table(name)


def cap_of(plan: Plan, table: str, quick: bool = False) -> int:
    cap = plan.cap[table in GRAPHS]
    return min(cap, 100) if quick and plan.strategy == "guided" else cap


def search(name: str, label: str, seed: int, cap: int) -> dict[str, Any]:
    """One search; ``improvements`` lists (query, validation, test) of every new best."""
    table, plan = table_of(name), PLANS[label]
    goal = float(table.table.columns[table.metric].max())
    improvements: list[list[float]] = []
    queries = 0

    def note(trial: Trial, best: Trial | None, count: int) -> None:
        nonlocal queries
        queries = count
        if best is trial:
            test = next(iter(table.test(trial.architecture).values()), float("nan"))
            improvements.append([count, trial.score, test])
            if trial.score >= goal:
                raise _Found

    begin = time.process_time()
    run = Search(
        table.space, table, plan.strategy, options=plan.options, budget=cap, seed=seed, batch=plan.batch, progress=note
    )
    with contextlib.suppress(_Found):
        run.run()
    cpu = time.process_time() - begin
    return {
        "table": name, "strategy": label, "seed": seed, "cap": cap, "found": improvements[-1][1] >= goal,
        "queries": queries, "improvements": improvements, "cpu": round(cpu, 3),
    }  # fmt: skip


# -- the tables ---------------------------------------------------------------------------------


def curves(rows: Sequence[dict[str, Any]], column: int, cap: int) -> np.ndarray:
    """Validation (1) or test (2) of the best so far after 1 to ``cap`` queries, ``[searches, cap]``; -inf before the first score."""
    result = np.full((len(rows), cap), -np.inf)
    for row, made in zip(result, rows, strict=True):
        for improvement in made["improvements"]:
            row[int(improvement[0]) - 1 :] = improvement[column]
    return result


def resamples(count: int, key: int) -> np.ndarray:
    return np.random.default_rng(key).integers(count, size=(RESAMPLES, count))


def interval(values: np.ndarray) -> str:
    """The bootstrap interval of the mean of ``[searches]``."""
    low, high = np.quantile(values[resamples(len(values), 0)].mean(axis=1), [0.025, 0.975])
    return f"[{low:.3g}, {high:.3g}]"


def first_at(mean: np.ndarray, score: float) -> tuple[float, bool]:
    """The first query at which a mean curve reaches a score, or its length, and whether it did."""
    reached = np.flatnonzero(mean >= score - 1e-9)
    return (float(reached[0] + 1), True) if len(reached) else (float(len(mean)), False)


def show_images(table: str, found: dict[str, list[dict[str, Any]]]) -> None:
    heads = "".join(f"{'val@' + str(m):>9}{'test':>7}" for m in MARKS)
    print(f"\n{table:<28}{'seeds':>6}{'found':>6}{'cap':>5}  {'queries, mean':<22}{heads}{'CPU s':>8}")
    for label, rows in found.items():
        cap = min(row["cap"] for row in rows)
        at = np.array([row["queries"] if row["found"] else row["cap"] for row in rows], dtype=float)
        reached = sum(row["found"] for row in rows)
        sign = ">" if reached < len(rows) else " "
        cells = ""
        validation, test = curves(rows, 1, cap).mean(axis=0), curves(rows, 2, cap).mean(axis=0)
        for mark in MARKS:
            known = mark <= cap
            cells += f"{validation[mark - 1]:>9.2f}{test[mark - 1]:>7.2f}" if known else f"{'-':>9}{'-':>7}"
        seconds = np.median([row["cpu"] for row in rows])
        text = f"{sign}{at.mean():.0f} {interval(at)}"
        print(f"{label:<28}{len(rows):>6}{reached:>6}{cap:>5}  {text:<22}{cells}{seconds:>8.2f}")


def show_graphs(found: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    labels = list(dict.fromkeys(label for rows in found.values() for label in rows))
    for yardstick in YARDSTICKS:
        for at in QUERIES:
            full = {t: by for t, by in found.items() if yardstick in by and min(r["cap"] for r in by[yardstick]) >= at}
            if not full:
                continue
            head = "".join(f"{t.split('/')[1]:>10}" for t in full)
            print(f"\n{f'queries / {at} of {yardstick}':<34}{head}   geometric mean")
            for label in labels:
                show_ratio(label, yardstick, at, full)
    print(f"\n{'test of the selected':<22}{'after':>6}{'seeds':>6}" + "".join(f"{t.split('/')[1]:>10}" for t in found))
    for label in labels:
        for mark in (100, 200):
            cells, seeds = "", 0
            for by in found.values():
                rows = by.get(label, [])
                known = bool(rows) and min(row["cap"] for row in rows) >= mark
                cells += f"{curves(rows, 2, mark)[:, -1].mean():>10.2f}" if known else f"{'-':>10}"
                seeds = max(seeds, len(rows))
            print(f"{label:<22}{mark:>6}{seeds:>6}{cells}")


def show_ratio(label: str, yardstick: str, at: int, found: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    cells, logs, all_reached = "", [], True
    for number, by in enumerate(found.values()):
        if label not in by:
            cells += f"{'-':>10}"
            continue
        mine = curves(by[label], 1, min(row["cap"] for row in by[label]))
        theirs = curves(by[yardstick], 1, at)[:, -1]
        q, reached = first_at(mine.mean(axis=0), theirs.mean())
        all_reached &= reached
        cells += f"{('' if reached else '>') + f'{q / at:.2f}':>10}"
        draws = zip(resamples(len(mine), 2 * number), resamples(len(theirs), 2 * number + 1), strict=True)
        ratios = [first_at(mine[a].mean(axis=0), theirs[b].mean())[0] / at for a, b in draws]
        logs.append(np.log([q / at, *ratios]))
    means = np.exp(np.mean(logs, axis=0))
    low, high = np.quantile(means[1:], [0.025, 0.975])
    note = f"{'' if all_reached else '>'}{means[0]:.3f} [{low:.2f}, {high:.2f}] of {len(logs)}"
    print(f"{label:<34}{cells}   {note}")


def show(rows: Rows) -> None:
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for label in PLANS:
        for row in sorted((r for r in rows.values() if r["strategy"] == label), key=lambda r: int(r["seed"])):
            found[row["table"]][label].append(row)
    for table in IMAGES:
        if table in found:
            show_images(table, found[table])
    graphs = {table: found[table] for table in GRAPHS if table in found}
    if graphs:
        show_graphs(graphs)


def known_rows(path: Path) -> Rows:
    """Rows of earlier runs; a line cut short by a kill is left out."""
    rows = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["table"], row["strategy"], row["seed"]] = row
    return rows


def jobs(tables: Sequence[str], labels: Sequence[str], first: int, most: int) -> Iterator[tuple[str, str, int]]:
    for table in tables:
        for label in labels:
            for seed in range(first, first + min(PLANS[label].seeds[table in GRAPHS], most)):
                yield table, label, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two tables, three seeds, the fast rows, fewer queries")
    parser.add_argument("--tables", help=f"tables, separated by commas (default: {', '.join(IMAGES + GRAPHS)})")
    parser.add_argument("--rows", help=f"rows, separated by semicolons (default: {'; '.join(PLANS)})")
    parser.add_argument("--seeds", type=int, help="searches for each row, at most")
    parser.add_argument(
        "--cap", type=int, help="queries of a search (default: by row); rows of another cap need a file of their own"
    )
    parser.add_argument("--shard", default="1/1", help="i/n: the i-th of n shares of the searches")
    parser.add_argument("--show", action="store_true", help="only print the tables")
    parser.add_argument("--results", type=Path, help="file of rows (default: search_quality.jsonl, or ...-quick.jsonl)")
    given = parser.parse_args()
    path = given.results or Path(f"search_quality{'-quick' if given.quick else ''}.jsonl")
    tables = given.tables.split(",") if given.tables else QUICK if given.quick else IMAGES + GRAPHS
    labels = given.rows.split(";") if given.rows else list(FAST) if given.quick else list(PLANS)
    if wrong := [*set(labels) - set(PLANS), *set(tables) - set(IMAGES + GRAPHS)]:
        parser.error(f"no such row or table: {', '.join(sorted(wrong))}")
    share, shares = map(int, given.shard.split("/"))
    most = given.seeds or (3 if given.quick else 10**9)
    rows = known_rows(path)
    planned = list(jobs(tables, labels, QUICK_SEED if given.quick else FIRST_SEED, most))
    for name, label, seed in [] if given.show else planned[share - 1 :: shares]:
        if (name, label, seed) in rows:
            continue
        row = search(name, label, seed, given.cap or cap_of(PLANS[label], name, given.quick))
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name} {label} {seed}: {row['improvements'][-1]} of {row['queries']}, {row['cpu']} s", flush=True)
    rows = known_rows(path)
    show({key: rows[key] for key in planned if key in rows})


if __name__ == "__main__":
    try:
        main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
