"""How well predictors rank architectures after few labels: python benchmarks/predictor_ranking.py

Each predictor is fitted with its default arguments on the validation figures of n random architectures, and nothing else
of the table. Kendall's tau-b (x 100) is measured by one of two protocols:

    P1   against the test figures of all architectures of the table, those of the fit included
    rest against the validation figures of all others (tables without test figures; at most 5,000)

The same architectures are drawn for every model. Times are CPU seconds of one thread: fit, and ranking what is measured
against (with canonical forms cold only for the first model of a table). Rows are appended to a file of JSON lines as they
are measured; a second run measures what is missing, and prints the table from the file.

    python benchmarks/predictor_ranking.py --quick                      # two tables, two repeats: minutes
    python benchmarks/predictor_ranking.py --labels 20,39,78,156,469,781 --repeats 10 --tables nasbench201/cifar10
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np

from graphnas import registry
from graphnas.architecture import Architecture, Node, node
from graphnas.data import require
from graphnas.errors import GraphnasError
from graphnas.files import load_npz
from graphnas.metrics import kendall_tau
from graphnas.space import Choice, Space

ENAS = "enas6/weight_sharing"
IMAGES = ["nasbench201/cifar10", "nasbench201/cifar100", "nasbench201/imagenet16-120", "nasbench101/cifar10", ENAS]
GRAPHS = ["cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins"]
TABLES = [*IMAGES, *[f"nasbench_graph/{name}" for name in GRAPHS]]
QUICK = ["nasbench201/imagenet16-120", "nasbench_graph/arxiv"]
MOST = 5000


class Data(NamedTuple):
    """Architectures of one table with what is fitted and what is measured against (None: the rest's validation)."""

    space: Space
    architectures: list[Architecture]
    validation: np.ndarray
    test: np.ndarray | None


@lru_cache(maxsize=1)
def data_of(name: str) -> Data:
    if name == ENAS:
        return enas()
    table = registry.get_table(name).table
    architectures = [table.space.decode(row) for row in table.decisions.tolist()]
    test = table.columns[table.test[0]] if table.test else None
    return Data(table.space, architectures, table.columns[table.validation], test)


def enas() -> Data:
    """The six-layer ENAS cells of D-VAE (Zhang et al., NeurIPS 2019) with accuracies of shared weights."""
    nodes, choices = [node("input")], []
    for layer in range(1, 7):
        op = Choice(f"op{layer}", tuple(f"op{i}" for i in range(6)), "op")
        skips = [Choice(f"{source}->{layer}", (None, source), "skip") for source in range(layer - 1)]
        nodes.append(Node(op, (layer - 1, *skips)))
        choices += [op, *skips]
    nodes.append(node("output", (6,)))
    space = Space("enas6", nodes, order=choices)
    data = load_npz(require("enas6_dvae.npz", "it is part of the project's data folder"), ["arch", "ws_acc"])
    return Data(space, [space.decode(row) for row in data["arch"].tolist()], data["ws_acc"].astype(np.float64), None)


def models() -> dict[str, Callable[[Space, int], Any]]:
    """Model by name: ``make(space, seed)``."""
    from predictors.comparator import NAC
    from predictors.forest import RandomForest
    from predictors.gcn import GCNPredictor
    from predictors.kernel import KernelPredictor
    from predictors.nao import NAO

    return {
        "gcn": lambda space, seed: GCNPredictor(space, seed=seed),
        "gcn-alone": lambda space, seed: GCNPredictor(space, kernel=False, seed=seed),
        "gcn-mse": lambda space, seed: GCNPredictor(space, kernel=False, loss="mse", seed=seed),
        "gin-alone": lambda space, seed: GCNPredictor(space, kernel=False, kind="gin", seed=seed),
        "kernel": lambda space, seed: KernelPredictor(space, seed=seed),
        "forest-canonical": lambda space, seed: RandomForest(space, "canonical", seed=seed),
        "forest-one-hot": lambda space, seed: RandomForest(space, "one_hot", seed=seed),
        "nac": lambda space, seed: NAC(space, seed=seed),
        "nao": lambda space, seed: NAO(space, seed=seed),
    }


def measure(name: str, model: str, labels: int, repeat: int) -> dict[str, Any]:
    """One row of the results file."""
    data = data_of(name)
    order = np.random.default_rng([repeat, labels]).permutation(len(data.architectures))
    known, rest = order[:labels], order[labels:][:MOST]
    asked = rest if data.test is None else np.arange(len(order))
    true = data.validation[rest] if data.test is None else data.test
    begin = time.process_time()
    learner = models()[model](data.space, repeat)
    learner.fit([data.architectures[i] for i in known], data.validation[known])
    middle = time.process_time()
    predicted = scores(learner, [data.architectures[i] for i in asked])
    end = time.process_time()
    return {
        "table": name, "model": model, "labels": labels, "repeat": repeat,
        "protocol": "rest" if data.test is None else "P1", "tau": kendall_tau(predicted, true),
        "fit": middle - begin, "predict": end - middle,
    }  # fmt: skip


def scores(learner: Any, architectures: Sequence[Architecture]) -> np.ndarray:
    if hasattr(learner, "predict"):
        return np.asarray(learner.predict(architectures).mean)
    return np.asarray(learner.rank_scores(architectures, architectures[:1]))


def known_rows(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of an earlier run; a line cut short by a kill is left out."""
    rows = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["table"], row["model"], row["labels"], row["repeat"]] = row
    return rows


def show(rows: Sequence[dict[str, Any]], tables: Sequence[str], labels: Sequence[int]) -> None:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["table"], row["model"], row["labels"]].append(row)
    for table in tables:
        protocol = next((r["protocol"] for r in rows if r["table"] == table), "-")
        head = "".join(f"{n:>15}" for n in labels)
        print(
            f"\n{table}, protocol {protocol}: tau x 100, mean and standard deviation\n{'labels':<18}{head}   CPU s: fit, rank"
        )
        for model in dict.fromkeys(r["model"] for r in rows if r["table"] == table):
            cells, last = "", [r for r in rows if r["table"] == table and r["model"] == model]
            for n in labels:
                taus = [100 * r["tau"] for r in found[table, model, n]]
                spread = np.std(taus, ddof=1) if len(taus) > 1 else float("nan")
                cells += f"{np.mean(taus):>7.1f} ±{spread:>3.1f} ({len(taus)})" if taus else f"{'-':>15}"
                last = found[table, model, n] or last
            seconds = " ".join(f"{np.median([r[part] for r in last]):>6.1f}" for part in ("fit", "predict"))
            print(f"{model:<18}{cells}   {seconds}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two tables, 20 and 156 labels, two repeats")
    parser.add_argument("--labels", help="numbers of labels, separated by commas (default 20,78,156)")
    parser.add_argument("--tables", help=f"tables, separated by commas (default: all of {', '.join(TABLES)})")
    parser.add_argument("--models", help=f"models, separated by commas (default: {', '.join(models())})")
    parser.add_argument("--repeats", type=int, help="draws of the labelled architectures (default 10)")
    parser.add_argument(
        "--results", type=Path, default=Path("predictors.jsonl"), help="file of rows (default: %(default)s)"
    )
    given = parser.parse_args()
    labels = [int(n) for n in (given.labels or ("20,156" if given.quick else "20,78,156")).split(",")]
    tables = given.tables.split(",") if given.tables else QUICK if given.quick else TABLES
    chosen = given.models.split(",") if given.models else list(models())
    repeats = given.repeats or (2 if given.quick else 10)
    if wrong := [*set(chosen) - set(models()), *set(tables) - set(TABLES)]:
        parser.error(f"no such model or table: {', '.join(sorted(wrong))}")
    rows = known_rows(given.results)
    for table in tables:
        for repeat in range(repeats):
            for n in labels:
                for model in chosen:
                    name = (table, model, n, repeat)
                    if name in rows or n >= 0.8 * len(data_of(table).architectures):
                        continue
                    rows[name] = measure(*name)
                    with given.results.open("a") as file:
                        file.write(json.dumps(rows[name]) + "\n")
                    print(*name, f"{rows[name]['tau']:.4f}", flush=True)
    wanted = [
        rows[t, m, n, r] for t in tables for m in chosen for n in labels for r in range(repeats) if (t, m, n, r) in rows
    ]
    show(wanted, tables, labels)


if __name__ == "__main__":
    try:
        main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
