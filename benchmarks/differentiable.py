"""Quality of gradient-based search: python benchmarks/differentiable.py [--quick] [--cold] [--only TEXT] [--seed N]

    nasbench201   every method with a supernet of 4 channels and 1 cell a stage on the 16-pixel CIFAR-10 data, 3 seeds; what it
                  derives is looked up in the table (test accuracy after 200 epochs, three training seeds). DARTS has 12 epochs,
                  dearer methods fewer and GDAS, which runs one operation an edge, more: all within two and a half times the seconds of
                  DARTS; and three variants
    random        random search with the seconds of a DARTS search: networks of the same size are trained for 5 epochs each on the
                  same data until the time is over; the best by validation is looked up
    s2, s4        RobustDARTS's spaces with DARTS and ZARTS-MGS: how many of the 16 derived operations are skips (S2) or noise
                  (S4), and the validation accuracy of the derived network after 10 epochs

A published search has 20 to 80 times as many steps. Alpha's steps are therefore longer (see ``adapted``), and lest they come before the
weights mean anything, these are trained first with all options weighted equally, once for each seed and kind of supernet
(``warmed_up``; --cold leaves it out). The seconds of this are shown apart.

Every row is a search of its own that is continued from its checkpoint when it was interrupted; finished rows are appended to a file of
JSON lines, and a second run computes what is missing. Seconds are those of one thread's CPU time in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import torch

from graphnas import registry
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.training import TrainingEstimator
from graphnas.oneshot.base import State
from graphnas.oneshot.gates import Every
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods import get, names
from graphnas.oneshot.optimisers import SGD, Adam
from graphnas.oneshot.perturbation import Perturbation
from graphnas.oneshot.relaxations import Softmax, StraightThroughGumbel
from graphnas.oneshot.schedules import Constant, Cosine, Schedule
from graphnas.search import trial_seed
from spaces import darts

TASK = "cifar10-16px"
SEEDS = (0, 1, 2)
BATCH, IMAGES = 16, 2_400
EPOCHS, ROBUST_EPOCHS = 12, 6
OTHERS = {"darts2": 6, "gdas": 36, "idarts": 9, "unas_edges": 5, "zarts_gld": 9, "zarts_mgs": 9, "zarts_rs": 9}
"""Epochs of methods whose steps cost more or less than those of DARTS."""
WARMUP, ROBUST_WARMUP = 30, 8
VARIANTS = {
    "snas, no cost": (replace(get("snas"), regularisers=()), EPOCHS),
    "drnas, 24 epochs": (get("drnas"), 2 * EPOCHS),
    "gdas, 60 epochs": (get("gdas"), 5 * EPOCHS),
}
"""Records and epochs. The last two have the share of their published epochs that the others have, whatever that costs."""
NOT_HERE = {"unas", "dartsformer", "rl_darts", "darts1_recurrent", "darts2_recurrent"}
"""Selectors keep two inputs of every node, which is not this space; the others are records for text and games."""
KEYS = ("part", "method", "seed", "quick", "cold")
ZARTS: dict[str, dict[str, Any]] = {
    "zarts_mgs": {"sigma": Cosine(0.2, 0.0)},
    "zarts_rs": {"sigma": Constant(0.1), "samples": 2},
    "zarts_gld": {"largest": 0.8, "smallest": 0.1},
}
NARROW = {"channels": 4, "cells": 1}
ROBUST = {"s2": ("darts_s2", "skip_connect"), "s4": ("darts_s4", "noise")}
ROBUST_SIZE = {"channels": 4, "cells": 3}


@dataclass(frozen=True)
class Scaled:
    """A schedule times a number."""

    schedule: Schedule
    factor: float

    def __call__(self, progress: float) -> float:
        return self.factor * self.schedule(progress)


def adapted(row: Mapping[str, Any], epochs: int) -> Method:
    """The method with what depends on the length of the search and the size of the data.

    A step of Adam moves a parameter by about its rate, and this search has far fewer steps than the published ones, so rates of Adam
    are multiplied by the ratio of their numbers. ZARTS adds what it finds to alpha as it is: on NAS-Bench-201 it steps twice as
    often, everywhere on five steps of the candidates' weights instead of ten, with the sigma of 0.2 that its authors take
    for RobustDARTS's spaces; the radii of its descent and the rate of its random search, which are not published, are as much
    larger. RobustDARTS looks at the curvature after every epoch and may stop after the third, not every two and after the tenth of
    50. A method's own first epochs without steps of alpha are left out where the weights were trained before.
    """
    name, quick = row["method"], row["quick"]
    method = VARIANTS[name][0] if name in VARIANTS else get(name)
    changed: dict[str, Any] = {"name": name, "batch": BATCH}
    if not quick:
        longer = method.epochs * 50_000 / method.batch / (epochs * IMAGES / BATCH)
        for part in ("inner", "architecture"):
            rule = getattr(method, part)
            if isinstance(rule, Adam):
                changed[part] = replace(rule, rate=Scaled(rule.rate, longer))
    if isinstance(method.discretiser, Perturbation):
        changed["discretiser"] = Perturbation(epochs=0 if quick else 1)
    if name.startswith("zarts"):
        changed["gate"] = Every(2 if quick else 5 if row["part"] == "nasbench201" else 10, warmup=0.2)
        changed["outer"] = replace(method.outer, steps=2 if quick else 5, **ZARTS[name])
        if name == "zarts_rs":
            changed["architecture"] = SGD(Constant(1.0))
    if method.stop is not None:
        changed["stop"] = replace(method.stop, every=1, earliest=3)
    method = replace(method, **changed)
    if isinstance(method.gate, Every) and not row["cold"]:
        method = replace(method, gate=replace(method.gate, warmup=0.0))
    return method


def search_of(row: Mapping[str, Any], folder: Path, method: Method, epochs: int, **options: Any) -> GradientSearch:
    in_table = row["part"] == "nasbench201"
    tag = f"{'-quick' if row['quick'] else ''}{'-cold' if row['cold'] else ''}"
    return GradientSearch(
        "nasbench201" if in_table else ROBUST[row["part"]][0],
        TASK,
        None,
        method,
        epochs=epochs,
        steps=2 if row["quick"] else None,
        size=NARROW if in_table else ROBUST_SIZE,
        seed=row["seed"],
        store=folder / f"{row['part']}-{method.name}-{row['seed']}{tag}.db",
        **options,
    )


def warmed_up(row: Mapping[str, Any], folder: Path, method: Method) -> State:
    """Weights that are trained before alpha moves, on the half of the data that DARTS trains on.

    All options are weighted equally; where a method's supernet has other weights or runs one option at a time (GDAS), it is that
    supernet, run in that way.
    """
    own = method.relaxation
    alone = own.channels > 1 or own.node_norm or isinstance(own, StraightThroughGumbel)
    kind = own if alone else Softmax()
    full = WARMUP if row["part"] == "nasbench201" else ROBUST_WARMUP
    shut = replace(
        get("darts1"),
        name=f"warm-up-{type(kind).__name__}",
        relaxation=kind,
        inner=replace(get("darts1").inner, rate=Constant(0.025)),
        gate=Every(1, until=0.0),
        batch=BATCH,
    )
    search = search_of(row, folder, shut, 1 if row["quick"] else full)
    search.run()
    assert search.state is not None
    return search.state.weights


def searched(row: Mapping[str, Any], folder: Path) -> tuple[GradientSearch, float]:
    """The finished search of a row, and the seconds of what comes before it."""
    name, in_table = row["method"], row["part"] == "nasbench201"
    full = VARIANTS[name][1] if name in VARIANTS else OTHERS.get(name, EPOCHS) if in_table else ROBUST_EPOCHS
    epochs = 2 if row["quick"] else full
    method = adapted(row, epochs)
    start = time.process_time()
    weights = None if row["cold"] else warmed_up(row, folder, method)
    before = time.process_time() - start
    search = search_of(row, folder, method, epochs, start=weights)
    search.run()
    return search, before


def looked_up(architecture: Any) -> dict[str, float]:
    table = registry.get_table("nasbench201/cifar10")
    return {"validation": table.evaluate(architecture, seed=0).score, **table.test(architecture)}


def found(row: Mapping[str, Any], folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    start = time.process_time()
    if row["part"] == "random":
        return {**row, **random_search(row, rows)}
    search, before = searched(row, folder)
    assert search.derived is not None
    assert search.state is not None
    last = search.state.history[-1]
    count = {"forward": search.state.count.forward, "backward": search.state.count.backward}
    figures = {"warm_up": before, "parameter_free": last["parameter_free"]}
    made = {**row, **count, "cpu": time.process_time() - start - before, **figures}
    if row["part"] == "nasbench201":
        return {**made, "architecture": search.space.describe(search.derived), **looked_up(search.derived)}
    family, bad = ROBUST[row["part"]]
    collapsed = sum(op == bad for *_, op in darts.operations(search.derived, family))
    fidelity = Fidelity(epochs=1 if row["quick"] else 10, data=0.1 if row["quick"] else 1.0, size=ROBUST_SIZE)
    trained = TrainingEstimator(search.space, registry.get_task(TASK), fidelity).evaluate(
        search.derived, seed=row["seed"]
    )
    return {**made, "collapsed": collapsed, "validation": trained.score}


def random_search(row: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The time is that of DARTS, and of the longest of what came before a search: others found that done."""
    every = [r for r in rows if r["part"] == "nasbench201" and all(r[k] == row[k] for k in ("quick", "cold"))]
    limit = statistics.fmean(r["cpu"] for r in every if r["method"] == "darts1")
    limit += max(r["warm_up"] for r in every)
    space, rng = registry.get_space("nasbench201"), np.random.default_rng(row["seed"])
    fidelity = Fidelity(epochs=1 if row["quick"] else 5, data=0.1 if row["quick"] else 1.0, size=NARROW)
    estimator = TrainingEstimator(space, registry.get_task(TASK), fidelity)
    start, trials, best = time.process_time(), 0, (-1.0, None)
    while trials == 0 or time.process_time() - start < limit:
        architecture = space.sample(rng)
        score = estimator.evaluate(architecture, seed=trial_seed(row["seed"], trials)).score
        trials += 1
        if score > best[0]:
            best = score, architecture
    made = {"trials": trials, "cpu": time.process_time() - start}
    return {**made, "architecture": space.describe(best[1]), **looked_up(best[1])}


def plan(quick: bool, cold: bool) -> list[dict[str, Any]]:
    seeds = SEEDS[:1] if quick else SEEDS
    rows = [("nasbench201", name) for name in (*names(), *VARIANTS) if name not in NOT_HERE]
    rows += [("random", "random")] + [(part, name) for part in ROBUST for name in ("darts1", "zarts_mgs")]
    return [dict(zip(KEYS, (*row, seed, quick, cold), strict=True)) for row in rows for seed in seeds]


def show(rows: list[dict[str, Any]]) -> None:
    """A line for each method: figures of the seeds in order, passes and seconds of one search on average."""
    if not rows:
        return
    print(
        f"{'':<36}{'mean':>6}{'sd':>7}  {'seeds':<22}{'forward':>8}{'backward':>9}{'CPU s':>6}  collapse, seed by seed"
    )
    order = [(r["part"], r["method"]) for r in plan(False, False)]
    for part, method in dict.fromkeys(order):
        members = sorted((r for r in rows if (r["part"], r["method"]) == (part, method)), key=lambda r: r["seed"])
        if not members:
            continue
        values = [r["test" if part in ("nasbench201", "random") else "validation"] for r in members]
        spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else ""
        each = " ".join(f"{v:.2f}" for v in values)
        forward, backward, cpu = (
            statistics.fmean(r.get(k, 0) for r in members) for k in ("forward", "backward", "cpu")
        )
        note = ""
        if "collapsed" in members[0]:
            note = f"{ROBUST[part][1]} on " + ", ".join(str(r["collapsed"]) for r in members) + " of 16"
        elif "parameter_free" in members[0]:
            note = "parameter-free " + ", ".join(f"{r['parameter_free']:.0f}" for r in members) + " of 6"
        elif "trials" in members[0]:
            note = "networks " + ", ".join(str(r["trials"]) for r in members)
        print(
            f"{part:<12}{method:<24}{statistics.fmean(values):>6.2f}{spread:>7}  {each:<22}{forward:>8.0f}{backward:>9.0f}"
            f"{cpu:>6.0f}  {note}"
        )
    before = [r["warm_up"] for r in rows if r.get("warm_up", 0) > 1]
    if before:
        print(
            f"training of the weights before, where a row is the first to need it: {min(before):.0f} to {max(before):.0f} CPU s"
        )


def known(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a line that a kill cut short is left out."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="searches of 4 steps, one seed: whether everything runs")
    parser.add_argument("--cold", action="store_true", help="start from weights as they are drawn")
    parser.add_argument("--only", default="", help="rows whose 'part method seed' contains this text")
    parser.add_argument(
        "--seed", type=int, action="append", help="only this seed; repeatable. Two processes must not share one"
    )
    parser.add_argument("--results", type=Path, default=Path("differentiable.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.results.with_suffix(".searches")
    for row in plan(arguments.quick, arguments.cold):
        other_seed = arguments.seed and row["seed"] not in arguments.seed
        if other_seed or arguments.only not in f"{row['part']} {row['method']} {row['seed']}":
            continue
        rows = known(arguments.results)
        if any(all(row[k] == r[k] for k in KEYS) for r in rows):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        made = found(row, folder, rows)
        with arguments.results.open("a") as file:
            file.write(json.dumps(made) + "\n")
        show([made])
    rows = known(arguments.results)
    print()
    show([row for row in rows if (row["quick"], row["cold"]) == (arguments.quick, arguments.cold)])


if __name__ == "__main__":
    main()
