"""Found against manual routability models: python benchmarks/eda_quality.py [--task nets|hotspots] [--shard 1/2]

Tasks are the rate of violated nets (Kendall's tau-b) and hotspots (ROC-AUC) on the held-out families of the data set of the
package; labels are shorts left by qrouter on OSU035. For every seed:

plain     zero, RUDY, gradient boosting; and as "ceiling" the labels of the other routing effort (hotspots smoothed): how far labels
          agree with themselves. A smooth prediction may rank tiles better than one noisy routing does
manual    every manual model, trained from the seed by the recipe of the task
found     guide-DAG search, predictor-guided search and random search with equal numbers of evaluations: short trainings of
          narrow networks averaged over folds of families of the training and validation parts. The best are evaluated
          again from other seeds; the best mean is trained as manual models are: same epochs, recipe and number of networks. The
          space has messages through nets as an operation, as one of the manual models has them

The test part is read once by each trained network. Rows are appended to a file of JSON lines, what was said of the test placements to
the folder beside it, and a stopped search goes on from its store there. A second run does what is missing, with --shard
several runs share the work; --show prints the tables of what is there. --quick makes two small rows of everything.

Intervals are those of the bootstrap over designs, of the mean over seeds; those of a margin draw the same designs for both.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

THREADS = 1
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = str(THREADS)

import numpy as np
import torch

from eda import baselines
from eda.dataset import Dataset
from eda.dataset_files import load
from eda.development import Budget, ceiling, chosen, fit, proxy, task_of
from eda.metrics import Interval, over_designs
from eda.model import space_of
from eda.models.manual import MODELS, manual
from eda.tasks import RoutabilityTask
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import isolated, train
from graphnas.search import Search

TASKS = ("nets", "hotspots")
MAIN = {"nets": "tau", "hotspots": "auc"}
TARGET = {"nets": 5.85, "hotspots": 2.12}
"""Relative margin over the best manual model that is aimed at, in percent: those of Chang et al. on their data."""
PLAIN = {"nets": (*baselines.NETS, "ceiling"), "hotspots": (*baselines.HOTSPOTS, "ceiling")}
STRATEGIES: dict[str, dict[str, Any]] = {"guide_dag": {}, "guided": {}, "random": {}}
DRAWS = 200

Row = dict[str, Any]
Said = list[np.ndarray]


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Args:
        seeds: of every row.
        budget: of trainings; ``searched`` takes the place of its architectures, which earlier rows name in their settings.
        batch: of a search.
        placements: of a design at most.
        manual: models; all by default.
        searched: architectures that a search trains.
    """

    seeds: int
    budget: Budget
    batch: int
    placements: int
    manual: tuple[str, ...] = ()
    searched: int = 3


FULL = Sizes(
    3,
    Budget(architectures=30, epochs=4, channels=8, folds=3, finalists=4, again=2, full_epochs=30, full_repeats=1),
    5,
    99,
    searched=60,
)
QUICK = Sizes(1, Budget(architectures=3, epochs=1, channels=4, folds=2, finalists=2, again=1, full_epochs=2, full_repeats=1,
              full_channels=8), 2, 2, ("FLNet", "LHNN"))  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One row to be measured."""

    task: str
    part: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        graph = "-graph" if self.part == "found" else ""  # apart from files of searches without nets
        return f"{self.task}-{self.part}-{self.method}-{self.seed}{graph}".replace(" ", "_")


def cells(sizes: Sizes, tasks: Sequence[str]) -> Iterator[Cell]:
    """All rows, seed by seed; within a seed what the comparison needs most comes first."""
    for seed in range(sizes.seeds):
        for task in tasks:
            if seed == 0:
                yield from (Cell(task, "plain", name, 0) for name in PLAIN[task] if name != "gradient boosting")
            yield Cell(task, "plain", "gradient boosting", seed)
        yield from (Cell(task, "found", "guide_dag", seed) for task in tasks)
        for task in tasks:
            yield from (Cell(task, "manual", name, seed) for name in sizes.manual or MODELS[task])
        yield from (Cell(task, "found", name, seed) for task in tasks for name in STRATEGIES if name != "guide_dag")


# -- measurements -------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def data_of(placements: int) -> Dataset:
    """The data set of the package, at most so many placements of a design."""
    dataset, seen = load(), dict[str, int]()
    kept = []
    for sample in dataset:
        seen[sample.design] = seen.get(sample.design, 0) + 1
        if seen[sample.design] <= placements:
            kept.append(sample)
    return Dataset(dataset.maps, tuple(kept), dataset.tile)


@lru_cache(maxsize=4)
def task_on(name: str, placements: int, graph: bool = False) -> RoutabilityTask:
    return task_of(name, data_of(placements), graph=graph)


def plain(cell: Cell, sizes: Sizes, folder: Path) -> tuple[Row, Said]:
    task = task_on(cell.task, sizes.placements)
    if cell.method == "ceiling":
        return {}, ceiling(task, "test")
    samples = task.samples("test")
    if cell.task == "nets":
        numbers = baselines.NETS[cell.method](task.dataset, task.effort, cell.seed)(samples)
        return {}, [np.array([value]) for value in numbers]
    return {}, [m[None] for m in baselines.HOTSPOTS[cell.method](task.dataset, task.effort, cell.seed)(samples)]


def by_hand(cell: Cell, sizes: Sizes, folder: Path) -> tuple[Row, Said]:
    model = manual(cell.task, cell.method)
    task = task_on(cell.task, sizes.placements, model.graph)
    first, second = np.random.SeedSequence([cell.seed, 0, 7]).generate_state(2).tolist()
    with isolated(first, THREADS, torch.device("cpu")):
        network = model.build(task.preparation.channels)
    recipe = Recipe(**{**Recipe().describe(), **task.recipe})
    history = train(network, task, recipe, Fidelity(sizes.budget.full_epochs), torch.Generator().manual_seed(second))
    best = history.best_epoch
    row = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "validation": best.validation if best is not None else {},
        "epoch": history.best,
    }
    return row, task.outputs(network, "test")


def found(cell: Cell, sizes: Sizes, folder: Path) -> tuple[Row, Said]:
    budget = replace(sizes.budget, architectures=sizes.searched)
    task, space = task_on(cell.task, sizes.placements, graph=True), space_of(cell.task, graph=True)
    estimator = proxy(cell.task, data_of(sizes.placements), budget, graph=True)
    begin = time.process_time()
    search = Search(
        space,
        estimator,
        cell.method,
        options=STRATEGIES[cell.method],
        budget=budget.architectures,
        seed=cell.seed,
        batch=sizes.batch,
        store=str(folder / f"{cell.name}.db"),
    )
    trials = [t for t in search.run().trials if t.status == "complete"]
    architecture, again = chosen(trials, estimator, budget, cell.seed)
    spent = time.process_time() - begin
    model = fit(cell.task, task, architecture, budget, cell.seed)
    said = task.outputs(model.networks[0], "test")
    return {
        "parameters": sum(p.numel() for p in model.networks[0].parameters()),
        "validation": task.evaluate(model.networks[0], "validation"),
        "scores": [round(t.score, 5) for t in sorted(trials, key=lambda t: t.number)],
        "again": again,
        "decisions": list(space.encode(architecture)),
        "cpu_search": round(spent, 1),
        "seconds_search": round(sum(t.seconds for t in trials), 1),
    }, said


MEASURE: dict[str, Callable[[Cell, Sizes, Path], tuple[Row, Said]]] = {
    "plain": plain,
    "manual": by_hand,
    "found": found,
}


def settings(sizes: Sizes, part: str) -> Row:
    """What rows of one part of a table have in common."""
    searched = {"architectures": sizes.searched, "graph": True} if part == "found" else {}
    return json.loads(  # type: ignore[no-any-return]
        json.dumps({**vars(sizes.budget), "batch": sizes.batch, "placements": sizes.placements, **searched})
    )


def measure(cell: Cell, sizes: Sizes, folder: Path) -> Row:
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.process_time()
    more, said = MEASURE[cell.part](cell, sizes, folder)
    task = task_on(cell.task, sizes.placements)
    np.savez_compressed(
        folder / f"{cell.name}.npz", said=np.concatenate([np.ravel(each) for each in said]).astype(np.float32)
    )
    test = task.measure(said, task.samples("test"))
    cpu = round(time.process_time() - begin, 1)
    return {**vars(cell), "settings": settings(sizes, cell.part), "test": test, **more, "cpu": cpu}


def known_rows(path: Path, sizes: Sizes) -> dict[Cell, Row]:
    """Rows of earlier runs with the same settings; a line cut short by a kill is left out."""
    rows, now = {}, {part: settings(sizes, part) for part in MEASURE}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["settings"] == now.get(row["part"]):
            rows[Cell(row["task"], row["part"], row["method"], row["seed"])] = row
    return rows


# -- tables -------------------------------------------------------------------------------------


def said_of(cell: Cell, task: RoutabilityTask, folder: Path) -> Said:
    """What a row said of the test placements."""
    with np.load(folder / f"{cell.name}.npz") as archive:
        flat = archive["said"].astype(np.float64)
    shapes = [(1,) if cell.task == "nets" else (1, *s.features.shape[1:]) for s in task.samples("test")]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]


def measured(
    methods: Mapping[str, Sequence[Said]], task: RoutabilityTask, best: str, others: Sequence[str]
) -> dict[str, Interval]:
    """Of the main metric the means over seeds, and as ``a>best`` the margins over ``best`` in percent, with intervals."""
    samples = task.samples("test")
    key = task.metric.name

    def values(rows: np.ndarray) -> dict[str, float]:
        some = [samples[i] for i in rows]
        made = {
            name: float(np.mean([task.measure([each[i] for i in rows], some)[key] for each in seeds]))
            for name, seeds in methods.items()
        }
        margins = {f"{name}>{best}": 100 * (made[name] / made[best] - 1) for name in others if best in made}
        return {**made, **margins}

    return over_designs(values, [s.design for s in samples], np.random.default_rng(0), DRAWS)


def show(rows: Mapping[Cell, Row], sizes: Sizes, folder: Path, tasks: Sequence[str]) -> None:
    for name in tasks:
        mine = {cell: row for cell, row in rows.items() if cell.task == name}
        if mine:
            _show_task(name, mine, sizes, folder)
            _show_searches(mine)


def _label(cell: Cell) -> str:
    return f"{cell.part}: {cell.method}"


def _show_task(name: str, rows: Mapping[Cell, Row], sizes: Sizes, folder: Path) -> None:
    task, key = task_on(name, sizes.placements), MAIN[name]
    groups: dict[str, list[Cell]] = {}
    for cell in rows:
        groups.setdefault(_label(cell), []).append(cell)
    mean = {label: float(np.mean([rows[c]["test"][key] for c in some])) for label, some in groups.items()}
    by_hand_ = {label: value for label, value in mean.items() if label.startswith("manual")}
    best = max(by_hand_, key=lambda label: by_hand_[label]) if by_hand_ else ""
    others = [label for label in groups if label.startswith("found")]
    intervals = measured(
        {label: [said_of(c, task, folder) for c in some] for label, some in groups.items()}, task, best, others
    )
    samples = task.samples("test")
    print(
        f"\n{name}: {len(samples)} placements of {len({s.design for s in samples})} designs, mean over seeds [95 % over designs]"
    )
    metrics = list(next(iter(rows.values()))["test"])
    print(
        f"{'':<26}{'seeds':>6}"
        + "".join(f"{m:>15}" if m != key else f"{m:>24}" for m in metrics)
        + f"{'parameters':>12}{'cpu s':>9}"
    )
    for label in sorted(groups, key=lambda label: mean[label]):
        some = [rows[cell] for cell in groups[label]]
        line = f"{label:<26}{len(some):>6}"
        for m in metrics:
            value = float(np.mean([row["test"][m] for row in some]))
            line += (
                f"{value:>15.4f}"
                if m != key
                else f"{value:>8.4f} [{intervals[label].low:.3f}, {intervals[label].high:.3f}]"
            )
        print(line + f"{some[0].get('parameters', 0):>12,}{np.mean([row['cpu'] for row in some]):>9.0f}")
    for label in others if best else ():
        margin = intervals[f"{label}>{best}"]
        verdict = "reached" if margin.value >= TARGET[name] else "not reached"
        print(
            f"{label} over {best}: {margin.value:+.2f} % [{margin.low:+.2f}, {margin.high:+.2f}]; aim {TARGET[name]} %: {verdict}"
        )


def _show_searches(rows: Mapping[Cell, Row]) -> None:
    searches = {cell: row for cell, row in rows.items() if cell.part == "found"}
    if not searches:
        return
    print(
        f"{'search':<12}{'seeds':>6}{'best of search':>16}{'evaluated again':>17}{'minutes':>9}   best - random, seed by seed"
    )
    for method in STRATEGIES:
        some = {cell.seed: row for cell, row in searches.items() if cell.method == method}
        if not some:
            continue
        top = [max(row["scores"]) for row in some.values()]
        pairs = [
            max(row["scores"]) - max(other["scores"])
            for seed, row in sorted(some.items())
            for cell, other in searches.items()
            if cell.method == "random" and cell.seed == seed and method != "random"
        ]
        minutes = np.mean([row["seconds_search"] for row in some.values()]) / 60
        again = np.mean([row["again"] for row in some.values()])
        text = "  ".join(f"{p:+.4f}" for p in pairs)
        print(f"{method:<12}{len(some):>6}{np.mean(top):>16.4f}{again:>17.4f}{minutes:>9.1f}   {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two placements of a design, few epochs and trials")
    parser.add_argument("--task", default="", choices=["", *TASKS], help="one task")
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th row (%(default)s)")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=Path, default=Path("eda_quality.jsonl"), help="file of rows (%(default)s)")
    given = parser.parse_args()
    sizes = QUICK if given.quick else FULL
    tasks = (given.task,) if given.task else TASKS
    part, of = (int(number) for number in given.shard.split("/"))
    if not 1 <= part <= of:
        raise GraphnasError(f"shard {given.shard} is not i/n with 1 <= i <= n")
    folder = given.results.with_suffix("")
    torch.set_num_threads(THREADS)
    for place, cell in enumerate([] if given.show else cells(sizes, tasks)):
        if place % of == part - 1 and cell not in known_rows(given.results, sizes):
            row = measure(cell, sizes, folder)
            given.results.parent.mkdir(parents=True, exist_ok=True)
            with given.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{cell.name}: {MAIN[cell.task]} {row['test'][MAIN[cell.task]]:.4f}, cpu {row['cpu']:.0f} s", flush=True
            )
    wanted = set(cells(sizes, tasks))
    show({cell: row for cell, row in known_rows(given.results, sizes).items() if cell in wanted}, sizes, folder, tasks)


if __name__ == "__main__":
    try:
        main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
