"""How well predictors rank architectures after few labels: python benchmarks/predictors.py

Each model is fitted with its default arguments (but for what its name says) on the validation figures of n random
architectures, and nothing else of the table. Kendall's tau-b (x 100) is measured by one of two protocols:

    P1   against the test figures of all architectures of the table, those of the fit included
    rest against the validation figures of all others (tables without test figures; at most 5,000)

All models see the same draws, so they are compared draw by draw: "behind" is the mean difference to the model of the best
mean, with the 95 % interval of Student's t over the draws. The last table says for each table and number of labels whether
the default predictor is the best one, or so near that the interval of the difference holds 0.

Times are CPU seconds of one thread (median over the draws): fit, and ranking what is measured against. What every model needs
of a whole table (canonical forms) is made before the clock starts. Rows are appended to a file of JSON lines
as they are measured; a second run measures what is missing, and prints the tables from the file. Two processes can
share the work and the file: ``--shard 1/2`` and ``--shard 2/2``.

    python benchmarks/predictors.py --quick                        # two tables, two draws: minutes
    python benchmarks/predictors.py                                # 14 tables, ten draws, 78 and 156 labels
    python benchmarks/predictors.py --labels 20,39,469,781 --tables nasbench201/cifar10 --models gcn,kernel

A model name with columns of the table after "+" reads them as cheap signals of every architecture, whose cost is not in the labels:

    python benchmarks/predictors.py --tables nasbench201/cifar10 --models "gcn,gcn+params+flops+zen,gcn+validation_12"

With "@design" the labelled architectures are not random: ``predictors.design`` chooses them from 1,000 random ones, without scores:

    python benchmarks/predictors.py --labels 78 --models gcn,gcn@design
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

# Python looks for imports in the folder of the script first, where this file has the name of the package `predictors`: so
# the folder is taken off the path, and who finds this file in looking for the package is given the package.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
if __name__ == "predictors":
    del sys.modules[__name__]
    sys.modules[__name__] = importlib.import_module(__name__)
if __name__ == "__main__":
    for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[_variable] = "1"

import numpy as np

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.encoding.forms import canonical_forms
from graphnas.errors import GraphnasError
from graphnas.metrics import kendall_tau
from graphnas.space import Space

IMAGES = [
    "nasbench201/cifar10",
    "nasbench201/cifar100",
    "nasbench201/imagenet16-120",
    "nasbench101/cifar10",
    "enas6/weight_sharing",
]
GRAPHS = ["cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins"]
TABLES = [*IMAGES, *[f"nasbench_graph/{name}" for name in GRAPHS]]
QUICK = ["nasbench201/imagenet16-120", "nasbench_graph/arxiv"]
DEFAULT = "gcn"
MOST = 5000
POOL = 1000
_DESIGN = "@design"
LEVEL = 0.95

Cell = tuple[str, str, int, int]
"""Table, model, labels, draw."""
Row = dict[str, Any]


class Data(NamedTuple):
    """Architectures of one table with what is fitted and what is measured against (None: the rest's validation)."""

    space: Space
    architectures: list[Architecture]
    validation: np.ndarray
    test: np.ndarray | None


@cache
def data_of(name: str) -> Data:
    table = registry.get_table(name).table
    architectures = architectures_of(table.space.name, table.decisions.tobytes(), table.decisions.shape[1])
    test = table.columns[table.test[0]] if table.test else None
    return Data(table.space, architectures, table.columns[table.validation], test)


@cache
def architectures_of(space: str, decisions: bytes, width: int) -> list[Architecture]:
    """The architectures of these decisions (uint8), with their canonical forms made; tables of one space share them."""
    decode = registry.get_space(space).decode
    made = [decode(row) for row in np.frombuffer(decisions, dtype=np.uint8).reshape(-1, width).tolist()]
    canonical_forms(registry.get_space(space), made)
    return made


def models() -> dict[str, Callable[[Space, int], Any]]:
    """Model by name: ``make(space, seed)``."""
    from predictors.boosting import Boosting
    from predictors.comparator import NAC
    from predictors.forest import RandomForest
    from predictors.gcn import GCNPredictor
    from predictors.kernel import KernelPredictor
    from predictors.nao import NAO
    from predictors.path_ensemble import PathEnsemble

    made: dict[str, Callable[[Space, int], Any]] = {
        "gcn": lambda space, seed: GCNPredictor(space, seed=seed),
        "gcn-mse": lambda space, seed: GCNPredictor(
            space, networks=1, scalars=False, kernel=False, trees=0, loss="mse", seed=seed
        ),
        "gcn-multitask": lambda space, seed: GCNPredictor(space, seed=seed, signals_as="targets"),
        "kernel": lambda space, seed: KernelPredictor(space, seed=seed),
        "forest-canonical": lambda space, seed: RandomForest(space, "canonical", seed=seed),
        "forest-one-hot": lambda space, seed: RandomForest(space, "one_hot", seed=seed),
        "boosting-canonical": lambda space, seed: Boosting(space, "canonical", seed=seed),
        "boosting-one-hot": lambda space, seed: Boosting(space, "one_hot", seed=seed),
        "boosting-paths": lambda space, seed: Boosting(space, "paths+adjacency", seed=seed),
        "path_ensemble": lambda space, seed: PathEnsemble(space, seed=seed),
        "nac": lambda space, seed: NAC(space, seed=seed),
        "nao": lambda space, seed: NAO(space, seed=seed),
    }
    if importlib.util.find_spec("lightgbm") is not None:
        made["lightgbm-canonical"] = lambda space, seed: Boosting(space, "canonical", "lightgbm", seed=seed)
        made["lightgbm-one-hot"] = lambda space, seed: Boosting(space, "one_hot", "lightgbm", seed=seed)
    return made


def make(model: str, table: str, seed: int) -> Any:
    """The model of a name such as "kernel" or "kernel+params+flops" for the space of a table."""
    base, *columns = model.removesuffix(_DESIGN).split("+")
    learner = models()[base](registry.get_space(table.split("/")[0]), seed)
    if columns:
        learner.signals = signals_of(table, tuple(columns))
    return learner


@cache
def signals_of(table: str, columns: tuple[str, ...]) -> Any:
    from predictors.signals import Signals

    return Signals.of_table(registry.get_table(table).table, columns)


def measure(cell: Cell) -> Row:
    """One row of the results file."""
    name, model, labels, draw = cell
    data = data_of(name)
    order = np.random.default_rng([draw, labels]).permutation(len(data.architectures))
    known = order[:labels]
    if model.endswith(_DESIGN):
        known = designed(data, order[:POOL], labels, draw)
    rest = order[~np.isin(order, known)][:MOST]
    asked = rest if data.test is None else np.arange(len(order))
    true = data.validation[rest] if data.test is None else data.test
    begin = time.process_time()
    learner = make(model, name, draw)
    learner.fit([data.architectures[i] for i in known], data.validation[known])
    middle = time.process_time()
    predicted = scores(learner, [data.architectures[i] for i in asked])
    end = time.process_time()
    return {
        "table": name, "model": model, "labels": labels, "draw": draw,
        "protocol": "rest" if data.test is None else "P1", "tau": kendall_tau(predicted, true),
        "fit": round(middle - begin, 3), "rank": round(end - middle, 3), "settings": settings(learner),
    }  # fmt: skip


def designed(data: Data, pool: np.ndarray, labels: int, draw: int) -> np.ndarray:
    """Rows of the pool that a design of so many labels chooses."""
    from predictors.design import design

    candidates = [data.architectures[i] for i in pool]
    row = {id(a): i for a, i in zip(candidates, pool, strict=True)}
    return np.array([row[id(a)] for a in design(data.space, labels, np.random.default_rng(draw), candidates)])


def settings(learner: Any) -> dict[str, Any]:
    """The arguments of a model, as they come back from JSON."""
    found: dict[str, Any] = json.loads(json.dumps({k: v for k, v in learner.arguments().items() if k != "seed"}))
    return found


def scores(learner: Any, architectures: Sequence[Architecture]) -> np.ndarray:
    if hasattr(learner, "predict"):
        return np.asarray(learner.predict(architectures).mean)
    return np.asarray(learner.rank_scores(architectures, architectures[:1]))


# -- the file of rows ---------------------------------------------------------------------------


def known_rows(path: Path, wanted: Iterable[Cell]) -> dict[Cell, Row]:
    """Rows of earlier runs; left out are lines cut short by a kill and rows of models that have other defaults now."""
    rows, wanted, current = {}, set(wanted), {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        cell = row["table"], row["model"], row["labels"], row["draw"]
        if cell not in wanted:
            continue
        name = row["model"], row["table"]
        if name not in current:
            current[name] = settings(make(row["model"], row["table"], 0))
        if row["settings"] == current[name]:
            rows[cell] = row
    return rows


def append(path: Path, row: Row) -> None:
    """One write of one whole line, so that two processes can share the file."""
    with path.open("ab+") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # what a kill cut short stands alone
                file.write(b"\n")
        file.write(json.dumps(row).encode() + b"\n")


# -- what is printed ----------------------------------------------------------------------------


class Behind(NamedTuple):
    """Mean difference to the best model over the draws that both have, with its interval."""

    mean: float
    low: float
    high: float


def behind(best: dict[int, float], other: dict[int, float]) -> Behind:
    """How far another model is behind the best one, in tau by draw (NaN bounds below two common draws)."""
    from scipy.stats import t

    difference = np.array([best[draw] - other[draw] for draw in sorted(best.keys() & other.keys())])
    if len(difference) < 2:
        return Behind(float(difference.mean()) if len(difference) else float("nan"), float("nan"), float("nan"))
    half = t.ppf((1 + LEVEL) / 2, len(difference) - 1) * difference.std(ddof=1) / len(difference) ** 0.5
    return Behind(float(difference.mean()), float(difference.mean() - half), float(difference.mean() + half))


def show(rows: Iterable[Row], tables: Sequence[str], labels: Sequence[int]) -> None:
    found: dict[tuple[str, int], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["table"], row["labels"]][row["model"]].append(row)
    verdicts = []
    for table in tables:
        for n in labels:
            mine = found[table, n]
            if not mine:
                continue
            taus = {m: {row["draw"]: 100 * row["tau"] for row in group} for m, group in mine.items()}
            best = max(taus, key=lambda m: np.mean(list(taus[m].values())))
            protocol = next(iter(mine.values()))[0]["protocol"]
            print(f"\n{table}, {n} labels, protocol {protocol}")
            print(
                f"{'model':<20}{'tau x 100':>10}{'s.d.':>6}{'draws':>7}{'behind':>9}{'95 % interval':>17}{'CPU s: fit':>12}{'rank':>7}"
            )
            for model in sorted(taus, key=lambda m: -np.mean(list(taus[m].values()))):
                values = list(taus[model].values())
                spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
                gap = behind(taus[best], taus[model])
                interval = "" if model == best else f"{gap.low:.1f} .. {gap.high:.1f}"
                seconds = "".join(
                    f"{np.median([row[part] for row in mine[model]]):>{width}.1f}"
                    for part, width in (("fit", 12), ("rank", 7))
                )
                print(
                    f"{model:<20}{np.mean(values):>10.1f}{spread:>6.1f}{len(values):>7}{gap.mean:>9.1f}{interval:>17}{seconds}"
                )
            if DEFAULT in taus:
                verdicts.append(
                    (table, n, best, np.mean(list(taus[DEFAULT].values())), behind(taus[best], taus[DEFAULT]))
                )
    if verdicts:
        print(f"\nIs the default predictor, {DEFAULT}, the best one or within the interval of the best?")
        print(f"{'table':<28}{'labels':>7}{DEFAULT:>8}{'behind':>9}{'95 % interval':>17}  {'best model':<20}")
        yes = 0
        for table, n, best, tau, gap in verdicts:
            good = best == DEFAULT or gap.low <= 0
            yes += good
            interval = "" if best == DEFAULT else f"{gap.low:.1f} .. {gap.high:.1f}"
            print(f"{table:<28}{n:>7}{tau:>8.1f}{gap.mean:>9.1f}{interval:>17}  {best:<20}{'yes' if good else 'no'}")
        print(f"yes in {yes} of {len(verdicts)}")


# -- the command --------------------------------------------------------------------------------


def shard(text: str) -> tuple[int, int]:
    """``i/n`` with 1 <= i <= n."""
    part, _, of = text.partition("/")
    if not (part.isdigit() and of.isdigit() and 1 <= int(part) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 1/2")
    return int(part), int(of)


def in_shard(table: int, draw: int, tables: int, shard: tuple[int, int]) -> bool:
    """Whether all models on this draw of this table belong to the shard."""
    part, of = shard
    return (draw * tables + table) % of == part - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two tables, 78 labels, two draws")
    parser.add_argument("--labels", help="numbers of labels, separated by commas (default 78,156)")
    parser.add_argument("--tables", help=f"tables, separated by commas (default: all of {', '.join(TABLES)})")
    parser.add_argument("--models", help=f"models, separated by commas (default: {', '.join(models())})")
    parser.add_argument("--repeats", type=int, help="draws of the labelled architectures (default 10)")
    parser.add_argument("--shard", type=shard, default=(1, 1), help="the part of the work to do, such as 1/2")
    parser.add_argument(
        "--results", type=Path, default=Path("predictors.jsonl"), help="file of rows (default: %(default)s)"
    )
    given = parser.parse_args()
    labels = [int(n) for n in (given.labels or ("78" if given.quick else "78,156")).split(",")]
    tables = given.tables.split(",") if given.tables else QUICK if given.quick else TABLES
    chosen = given.models.split(",") if given.models else list(models())
    repeats = given.repeats or (2 if given.quick else 10)
    if wrong := [*{m.removesuffix(_DESIGN).split("+")[0] for m in chosen} - set(models()), *set(tables) - set(TABLES)]:
        parser.error(f"no such model or table: {', '.join(sorted(wrong))}")
    # Draw by draw through all tables: what a run that is cut short has measured is complete up to a draw.
    wanted = [(t, m, n, d) for d in range(repeats) for t in tables for n in labels for m in chosen]
    rows = known_rows(given.results, wanted)
    for cell in wanted:
        table, _, n, draw = cell
        mine = in_shard(tables.index(table), draw, len(tables), given.shard)
        if mine and cell not in rows and n < 0.8 * len(data_of(table).architectures):
            row = measure(cell)
            append(given.results, row)
            rows[cell] = row
            print(*cell, f"{row['tau']:.4f}", f"{row['fit']:.1f} + {row['rank']:.1f} s", flush=True)
    show(known_rows(given.results, wanted).values(), tables, labels)


if __name__ == "__main__":
    try:
        main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
