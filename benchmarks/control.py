"""Agents from pixels: python benchmarks/control.py [--quick] [--procgen] [--only TEXT] [--shard 1/2] [--show]

    impala      the IMPALA encoder, trained with PPO from scratch
    supernet    RL-DARTS: the supernet of the micro operations, which acts while its weights and architecture are learned
    derived     the cell that the supernet of the same seed ends with, trained from scratch in the macro
    random      two random cells a seed, trained in the same way

on two games, catching a ball and mazes (with --procgen CoinRun and Procgen's mazes), 3 seeds. All have equal channels, cells, steps and
settings of PPO; alpha has ten times the learning rate of the weights. After every pass, the return of 128 episodes on validation seeds is measured; in the end, that of the last agent
on test seeds. Every row is one training; finished rows are appended to a file of JSON lines, a second run computes what is
missing, and a supernet goes on from the end of its last pass. Seconds are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import torch

from graphnas.architecture import Architecture
from graphnas.compile import compile
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import train
from graphnas.oneshot.acting import SupernetPolicy
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.methods import get
from graphnas.oneshot.optimisers import Adam
from graphnas.oneshot.schedules import Constant
from graphnas.tasks.control.ppo import PPO
from graphnas.tasks.control.task import ControlTask
from spaces import control
from spaces.control_network import impala

SEEDS = (0, 1, 2)
RANDOM = 2
SIZE = {"channels": 8, "cells": 2, "stages": 2, "dense": 64}
GAMES = {"catch": "graphnas/Catch-v0", "maze": "graphnas/Maze-v0"}
PROCGEN = {"coinrun": "procgen/coinrun", "procgen-maze": "procgen/maze"}
PROCGEN_SIZE = {"channels": 8, "cells": 1, "stages": 3, "dense": 64}
EPOCHS = {"catch": 16, "maze": 32, "coinrun": 12, "procgen-maze": 12}
ARCHITECTURE = Adam(Constant(5e-3), epsilon=1e-5, clip=0.5)
"""Ten times the rate of the weights: in 1,000 steps, a hundredth of the paper's, alpha would hardly move with theirs."""
KEYS = ("game", "agent", "seed", "cell", "quick")
Row = dict[str, Any]


def task_of(row: Row) -> ControlTask:
    procgen = row["game"] in PROCGEN
    objective = PPO(discount=0.999 if procgen else 0.99, reward=0.1 if procgen else 1.0)
    if row["quick"]:
        objective = replace(objective, environments=8, length=16, rollouts=2, batch=64)
    environment = {**GAMES, **PROCGEN}[row["game"]]
    return ControlTask(environment, objective, name=row["game"], episodes=16 if row["quick"] else 128)


def size_of(row: Row) -> dict[str, int]:
    return PROCGEN_SIZE if row["game"] in PROCGEN else SIZE


def epochs_of(row: Row) -> int:
    return 2 if row["quick"] else EPOCHS[row["game"]]


def steps_of(task: ControlTask) -> int:
    """Steps of a pass."""
    ppo = task.objective
    assert isinstance(ppo, PPO)
    return ppo.environments * ppo.length * ppo.rollouts


def trained(row: Row, network: Architecture) -> Row:
    """An agent from scratch: the curve, and the last agent on test seeds."""
    task, start = task_of(row), time.process_time()
    module = compile(network, seed=row["seed"])
    generator = torch.Generator().manual_seed(row["seed"])
    recipe = replace(Recipe.for_kind("image"), **task.recipe)
    history = train(module, task, recipe, Fidelity(epochs_of(row)), generator)
    curve = [(steps_of(task) * e.number, e.validation["return"]) for e in history.epochs]
    made = {"curve": curve, "test": task.evaluate(module, "test")["return"], "best_epoch": history.best}
    return {**row, **made, "params": sum(p.numel() for p in module.parameters()), "cpu": time.process_time() - start}


def searched(row: Row, folder: Path) -> tuple[GradientSearch, list[tuple[int, float]]]:
    """The finished search of a seed, and the supernet's validation returns."""
    task, curve = task_of(row), []
    method = replace(get("rl_darts"), architecture=ARCHITECTURE)
    name = f"{row['game']}-{row['seed']}{'-quick' if row['quick'] else ''}"
    search = GradientSearch(
        control.space(),
        task,
        None,
        method,
        epochs=epochs_of(row),
        size=size_of(row),
        seed=row["seed"],
        store=folder / f"{name}.db",
    )
    kept = folder / f"{name}.curve.json"  # beside the checkpoint: a search that goes on knows its past
    known = json.loads(kept.read_text()) if kept.exists() else []

    def measure(epoch: int, epochs: int, figures: Any) -> None:
        found = task.measured(policy_of(search), "validation")["return"]
        curve[:] = [*known[: epoch - 1], *curve[len(known[: epoch - 1]) : epoch - 1], (steps_of(task) * epoch, found)]
        kept.write_text(json.dumps(curve))

    search.on_epoch = measure
    search.run()
    return search, curve or known


def policy_of(search: GradientSearch) -> SupernetPolicy:
    state = search.state
    assert state is not None
    mix = search.method.relaxation.expected(search.supernet.groups, state.alpha, 1.0)
    return SupernetPolicy(search.problem, state.weights, mix.detached())


def found(row: Row, folder: Path) -> Row:
    task, start = task_of(row), time.process_time()
    signature, size, space = task.signature, size_of(row), control.space()
    if row["agent"] == "impala":
        return trained(row, impala(signature, **size))
    if row["agent"] == "random":
        drawn = space.sample(np.random.default_rng([row["seed"], row["cell"]]))
        return {**trained(row, space.network(drawn, signature, **size)), "architecture": space.describe(drawn)}
    search, curve = searched(row, folder)
    assert search.derived is not None
    assert search.state is not None
    if row["agent"] == "derived":
        network = space.network(search.derived, signature, **size)
        return {**trained(row, network), "architecture": space.describe(search.derived)}
    params = sum(p.numel() for p in search.supernet.parameters())
    made = {"curve": curve, "test": task.measured(policy_of(search), "test")["return"], "params": params}
    alpha = {name: a.tolist() for name, a in search.state.alpha.items()}
    return {**row, **made, "alpha": alpha, "cpu": time.process_time() - start}


def plan(quick: bool, procgen: bool) -> list[Row]:
    """A seed's four agents stand together: the derived cell needs the supernet."""
    rows = []
    for game in PROCGEN if procgen else GAMES:
        for seed in SEEDS[:1] if quick else SEEDS:
            for agent in ("impala", "supernet", "derived", "random"):
                for cell in range(RANDOM if agent == "random" and not quick else 1):
                    rows.append({"game": game, "agent": agent, "seed": seed, "cell": cell, "quick": quick})
    return rows


def show(rows: list[Row]) -> None:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["game"], row["agent"]), []).append(row)
    print(
        f"{'game':<14}{'agent':<10}{'test':>8}{'':>10}{'params':>10}{'CPU s':>8}  validation return after so many 1,000 steps"
    )
    for (game, agent), members in groups.items():
        tests = [r["test"] for r in members]
        spread = f" +- {statistics.stdev(tests):.3f}" if len(tests) > 1 else ""
        curve = []
        length = min(len(r["curve"]) for r in members)
        for i in sorted({max(0, round(length * part) - 1) for part in (1 / 8, 1 / 4, 1 / 2, 1)}):
            mean = statistics.fmean(r["curve"][i][1] for r in members)
            curve.append(f"{members[0]['curve'][i][0] / 1000:.0f}: {mean:.2f}")
        params = statistics.fmean(r["params"] for r in members)
        cpu = statistics.fmean(r["cpu"] for r in members)
        mean = statistics.fmean(tests)
        print(f"{game:<14}{agent:<10}{mean:>8.3f}{spread:>10}{params:>10,.0f}{cpu:>8.0f}  {', '.join(curve)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="two passes of 256 steps, one seed: whether everything runs"
    )
    parser.add_argument(
        "--procgen", action="store_true", help="Procgen's CoinRun and mazes instead (graphnas[procgen])"
    )
    parser.add_argument("--only", default="", help="rows whose 'game agent seed' contains this text")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="of every N pairs of game and seed the I-th")
    parser.add_argument("--show", action="store_true", help="print what is known and measure nothing")
    parser.add_argument("--results", type=Path, default=Path("control.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    part, of = map(int, arguments.shard.split("/"))
    folder = arguments.results.with_suffix(".searches")
    folder.mkdir(parents=True, exist_ok=True)
    text = arguments.results.read_text() if arguments.results.exists() else ""
    rows = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    wanted = plan(arguments.quick, arguments.procgen)
    pairs = list(dict.fromkeys((row["game"], row["seed"]) for row in wanted))
    done = {tuple(row[k] for k in KEYS) for row in rows}
    for row in wanted:
        mine = pairs.index((row["game"], row["seed"])) % of == part - 1
        if arguments.show or not mine or tuple(row[k] for k in KEYS) in done:
            continue
        if arguments.only not in f"{row['game']} {row['agent']} {row['seed']}":
            continue
        rows.append(found(row, folder))
        with arguments.results.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        show(rows[-1:])
    print()
    names = {row["game"] for row in wanted}
    show([row for row in rows if row["quick"] == arguments.quick and row["game"] in names])


if __name__ == "__main__":
    main()
