"""Accuracy against latency on Accel-NASBench, and the speed of look-up tables: python benchmarks/mnasnet.py

Search     500 queries on the 5,125 trained networks of Accel-NASBench (a query is an evaluated network; known ones are told for
           free), for each of three accelerators: latency on a ZCU102 (FPGA), time an image on an A100 (GPU) and a TPUv3. The figure is
           the hypervolume of all queried networks as a share of that of the whole table. Reference point: the worst accuracy and the
           worst latency of the table's front, and a tenth of the front's range beyond ("front"); or the worst of the whole table
           ("table"), which is far more lenient. Medians over seeds, with 95 % bootstrap intervals; the seeds are not those on
           which the strategies' settings were chosen. "PPO, soft reward" is MnasNet's search: one number, accuracy * (latency / T) **
           -0.07, where T is the median latency (with equal exponents T only scales the reward).
Tables     architectures a second of a look-up table, and what its sums miss: relative error against whole networks on this machine.

Rows are appended to a file of JSON lines; a second run does what is missing. The last run, or --show, prints the tables.

    python benchmarks/mnasnet.py --quick      # three seeds, the fast rows and fewer networks: a minute
    python benchmarks/mnasnet.py              # twenty seeds; about twenty minutes on one core
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np

from graphnas import registry
from graphnas.estimators.reward import LatencyReward
from graphnas.hypervolume import hypervolume
from graphnas.pareto import non_dominated
from graphnas.search import Search

TABLE = "accel_nasbench/imagenet"
DEVICES = ("zcu102", "a100", "tpuv3")
QUERIES = 500
MARKS = (100, 200, 500)
SEEDS = 20
QUICK_SEEDS = 3
ROUNDS = 7
RESAMPLES = 2000
SLOW = ("guided_front",)


@dataclass(frozen=True)
class Plan:
    """One row: a strategy, and what it searches for ("soft" or "hard" reward, "accuracy", or "front": both figures)."""

    strategy: str
    aim: str
    options: dict[str, Any] = field(default_factory=dict)
    batch: int = 1


PLANS: dict[str, Plan] = {
    "random": Plan("random", "accuracy"),
    "evolution, accuracy alone": Plan("evolution", "accuracy"),
    "evolution, soft reward": Plan("evolution", "soft"),
    "PPO, soft reward (MnasNet)": Plan("ppo", "soft"),
    "PPO, hard reward": Plan("ppo", "hard"),
    "NSGA-II": Plan("nsga2", "front"),
    "guided_front": Plan("guided_front", "front", {}, 10),
}


@lru_cache(maxsize=1)
def table_of() -> Any:
    return registry.get_table(TABLE)


def points_of(device: str) -> np.ndarray:
    """Accuracy and negated latency ``[n, 2]`` of the networks that were measured on a device."""
    columns = table_of().table.columns
    points = np.stack([columns["validation"], -columns[f"latency_{device}"]], axis=1)
    return np.asarray(points[~np.isnan(points).any(axis=1)])


def references(points: np.ndarray) -> dict[str, np.ndarray]:
    """The two reference points; see the top of the file."""
    front = points[non_dominated(points)]
    worst = front.min(axis=0)
    return {"front": worst - 0.1 * (front.max(axis=0) - worst), "table": points.min(axis=0)}


def search(device: str, label: str, seed: int) -> dict[str, Any]:
    """One search, and the share of the table's hypervolume that it had after 100, 200 and 500 queries."""
    plan, table, name = PLANS[label], table_of(), f"latency_{device}"
    points = points_of(device)
    estimator: Any = table
    if plan.aim in ("soft", "hard"):
        estimator = LatencyReward(table, name, float(np.median(-points[:, 1])), plan.aim)
    begin = time.process_time()
    result = Search(
        table.space, estimator, plan.strategy, options=plan.options, budget=QUERIES, seed=seed, batch=plan.batch,
        objectives=[estimator.metric, f"-{name}"] if plan.aim == "front" else (),
    ).run()  # fmt: skip
    cpu = time.process_time() - begin
    found = np.array([[t.metrics.get("validation", t.score), -t.metrics.get(name, np.nan)] for t in result.trials])
    row: dict[str, Any] = {"part": "search", "device": device, "strategy": label, "seed": seed, "cpu": round(cpu, 3)}
    for kind, reference in references(points).items():
        whole = hypervolume(points, reference)
        row[kind] = {str(n): hypervolume(found[:n], reference) / whole for n in MARKS}
    return {**row, "queries": len(result.trials), "stopped": result.stopped}


# -- look-up tables -------------------------------------------------------------------------------


def speed() -> Iterator[dict[str, Any]]:
    """Architectures a second: multiply-adds of MobileNet-like networks, as sums of terms and one network at a time."""
    from graphnas.cost import cost
    from graphnas.tasks.base import Signature
    from graphnas.terms import Terms

    signature = Signature("image", (3, 224, 224), 1000)
    for name in ("proxylessnas", "accel_nasbench"):
        space = registry.get_space(name)
        begin = time.perf_counter()
        terms = Terms.exact(space, lambda a, s=space: float(cost(s.network(a, signature)).macs))
        made = time.perf_counter() - begin
        rng = np.random.default_rng(0)
        architectures = [space.sample(rng) for _ in range(100_000)]
        decisions = np.array([space.encode(a) for a in architectures])
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            terms(decisions)
            times.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        for a in architectures[:20_000]:
            terms.of(a)
        single = time.perf_counter() - begin
        begin = time.perf_counter()
        for a in architectures[:100]:
            cost(space.network(a, signature))
        network = time.perf_counter() - begin
        yield {
            "part": "speed", "space": name, "seconds to make": made, "batch": 100_000 / float(np.median(times)),
            "one by one": 20_000 / single, "networks": 100 / network,
        }  # fmt: skip


def measured(networks: int) -> dict[str, Any]:
    """Latency of whole ProxylessNAS networks (64 px) on this machine against sums of layers that were measured in others."""
    import torch

    from graphnas.compile import compile
    from graphnas.cost import LatencyTable, example_inputs
    from graphnas.tasks.base import Signature
    from graphnas.timing import latency

    torch.set_num_threads(1)
    space, signature = registry.get_space("proxylessnas"), Signature("image", (3, 64, 64), 100)
    rng = np.random.default_rng(0)
    known = [space.network(space.sample(rng), signature) for _ in range(60)]
    sample = [space.network(space.sample(rng), signature) for _ in range(networks)]
    modules = [compile(network, seed=0) for network in sample]
    tables, wholes = [], []
    for _ in range(ROUNDS):  # in turn, since the speed of a shared machine drifts
        tables.append(LatencyTable().measure(known, repeats=5))
        wholes.append([latency(m, example_inputs(n), repeats=9) for m, n in zip(modules, sample, strict=True)])
    table = LatencyTable({name: float(np.median([t.entries[name] for t in tables])) for name in tables[0].entries})
    sums, whole = np.array([table.latency(network) for network in sample]), np.median(wholes, axis=0)
    errors = (sums / whole - 1).tolist()
    return {
        "part": "measured", "networks": networks, "entries": len(table.entries), "known": len(known), "errors": errors,
    }  # fmt: skip


def helped(sample: int) -> dict[str, Any]:
    """Per-operation tables fitted to measured NAS-Bench-201 networks (HELP), on the networks that were held out."""
    from graphnas.terms import Terms
    from spaces.tables.nasbench201 import table

    data = table("cifar10", latencies=True)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(data))
    fit, rest = chosen[:sample], chosen[sample:]
    medians = {}
    for name, values in data.columns.items():
        if name.startswith("latency/"):
            terms = Terms.fitted(data.space, data.decisions[fit], values[fit])
            errors = np.abs(terms.relative_errors(data.decisions[rest], values[rest]))
            medians[name.removeprefix("latency/")] = float(np.median(errors))
    return {"part": "fitted", "sample": sample, "medians": medians}


# -- rows and tables ------------------------------------------------------------------------------


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def run(path: Path, quick: bool, parts: Sequence[str]) -> None:
    rows = load(path)
    done = {(r["device"], r["strategy"], r["seed"]) for r in rows if r["part"] == "search"}
    have = {r["part"] for r in rows}

    def keep(row: dict[str, Any]) -> None:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    if "search" in parts:
        for seed in range(QUICK_SEEDS if quick else SEEDS):
            for device in DEVICES:
                for label in PLANS:
                    wanted = not (quick and label in SLOW)
                    if wanted and (device, label, seed) not in done:
                        keep(search(device, label, seed))
    if "tables" in parts:
        if "speed" not in have:
            for row in speed():
                keep(row)
        if "fitted" not in have:
            keep(helped(500))
        if "measured" not in have:
            keep(measured(3 if quick else 20))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, and its 95 % bootstrap interval over seeds."""
    found = np.asarray(values)
    drawn = np.median(found[np.random.default_rng(0).integers(len(found), size=(RESAMPLES, len(found)))], axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(np.median(found)), float(low), float(high)


def show(path: Path) -> None:
    rows = load(path)
    found = [r for r in rows if r["part"] == "search"]
    for device in DEVICES:
        print(f"\n{device}: share of the table's hypervolume in %, median over seeds")
        heads = "".join(f"{f'{n} queries':>13}" for n in MARKS)
        print(f"{'strategy':<36}{'seeds':>6}{heads}{'95 % interval':>17}{'table ref.':>12}{'CPU s':>8}")
        for label in PLANS:
            mine = [r for r in found if r["device"] == device and r["strategy"] == label]
            if not mine:
                continue
            marks = "".join(f"{100 * float(np.median([r['front'][str(n)] for r in mine])):>13.2f}" for n in MARKS)
            _, low, high = interval([r["front"][str(QUERIES)] for r in mine])
            lenient = 100 * float(np.median([r["table"][str(QUERIES)] for r in mine]))
            cpu = float(np.median([r["cpu"] for r in mine]))
            between = f"{100 * low:.2f} to {100 * high:.2f}"
            print(f"{label:<36}{len(mine):>6}{marks}{between:>17}{lenient:>12.2f}{cpu:>8.2f}")
    for r in rows:
        if r["part"] == "speed":
            print(
                f"\n{r['space']}: {r['batch']:,.0f} architectures a second in batches of 100,000, {r['one by one']:,.0f} one by one; "
                f"{r['networks']:,.0f} by building networks (table made in {r['seconds to make']:.1f} s)"
            )
        elif r["part"] == "measured":
            errors = np.array(r["errors"])
            print(
                f"\nsum of layers against whole ProxylessNAS networks, 64 px, this machine: median error "
                f"{100 * np.median(np.abs(errors)):.1f} % (signed {100 * np.median(errors):+.1f} %) of {r['networks']} networks, "
                f"{r['entries']} layers, measured in {r['known']} other networks"
            )
        elif r["part"] == "fitted":
            medians = sorted(r["medians"].values())
            print(
                f"\nper-operation tables fitted to {r['sample']} NAS-Bench-201 networks on {len(medians)} devices (HELP): median error "
                f"{100 * np.median(medians):.1f} %, {sum(m < 0.1 for m in medians)} devices under 10 %, worst {100 * medians[-1]:.1f} %"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=Path("mnasnet.jsonl"), help="file of JSON lines")
    parser.add_argument("--quick", action="store_true", help="three seeds, and only the fast rows")
    parser.add_argument("--show", action="store_true", help="print the tables and run nothing")
    parser.add_argument("--parts", nargs="+", choices=("search", "tables"), default=("search", "tables"))
    given = parser.parse_args()
    if not given.show:
        run(given.rows, given.quick, given.parts)
    show(given.rows)


if __name__ == "__main__":
    main()
