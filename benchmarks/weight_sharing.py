"""When shared weights rank architectures: python benchmarks/weight_sharing.py [--quick] [--seeds SEED ...] [--only PART ...] [--show]

Supernets of NAS-Bench-201 with 4 channels and 1 cell a stage, trained by 200 epochs (60 for each part) on the 16-pixel CIFAR-10 data, 3
seeds. What they say of 1,000 uniform
architectures, and of 500 of the tenth with the highest test accuracy, is compared with the table (test accuracy on CIFAR-10 at full
size after 200 epochs), by Kendall's tau with a 95 % interval over the architectures (bootstrap).

    one_shot         validation accuracy with the weights of one supernet, statistics recalibrated
    one_shot_angle   the angle of that supernet (true labels)
    X_options        the angle of the options alone, without the layers that all architectures share (see Angle)
    few_shot         five sub-supernets, the operations of edge 0->1 apart, each tuned from the one-shot weights
    gradient         four sub-supernets by two rounds of gradient matching (GM-NAS)
    rlnas            the angle of a supernet trained on random labels; its search is the paper's evolution
    rlnas_few_shot   five sub-supernets trained on random labels
    fitted_X         the GCN predictor fitted to the scores that X gives to the 1,000 uniform architectures
    both             mean rank by one_shot and one_shot_options
    random           random search with the CPU seconds of few_shot: networks of the same size, 5 epochs each
    size             no weights: the number of parameters as the score; and the tau of each score above among architectures of equal
                     number (the groups of more than 20, by their sizes), which size alone cannot order
    alone            80 of the uniform architectures trained one by one, as for "random" (seed 0): their tau with the table, and what the
                     scores above say of these validation accuracies
    speed            scoring 1,000 architectures on 500 images against the bare forward passes of their networks (target: 1.2)

"found" is the test accuracy in the table of what a search returns: the best of the 1,000 by score; for fitted_X the best of all 15,625 by
prediction; for rlnas and rlnas_options the result of evolution. Seconds are CPU time of one thread; scoring and training are both in them. Rows are
appended to a file of JSON lines, scores and weights are kept beside it; an interrupted row goes on from its last epoch, and its seconds
are then those since it went on. Seconds of fitted_X and both are those of the fit alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import torch
from scipy import stats
from torch import nn

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.estimators.few_shot import FewShot
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.random_labels import RandomLabels
from graphnas.estimators.training import TrainingEstimator
from graphnas.estimators.weight_sharing import WeightSharing
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau
from graphnas.oneshot.path_scoring import calibration_inputs, recalibrate
from graphnas.oneshot.path_training import PathTraining
from graphnas.oneshot.problem import laid_out
from graphnas.oneshot.splitting import GradientMatching
from graphnas.search import Search, trial_seed
from graphnas.tasks.image import ImageTask
from graphnas.tasks.random_labels import random_labels

SPACE, TASK = "nasbench201", "cifar10-16px"
RATES = {"learning_rate": 0.05, "final_rate": 0.001}
TUNING_RATE = 0.025
SEEDS = (0, 1, 2)
PARTS = (
    "one_shot",
    "one_shot_angle",
    "one_shot_options",
    "few_shot",
    "fitted_one_shot",
    "rlnas",
    "rlnas_options",
    "fitted_rlnas_options",
    "fitted_few_shot",
    "rlnas_few_shot_options",
    "both",
    "random",
    "gradient",
    "size",
    "alone",
    "speed",
)
ONCE = ("alone", "speed")
PAIRS = (
    ("few_shot", "one_shot"),
    ("fitted_one_shot", "one_shot"),
    ("fitted_few_shot", "few_shot"),
    ("fitted_rlnas_options", "rlnas_options"),
    ("rlnas_few_shot_options", "rlnas_options"),
)
READ = ("one_shot", "one_shot_options", "few_shot", "rlnas", "rlnas_options", "rlnas_few_shot_options")
FULL = {
    "epochs": 200,
    "tuning": 60,
    "uniform": 1000,
    "top": 500,
    "evolution": 2000,
    "speed": 1000,
    "matching": 20,
    "alone": 80,
}
QUICK = {"epochs": 1, "tuning": 1, "uniform": 20, "top": 10, "evolution": 120, "speed": 10, "matching": 1, "alone": 5}


class Truth:
    """The table, and the architectures that are scored."""

    def __init__(self, scale: dict[str, int]) -> None:
        table = registry.get_table(f"{SPACE}/cifar10").table
        self.space = registry.get_space(SPACE)
        self.test = np.asarray(table.columns["test"], dtype=float)
        self.parameters = np.asarray(table.columns["params"], dtype=float)
        self.decisions = table.decisions
        rng = np.random.default_rng(2026)
        ranked = np.argsort(-self.test, kind="stable")[: len(self.test) // 10]
        self.uniform = rng.choice(len(self.test), scale["uniform"], replace=False)
        self.top = rng.choice(ranked, scale["top"], replace=False)
        self.row = {tuple(made): i for i, made in enumerate(self.decisions.tolist())}

    def agreement(self, uniform: np.ndarray, top: np.ndarray) -> dict[str, Any]:
        return agreement(whole=(uniform, self.test[self.uniform]), top=(top, self.test[self.top]))

    def architecture(self, i: int) -> Architecture:
        return self.space.decode(self.decisions[i].tolist())

    def accuracy(self, architecture: Architecture) -> float:
        return float(self.test[self.row[tuple(self.space.encode(architecture))]])


def agreement(**parts: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Kendall's tau of scores and truth, and its bootstrap interval over the architectures, for each named part of the space."""
    made: dict[str, Any] = {}
    for name, (scores, true) in parts.items():
        rng = np.random.default_rng(0)
        draws = [rng.integers(len(true), size=len(true)) for _ in range(200)]
        taus = [kendall_tau(scores[d], true[d]) for d in draws]
        made[f"tau_{name}"] = kendall_tau(scores, true)
        made[f"interval_{name}"] = [float(np.nanquantile(taus, q)) for q in (0.025, 0.975)]
    return made


class Lab:
    """Everything that the rows of one seed share."""

    def __init__(self, folder: Path, quick: bool, seed: int, channels: int, cells: int) -> None:
        self.scale = QUICK if quick else FULL
        self.truth, self.seed, self.folder = Truth(self.scale), seed, folder
        self.tag = f"{'quick-' if quick else ''}{channels}-{cells}-{seed}"
        self.space, self.task = registry.get_space(SPACE), registry.get_task(TASK)
        self.training = PathTraining(epochs=self.scale["epochs"], **RATES)
        self.tuning = replace(self.training, epochs=self.scale["tuning"], learning_rate=TUNING_RATE)
        self.size = {"channels": channels, "cells": cells}
        folder.mkdir(parents=True, exist_ok=True)

    def options(self, name: str) -> dict[str, Any]:
        return {"size": self.size, "seed": self.seed, "weights": self.folder / f"{name}-{self.tag}.pt"}

    def one_shot(self) -> WeightSharing:
        return WeightSharing(self.space, self.task, self.training, **self.options("one_shot"))

    def few_shot(self) -> FewShot:
        made = {"splits": "0->1", "tuning": self.tuning, "parent": self.one_shot()}
        return FewShot(self.space, self.task, self.training, **made, **self.options("few_shot"))

    def gradient(self) -> FewShot:
        matching = GradientMatching(repeats=self.scale["matching"])
        made = {"splits": [matching] * 2, "tuning": self.tuning, "parent": self.one_shot()}
        return FewShot(self.space, self.task, self.training, **made, **self.options("gradient"))

    def rlnas(self) -> RandomLabels:
        return RandomLabels(self.space, self.task, self.training, **self.options("rlnas"))

    def rlnas_few_shot(self) -> FewShot:
        task = random_labels(self.task)
        made = {"splits": "0->1", "tuning": self.tuning, "reading": "angle"}
        return FewShot(self.space, task, self.training, **made, **self.options("rlnas_few_shot"))

    # -- scores ---------------------------------------------------------------------------------

    def scores(self, name: str, estimator: WeightSharing) -> tuple[np.ndarray, np.ndarray]:
        """Of the uniform and the top architectures; kept in a file, so that a row may stop in between."""
        rows = np.concatenate([self.truth.uniform, self.truth.top])
        made = self._evaluated(name, rows, lambda a, i: estimator.evaluate(a, seed=0).score, every=100)
        return made[: len(self.truth.uniform)], made[len(self.truth.uniform) :]

    def _evaluated(
        self, name: str, rows: np.ndarray, score: Callable[[Architecture, int], float], every: int
    ) -> np.ndarray:
        path = self.folder / f"{name}-{self.tag}.npz"
        done = load_npz(path)["scores"].tolist() if path.exists() else []
        for i, row in enumerate(rows[len(done) :].tolist(), start=len(done)):
            done.append(score(self.truth.architecture(row), i))
            if (i + 1) % every == 0 or i + 1 == len(rows):
                save_npz(path, {"scores": np.array(done)})
        return np.array(done)

    def kept(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores of an earlier row, computed now if need be."""
        return self.scores(name, self.read(name))

    def read(self, name: str) -> WeightSharing:
        estimator: WeightSharing = getattr(self, name.removesuffix("_angle").removesuffix("_options"))()
        by_angle = name.startswith("rlnas") or name.endswith(("_angle", "_options"))
        return estimator.read_by("angle" if by_angle else "validation", fixed=not name.endswith("_options"))

    # -- rows -----------------------------------------------------------------------------------

    def shared(self, name: str) -> dict[str, Any]:
        uniform, top = self.kept(name)
        best = self.truth.architecture(int(self.truth.uniform[int(np.argmax(uniform))]))
        found = self.evolved(name) if name in ("rlnas", "rlnas_options") else best
        return {**self.truth.agreement(uniform, top), "found": self.truth.accuracy(found)}

    def evolved(self, name: str) -> Architecture:
        options = {"population": 100, "top": 30, "mutants": 50, "crossovers": 50, "never": ["none"]}
        budget = self.scale["evolution"]
        result = Search(
            self.space,
            self.read(name),
            "single_path_evolution",
            options=options,
            budget=budget,
            seed=self.seed,
            batch=100,
        ).run()
        assert result.best is not None
        return result.best.architecture

    def fitted(self, base: str) -> dict[str, Any]:
        uniform, _ = self.kept(base)
        predictor = registry.find("predictor", "gcn")(self.space, seed=self.seed)
        predictor.fit([self.truth.architecture(int(i)) for i in self.truth.uniform], uniform)
        everything = [self.truth.architecture(i) for i in range(len(self.truth.test))]
        predicted = predictor.predict(everything).mean
        made = self.truth.agreement(predicted[self.truth.uniform], predicted[self.truth.top])
        ranked = np.argsort(-self.truth.test, kind="stable")[: len(everything) // 10]
        return {
            **made,
            "tau_all": kendall_tau(predicted, self.truth.test),
            "tau_all_top": kendall_tau(predicted[ranked], self.truth.test[ranked]),
            "found": float(self.truth.test[int(np.argmax(predicted))]),
        }

    def both(self) -> dict[str, Any]:
        accuracy, angle = self.kept("one_shot"), self.kept("one_shot_options")
        uniform, top = (_mean_rank(a, b) for a, b in zip(accuracy, angle, strict=True))
        best = int(self.truth.uniform[int(np.argmax(uniform))])
        return {**self.truth.agreement(uniform, top), "found": float(self.truth.test[best])}

    def of_size(self) -> dict[str, Any]:
        size, true = self.truth.parameters, self.truth.test[self.truth.uniform]
        groups = [size[self.truth.uniform] == value for value in np.unique(size[self.truth.uniform])]
        equal: dict[str, float] = {}
        for name in READ:
            uniform, _ = self.kept(name)
            taus = [(kendall_tau(uniform[rows], true[rows]), rows.sum()) for rows in groups if rows.sum() > 20]
            known = np.array([pair for pair in taus if not np.isnan(pair[0])])
            equal[name] = float(np.average(known[:, 0], weights=known[:, 1])) if len(known) else float("nan")
        made = self.truth.agreement(size[self.truth.uniform], size[self.truth.top])
        best = self.truth.uniform[int(np.argmax(size[self.truth.uniform]))]
        return {**made, "equal": equal, "found": float(self.truth.test[best])}

    def trainer(self) -> TrainingEstimator:
        return TrainingEstimator(self.space, self.task, Fidelity(epochs=min(5, self.scale["epochs"]), size=self.size))

    def alone(self) -> dict[str, Any]:
        estimator, rows = self.trainer(), self.truth.uniform[: self.scale["alone"]]
        scores = self._evaluated(
            "alone", rows, lambda a, i: estimator.evaluate(a, seed=trial_seed(self.seed, i)).score, every=5
        )
        true = self.truth.test[rows]
        return {
            **agreement(whole=(scores, true)),
            "shared": {name: kendall_tau(self.kept(name)[0][: len(rows)], scores) for name in READ},
            "found": float(true[int(np.argmax(scores))]),
        }

    def random(self, seconds: float) -> dict[str, Any]:
        estimator = self.trainer()
        rng, start, best, trials = np.random.default_rng(self.seed), time.process_time(), (-1.0, None), 0
        while trials == 0 or time.process_time() - start < seconds:
            architecture = self.space.sample(rng)
            score = estimator.evaluate(architecture, seed=trial_seed(self.seed, trials)).score
            trials += 1
            if score > best[0]:
                best = score, architecture
        return {"trials": trials, "found": self.truth.accuracy(best[1])}

    def speed(self) -> dict[str, Any]:
        images = self.task.images("validation")
        few = ImageTask(
            self.task.images("train"), (images.x[:500], images.y[:500]), name="500 images", classes=10, batch_size=64
        )
        made: dict[str, Any] = {}
        for norms in ("recalibrated", "batch"):
            options = self.options("speed")
            estimator = WeightSharing(self.space, few, PathTraining(epochs=1), norms=norms, **options)
            made[norms] = self._ratio(estimator, few)
        return made

    def _ratio(self, estimator: WeightSharing, task: ImageTask) -> dict[str, float]:
        """CPU seconds of scoring and of the bare forward passes, architecture by architecture in turns."""
        x = laid_out((task.prepare(task.images("validation").x),))[0]
        calibration = [laid_out(inputs) for inputs in calibration_inputs(task, estimator.calibration)]
        ours = bare = 0.0
        for number, row in enumerate(self.truth.uniform[: self.scale["speed"]].tolist()):
            architecture = self.truth.architecture(row)
            child = estimator.child(architecture)
            norms = [m for m in child.modules() if isinstance(m, nn.BatchNorm2d)]

            def passes(child: nn.Module = child, norms: list[nn.BatchNorm2d] = norms) -> None:
                if estimator.norms == "recalibrated":
                    recalibrate(child, norms, calibration)
                for norm in norms:
                    norm.training = estimator.norms == "batch"
                with torch.no_grad():
                    for part in torch.split(x, 256):
                        child(part)

            first: list[tuple[str, Callable[[], object]]] = [
                ("ours", lambda a=architecture: estimator.evaluate(a, seed=0)),
                ("bare", passes),
            ]
            for name, run in first if number % 2 else reversed(first):
                start = time.process_time()
                run()
                used = time.process_time() - start
                ours, bare = (ours + used, bare) if name == "ours" else (ours, bare + used)
        return {"ours": ours, "bare": bare, "ratio": ours / bare}


def _mean_rank(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (np.argsort(np.argsort(a, kind="stable")) + np.argsort(np.argsort(b, kind="stable"))) / 2


def measured(row: dict[str, Any], folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    lab, start, part = (
        Lab(folder, row["quick"], row["seed"], row["channels"], row["cells"]),
        time.process_time(),
        row["part"],
    )
    if part == "speed":
        made = lab.speed()
    elif part == "random":
        seconds = sum(_cpu(rows, row, name) for name in ("one_shot", "few_shot"))
        made = lab.random(seconds)
    elif part == "both":
        made = lab.both()
    elif part == "size":
        made = lab.of_size()
    elif part == "alone":
        made = lab.alone()
    elif part.startswith("fitted_"):
        made = lab.fitted(part.removeprefix("fitted_"))
    else:
        made = lab.shared(part)
    return {**row, **made, "cpu": time.process_time() - start}


def _cpu(rows: list[dict[str, Any]], like: dict[str, Any], part: str) -> float:
    same = [
        r for r in rows if r["part"] == part and all(r[k] == like[k] for k in ("seed", "quick", "channels", "cells"))
    ]
    return float(same[0]["cpu"]) if same else 0.0


def plan(quick: bool, channels: int, cells: int) -> list[dict[str, Any]]:
    seeds = SEEDS[:1] if quick else SEEDS
    every = [(part, seed) for seed in seeds for part in PARTS if part not in ONCE or seed == 0]
    return [{"part": part, "seed": seed, "quick": quick, "channels": channels, "cells": cells} for part, seed in every]


def show(rows: list[dict[str, Any]]) -> None:
    for channels, cells in sorted({(row["channels"], row["cells"]) for row in rows}):
        print(f"supernets of {channels} channels and {cells} cells a stage")
        for part in PARTS:
            members = [row for row in rows if (row["part"], row["channels"], row["cells"]) == (part, channels, cells)]
            if part == "speed":
                for row in members:
                    ratios = ", ".join(f"{norms} {row[norms]['ratio']:.3f}" for norms in ("recalibrated", "batch"))
                    print(f"{part:<24}cost over the bare forward passes: {ratios} (target 1.2)")
            elif members:
                shown = [
                    f"tau {name} {_spread([r[f'tau_{name}'] for r in members], 3)}"
                    for name in ("whole", "top")
                    if f"tau_{name}" in members[0]
                ]
                found = _spread([r["found"] for r in members], 2)
                seconds = statistics.fmean(r["cpu"] for r in members)
                print(f"{part:<24}" + "  ".join([*shown, f"found {found}", f"{seconds:.0f} s CPU, n={len(members)}"]))
            if part == "alone" and members:
                shared = [f"{name} {members[0]['shared'][name]:.3f}" for name in READ]
                print("  tau with the validation accuracies of networks trained alone: " + ", ".join(shared))
            if part == "size" and members:
                equal = [f"{name} {_spread([r['equal'][name] for r in members], 3)}" for name in READ]
                print("  tau among equal numbers of parameters: " + ", ".join(equal))
        _differences([row for row in rows if (row["channels"], row["cells"]) == (channels, cells)])


def _differences(rows: list[dict[str, Any]]) -> None:
    """Tau of one part less that of another with the same seed; mean and 95 % interval (Student, over the seeds)."""
    taus = {(row["part"], row["seed"]): row for row in rows}
    for better, base in PAIRS:
        seeds = sorted(seed for part, seed in taus if part == better and (base, seed) in taus)
        shown = []
        for name in ("tau_whole", "tau_top"):
            values = [taus[better, seed][name] - taus[base, seed][name] for seed in seeds]
            if len(values) > 1:
                reach = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
                mean = statistics.fmean(values)
                shown.append(f"{name} {mean:+.3f} [{mean - reach:+.3f}, {mean + reach:+.3f}]")
        if shown:
            print(f"{better} - {base}: {', '.join(shown)}, n={len(seeds)}")


def _spread(values: list[float], digits: int) -> str:
    spread = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs, few architectures")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help="only these parts")
    parser.add_argument(
        "--seeds", nargs="+", type=int, choices=SEEDS, default=SEEDS, metavar="SEED", help="only these seeds"
    )
    parser.add_argument("--channels", type=int, default=4, help="width of the supernets")
    parser.add_argument("--cells", type=int, default=1, help="cells a stage of the supernets")
    parser.add_argument("--show", action="store_true", help="print the table of what is measured, and measure nothing")
    parser.add_argument("--results", type=Path, default=Path("weight_sharing.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for row in [] if arguments.show else plan(arguments.quick, arguments.channels, arguments.cells):
        rows = _read(arguments.results)
        known = any(all(r[k] == row[k] for k in row) for r in rows)
        if known or row["part"] not in arguments.only or row["seed"] not in arguments.seeds:
            continue
        made = measured(row, arguments.results.with_suffix(""), rows)
        with arguments.results.open("a") as file:
            file.write(json.dumps(made) + "\n")
        print(json.dumps(made), flush=True)
    show([row for row in _read(arguments.results) if row["quick"] == arguments.quick])


def _read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


if __name__ == "__main__":
    main()
