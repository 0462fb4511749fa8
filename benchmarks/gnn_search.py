"""Searching GNNs: AGNN against its baselines: python benchmarks/gnn_search.py --part tables | search | sharing

tables   NAS-Bench-Graph, nine graphs: queries (distinct architectures, by validation) until the 99.9th percentile of the
         validation scores is reached; a search that did not in --cap queries counts as the cap and is marked by ">".
         Geometric mean over the tables, bootstrap over seeds. The table of proteins lacks nine in ten architectures;
         queries that it cannot answer fail and count. On Cora also the test score of the architecture
         that is best by validation after 200 queries (random search has 80.10).
search   Cora and CiteSeer, public split: for every seed AGNN searches its space of two layers and propagation from GAT, GCN and APPNP on,
         with --trainings trainings (of networks of at most three times GAT's multiply-adds; others are refused, and count); GCN, GAT, SAGE and GIN draw as many random hyper-parameters;
         "agnn, tuned" gives 8 of the first 18 trainings to dropout, learning rate and weight decay of the best two architectures so far, drawn as for them. The last twelve of these
         trainings choose, so that no lucky seed wins: with twice the patience they train the best six once more, and the best
         three of these two more times; only they count. The winner by mean validation loss is trained --retrain times again in
         the same way with fresh seeds, and every one of these networks reads the test split once. All are trained with consistency
         regularisation (GRAND), as long as the validation loss falls (--patience, at most --epochs), and keep its lowest epoch; "gcn, plain"
         and so on without it, by accuracy.
sharing  Cora: a chain of offspring as AGNN makes them from GAT on, scored with homogeneous sharing, free sharing and none in a tenth of
         --scratch epochs, and from scratch: Kendall's tau with training from scratch, and seconds of each.

Rows are appended to a file of JSON lines; a second run does what is missing, several runs may share the file, each with
its own --shard. --show prints the tables of what is there. --quick makes all three parts run in about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

THREADS = 1
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = str(THREADS)

import contextlib

import numpy as np
from scipy.stats import kendalltau

from graphnas import registry
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Evaluation
from graphnas.estimators.costed import Costed, NetworkCosts
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.inherited import InheritedTraining
from graphnas.estimators.sharing import Sharing
from graphnas.estimators.training import TrainingEstimator
from graphnas.search import Search
from graphnas.strategies.agnn import AGNN
from graphnas.strategies.base import Trial
from spaces.gnn import MANUAL, agnn, manual_network
from spaces.gnn_baselines import BASELINES, draw, draw_recipe

PARTS = ("tables", "search", "sharing")
NAMES = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins")
GRAPHS = ("cora", "citeseer")
FIRST_SEED = 200_000  # those below were used while the strategies were developed
QUANTILE, PROTOCOL = 0.999, 200
RESAMPLES = 2000
ROUNDS = ((6, 1), (3, 2))
"""The best so many are trained so many times again."""
DRAWN = 8
"""Of 18 trainings of a tuned search, so many draw hyper-parameters."""
LONGER = 2
"""Patience of these trainings, in proportion to that of the search."""
TRAINED = {"learning_rate": 0.05, "consistency": 1.5, "select_by": "loss"}
"""How networks are trained; the baselines draw their learning rate. Chosen by validation on both graphs, for GCN, GAT and APPNP: with 0.02 and at most
300 epochs GCN was cut off before its loss was lowest."""
LARGEST = 3
"""Multiply-adds that are allowed, in proportion to GAT's: the widest networks of the space take 60 times as many."""
FRESH = 1_000_000
"""Seeds of retraining start here: none was seen by a search."""

Row = dict[str, Any]
Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Plan:
    """How a strategy is run on the tables."""

    strategy: str
    options: dict[str, Any] = field(default_factory=dict)
    batch: int = 1


FASTER = {"learning_rate": 0.01}
"""Chosen on the table of Cora, seeds 0 to 5."""
PLANS: dict[str, Plan] = {
    "random": Plan("random"),
    "evolution": Plan("evolution", {"population": 20, "sample": 10}),
    "policy_gradient": Plan("policy_gradient"),
    "agnn": Plan("agnn", FASTER),
    "agnn, published": Plan("agnn", {"classes": "groups"}),
    "graphnas": Plan("graphnas_controller", {**FASTER, "patience": 20}),
    "graphnas, published": Plan("graphnas_controller"),
    "guided": Plan("guided", {}, 5),
}
DEFAULT = tuple(label for label in PLANS if label != "guided")


@dataclass(frozen=True)
class Sizes:
    """How much is done."""

    seeds: int
    cap: int
    trainings: int
    retrain: int
    epochs: int
    patience: int
    chain: int
    scratch: int


FULL = Sizes(seeds=20, cap=2000, trainings=30, retrain=20, epochs=1000, patience=50, chain=100, scratch=300)
QUICK = Sizes(seeds=2, cap=150, trainings=2, retrain=2, epochs=10, patience=5, chain=5, scratch=10)


class _Done(Exception):
    """All that is to be measured of a search was seen."""


# -- measurements -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def table_of(name: str) -> Any:
    return registry.get_table(f"nasbench_graph/{name}")


@lru_cache(maxsize=2)
def task_of(name: str) -> Any:
    return registry.get_task(name)


def table_row(name: str, label: str, seed: int, sizes: Sizes) -> Row:
    table, plan = table_of(name), PLANS[label]
    goal = float(np.quantile(table.table.columns[table.metric], QUANTILE))
    least = min(PROTOCOL, sizes.cap) if name == "cora" else 1
    found: dict[str, Any] = {"queries": sizes.cap, "reached": False}

    def note(trial: Trial, best: Trial | None, count: int) -> None:
        if best is None:  # the table of proteins lacks most architectures: such queries fail, and count
            return
        if best.score >= goal and not found["reached"]:
            found.update(queries=count, reached=True)
        if count == PROTOCOL and name == "cora":
            found.update(validation=best.score, test=next(iter(table.test(best.architecture).values())))
        if found["reached"] and count >= least:
            raise _Done

    begin = time.process_time()
    run = Search(
        table.space,
        table,
        plan.strategy,
        options=plan.options,
        budget=sizes.cap,
        seed=seed,
        batch=plan.batch,
        progress=note,
    )
    with contextlib.suppress(_Done):
        run.run()
    return {**found, "cap": sizes.cap, "cpu": round(time.process_time() - begin, 2)}


def search_row(name: str, method: str, seed: int, sizes: Sizes) -> Row:
    task, begin = task_of(name), time.process_time()
    rounds = ROUNDS if sizes.trainings > sum(best * again for best, again in ROUNDS) else ()
    first = sizes.trainings - sum(best * again for best, again in rounds)
    if method == "agnn":
        tried = searched(task, seed, first, sizes)
    elif method == TUNED:
        tried = searched(task, seed, first - DRAWN * first // 18, sizes)
        tried += retuned(tried, seed, first - len(tried), sizes)
    else:
        tried = tuned(task, method, seed, first, sizes)
    best, measured = chosen([longer(each) for each in tried], rounds, seed)
    spent = time.process_time() - begin
    fresh = [
        best.estimator.test(best.architecture, seed=FRESH + 1000 * seed + i)["test_accuracy"]
        for i in range(sizes.retrain)
    ]
    return {
        "validation": float(np.mean([each.metrics["validation_accuracy"] for each in measured])),
        "score": float(np.mean([each.score for each in measured])),
        "test": fresh,
        "winner": best.what,
        "trainings": sizes.trainings,
        "cpu": round(spent, 1),
        "cpu_retrain": round(time.process_time() - begin - spent, 1),
    }


def chosen(left: list[Tried], rounds: Sequence[tuple[int, int]], seed: int) -> tuple[Tried, list[Evaluation]]:
    """The best by the mean score of its further trainings (without rounds, by its first), and what these gave."""
    measured = [[each.found] * (not rounds) for each in left]
    standing = [(each.found.score, number) for number, each in enumerate(left)]
    for keep, again in rounds:
        standing = sorted(standing, reverse=True)[:keep]
        for place, (_, number) in enumerate(standing):
            each, found = left[number], measured[number]
            fresh = FRESH // 2 + 1000 * seed + len(found)
            found += [each.estimator.evaluate(each.architecture, seed=fresh + i) for i in range(again)]
            standing[place] = (float(np.mean([evaluation.score for evaluation in found])), number)
    standing = [each for each in standing if np.isfinite(each[0])]
    if not standing:
        raise GraphnasError(f"every training of seed {seed} failed")
    _, number = max(standing)
    return left[number], measured[number]


@dataclass(frozen=True)
class Tried:
    """A trained configuration and what it gave."""

    found: Evaluation
    estimator: TrainingEstimator
    architecture: Any
    what: dict[str, Any]


def longer(tried: Tried) -> Tried:
    """The same with more patience."""
    old = tried.estimator
    recipe = replace(old.recipe, patience=None if old.recipe.patience is None else LONGER * old.recipe.patience)
    return replace(tried, estimator=TrainingEstimator(old.space, old.task, old.fidelity, recipe, threads=THREADS))


def searched(task: Any, seed: int, trainings: int, sizes: Sizes) -> list[Tried]:
    """AGNN's search, which starts from the networks of the literature."""
    space = agnn(2, propagation=True)
    recipe = replace(Recipe.for_kind("node"), **{**space.recipe, **TRAINED, "patience": sizes.patience})
    estimator = TrainingEstimator(space, task, Fidelity(sizes.epochs), recipe, threads=THREADS)
    macs = NetworkCosts(space, task.signature, estimator.fidelity.size)
    limited = Costed(estimator, {"macs": macs}, {"macs": LARGEST * macs(manual_network(space))})
    options = {**FASTER, "initial": 0, "start": [list(space.encode(manual_network(space, kind))) for kind in MANUAL]}
    found = Search(space, limited, "agnn", options=options, budget=trainings, seed=seed, batch=1).run()
    return [
        Tried(Evaluation(t.score, dict(t.metrics)), estimator, t.architecture, space.describe(t.architecture))
        for t in found.trials
        if t.status == "complete"
    ]


def retuned(tried: list[Tried], seed: int, trainings: int, sizes: Sizes) -> list[Tried]:
    """The best two architectures of a search in turn, with hyper-parameters drawn as for the baselines."""
    rng = np.random.default_rng(FRESH + seed)
    best = sorted(tried, key=lambda each: -each.found.score)[:2]
    found = []
    for number in range(trainings):
        one = best[number % len(best)]
        old = one.estimator
        dropout, recipe = draw_recipe(rng, old.recipe)
        fidelity = replace(old.fidelity, size={"dropout": dropout, "attention_dropout": dropout})
        estimator = TrainingEstimator(old.space, old.task, fidelity, recipe, threads=THREADS)
        evaluation = estimator.evaluate(one.architecture, seed=int(rng.integers(2**31)))
        what = {**one.what, "dropout": dropout, **recipe.describe()}
        if np.isfinite(evaluation.score):
            found.append(Tried(evaluation, estimator, one.architecture, what))
    return found


def tuned(task: Any, method: str, seed: int, trainings: int, sizes: Sizes) -> list[Tried]:
    """A baseline with random hyper-parameters."""
    rng = np.random.default_rng(seed)
    kind, *plain = method.split(PLAIN)
    recipe = Recipe.for_kind("node") if plain else replace(Recipe.for_kind("node"), **TRAINED)
    found = []
    for _ in range(trainings):
        estimator = draw(kind, task, rng, sizes.epochs, sizes.patience, recipe)
        architecture = estimator.space.decode(())
        evaluation = estimator.evaluate(architecture, seed=int(rng.integers(2**31)))
        what = {**estimator.fidelity.describe()["size"], **estimator.recipe.describe()}
        if np.isfinite(evaluation.score):
            found.append(Tried(evaluation, estimator, architecture, what))
    return found


def sharing_row(name: str, rule: str, seed: int, sizes: Sizes) -> Row:
    """Scores of one chain: offspring of AGNN whose rewards are those of training from scratch in a tenth of the epochs."""
    space, task = agnn(2), task_of(name)
    recipe = replace(Recipe.for_kind("node"), **space.recipe)
    few = Fidelity(max(1, sizes.scratch // 10))
    estimator: TrainingEstimator
    if rule == "scratch":
        estimator = TrainingEstimator(space, task, Fidelity(sizes.scratch), recipe, threads=THREADS)
    else:
        estimator = InheritedTraining(space, task, few, recipe, sharing=Sharing(rule.split("+")[0], "+" in rule))
    scores, costs, seconds = [], [], []
    for number, a in enumerate(chain(name, seed, sizes)):
        begin = time.process_time()
        made = estimator.evaluate(a, seed=seed + number)
        seconds.append(round(time.process_time() - begin, 3))
        scores.append(made.score)
        costs.append(made.cost)
    return {"scores": scores, "costs": costs, "seconds": seconds}


def chain(name: str, seed: int, sizes: Sizes) -> list[Any]:
    """The same architectures for every rule: those of a search by AGNN whose trials are trained a tenth, without sharing."""
    return list(_chain(name, seed, sizes.chain, max(1, sizes.scratch // 10)))


@lru_cache(maxsize=1)
def _chain(name: str, seed: int, length: int, epochs: int) -> tuple[Any, ...]:
    space = agnn(2)
    estimator = TrainingEstimator(space, task_of(name), Fidelity(epochs), threads=THREADS)
    strategy = AGNN(
        space, np.random.default_rng(seed), **FASTER, initial=0, start=[space.encode(manual_network(space))]
    )
    found = Search(space, estimator, strategy, budget=length, seed=seed, batch=1).run()
    return tuple(trial.architecture for trial in found.trials)


PLAIN = ", plain"
TUNED = "agnn, tuned"
METHODS = ("agnn", TUNED, *BASELINES, *(kind + PLAIN for kind in BASELINES))
RULES = ("scratch", "none", "homogeneous", "homogeneous+outputs", "free")
MEASURE: dict[str, Callable[[str, str, int, Sizes], Row]] = {
    "tables": table_row,
    "search": search_row,
    "sharing": sharing_row,
}


def planned(part: str, sizes: Sizes, quick: bool, labels: Sequence[str]) -> Iterator[Key]:
    """What there is to measure; ``labels`` are the rows that are asked for, or none for the usual ones."""
    if part == "tables":
        for seed in range(FIRST_SEED, FIRST_SEED + sizes.seeds):
            for name in NAMES[:2] if quick else NAMES:
                for label in [x for x in PLANS if x in labels] or DEFAULT * (not labels):
                    yield part, name, label, seed
    elif part == "search":
        for seed in range(1 if quick else 5):
            for name in GRAPHS[:1] if quick else GRAPHS:
                for method in [x for x in METHODS if x in labels or not labels]:
                    yield part, name, method, seed
    else:
        for rule in RULES:
            yield part, "cora", rule, 0


# -- what is printed ----------------------------------------------------------------------------


def interval(values: np.ndarray) -> str:
    """The 95 % bootstrap interval of the mean of ``[n]``."""
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return f"[{low:.2f}, {high:.2f}]"


def show_tables(rows: dict[Key, Row]) -> None:
    print(f"\nqueries until the {100 * QUANTILE:g}th percentile of validation")
    print(f"{'':<20}{'seeds':>6}" + "".join(f"{n:>10}" for n in NAMES) + "   geometric mean        missed  CPU s")
    for label in PLANS:
        by = {n: [r for (p, t, x, _), r in rows.items() if (p, t, x) == ("tables", n, label)] for n in NAMES}
        by = {n: found for n, found in by.items() if found}
        if not by:
            continue
        cells, logs, rng = "", [], np.random.default_rng(0)
        for n in NAMES:
            if n not in by:
                cells += f"{'-':>10}"
                continue
            values = np.array([r["queries"] for r in by[n]], dtype=float)
            missed = sum(not r["reached"] for r in by[n])
            cells += f"{('>' if missed else '') + f'{values.mean():.0f}':>10}"
            draws = rng.integers(len(values), size=(RESAMPLES, len(values)))
            logs.append(np.log([values.mean(), *values[draws].mean(axis=1)]))
        means = np.exp(np.mean(logs, axis=0))
        low, high = np.quantile(means[1:], [0.025, 0.975])
        every = [r for found in by.values() for r in found]
        missed = sum(not r["reached"] for r in every)
        sign = ">" if missed else " "
        seeds = min(map(len, by.values()))
        print(
            f"{label:<20}{seeds:>6}{cells}   {sign}{means[0]:6.0f} [{low:.0f}, {high:.0f}]".ljust(141)
            + f"{missed:>4}/{len(every)}{np.median([r['cpu'] for r in every]):>7.2f}"
        )
    show_ratios(rows)
    print(
        f"\ncora, {PROTOCOL} queries, selected by validation{'':<6}validation    test   95 % interval of the mean test"
    )
    for label in PLANS:
        known = [r for (p, t, x, _), r in rows.items() if (p, t, x) == ("tables", "cora", label) and "test" in r]
        if known:
            test = np.array([r["test"] for r in known])
            mean = np.mean([r["validation"] for r in known])
            print(f"{label:<40}{len(known):>3}{mean:>17.2f}{test.mean():>8.2f}   {interval(test)}")


def show_ratios(rows: dict[Key, Row], method: str = "agnn") -> None:
    """Queries of a strategy in proportion to those of others, with the same seeds: ratio of geometric means, bootstrap over seeds."""
    found = {(t, x, s): r["queries"] for (p, t, x, s), r in rows.items() if p == "tables"}
    lines = []
    for other in PLANS:
        seeds = sorted(s for t, x, s in found if (t, x) == (NAMES[0], other) and other != method)
        seeds = [s for s in seeds if all((t, x, s) in found for t in NAMES for x in (method, other))]
        if len(seeds) < 2:
            continue
        both = np.array([[[found[t, x, s] for s in seeds] for t in NAMES] for x in (method, other)], dtype=float)
        draws = np.random.default_rng(0).integers(len(seeds), size=(RESAMPLES, len(seeds)))
        drawn = np.log(both[:, :, draws].mean(-1)).mean(1)
        ratio = np.exp(np.subtract(*np.log(both.mean(-1)).mean(1)))
        low, high = np.quantile(np.exp(drawn[0] - drawn[1]), [0.025, 0.975])
        lines.append(f"{method + ' / ' + other:<34}{len(seeds):>3}{ratio:>8.2f}   [{low:.2f}, {high:.2f}]")
    if lines:
        print(f"\n{'queries in proportion':<34}{'n':>3}{'ratio':>8}   95 % interval", *lines, sep="\n")


def show_search(rows: dict[Key, Row]) -> None:
    """Means of each search's retrainings; the interval is over searches, the spread over all retrainings."""
    print(
        f"\n{'':<22}{'seeds':>6}{'trainings':>10}{'validation':>11}{'test':>8}{'std':>6}   {'interval':<16}CPU s/search"
    )
    for name in GRAPHS:
        for method in METHODS:
            known = [r for (p, t, x, _), r in rows.items() if (p, t, x) == ("search", name, method)]
            if known:
                test = np.array([r["test"] for r in known])
                print(
                    f"{name + ' ' + method:<22}{len(known):>6}{known[0]['trainings']:>10}"
                    f"{np.mean([r['validation'] for r in known]):>11.2f}{test.mean():>8.2f}{test.std():>6.2f}   "
                    f"{interval(test.mean(axis=1)):<16}{np.mean([r['cpu'] for r in known]):.0f}"
                )


def show_sharing(rows: dict[Key, Row]) -> None:
    whole = next((r for (p, _, x, _), r in rows.items() if (p, x) == ("sharing", "scratch")), None)
    if whole is None:
        return
    print(f"\n{'':<22}{'n':>5}{'tau with scratch':>18}   {'interval':<16}{'epochs':>8}{'seconds':>9}{'of scratch':>12}")
    for (part, _, rule, _), row in rows.items():
        if part != "sharing":
            continue
        pairs = np.array([whole["scores"], row["scores"]])
        pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
        draws = np.random.default_rng(0).integers(pairs.shape[1], size=(RESAMPLES // 4, pairs.shape[1]))
        taus = np.array([kendalltau(*pairs[:, d]).statistic for d in draws])
        low, high = (
            np.quantile(taus[np.isfinite(taus)], [0.025, 0.975]) if np.isfinite(taus).any() else (np.nan, np.nan)
        )
        seconds, share = sum(row["seconds"]), sum(row["seconds"]) / sum(whole["seconds"])
        tau = kendalltau(*pairs).statistic
        print(
            f"{rule:<22}{pairs.shape[1]:>5}{tau:>18.3f}   [{low:.3f}, {high:.3f}] {sum(row['costs']):>8.0f}{seconds:>9.0f}{share:>12.3f}"
        )


def known_rows(path: Path) -> dict[Key, Row]:
    """Rows of earlier runs; a line cut short by a kill is left out."""
    rows = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["part"], row["name"], row["label"], row["seed"]] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default=",".join(PARTS), help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    rows_of = f"tables: {'; '.join(PLANS)}; search: {'; '.join(METHODS)}"
    parser.add_argument("--rows", help=f"rows, separated by semicolons ({rows_of}; default: all but guided)")
    for name in vars(FULL):
        parser.add_argument(f"--{name}", type=int, help=f"default: {getattr(FULL, name)}")
    parser.add_argument("--shard", default="1/1", help="i/n: the i-th of n shares of the rows")
    parser.add_argument("--show", action="store_true", help="only print the tables")
    parser.add_argument("--results", type=Path, help="file of rows (default: gnn_search.jsonl, or ...-quick.jsonl)")
    given = parser.parse_args()
    path = given.results or Path(f"gnn_search{'-quick' if given.quick else ''}.jsonl")
    base = QUICK if given.quick else FULL
    sizes = replace(base, **{n: getattr(given, n) for n in vars(base) if getattr(given, n) is not None})
    labels = given.rows.split(";") if given.rows else ()
    parts = given.part.split(",")
    if wrong := [*set(parts) - set(PARTS), *set(labels) - {*PLANS, *METHODS}]:
        parser.error(f"no such part or row: {', '.join(sorted(wrong))}")
    share, shares = map(int, given.shard.split("/"))
    jobs = [key for part in parts for key in planned(part, sizes, given.quick, labels)]
    done = known_rows(path)
    for key in [] if given.show else jobs[share - 1 :: shares]:
        if key not in done:
            part, name, label, seed = key
            row = {
                **dict(zip(("part", "name", "label", "seed"), key, strict=True)),
                **MEASURE[part](name, label, seed, sizes),
            }
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            shown = {k: v for k, v in row.items() if not isinstance(v, (list, dict))}
            print(*shown.values(), flush=True)
    rows = known_rows(path)
    for part, show in (("tables", show_tables), ("search", show_search), ("sharing", show_sharing)):
        if part in parts and any(key[0] == part for key in rows):
            show(rows)


if __name__ == "__main__":
    try:
        main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
