"""Searching Transformers: python benchmarks/transformer.py [--quick] [--show] [--only TEXT] [--shard 1/2]

    memory    DARTSformer's supernet (13 and 14 operations a part) against its number of layers, by how intermediate results are
              kept: what autograd keeps for the backward pass of a step of the weights, weights apart; and for a step of the
              architecture, which has no gradients of weights, by how much the process's memory grows at its peak
    time      CPU seconds of a step of the weights, plain and reversible in turns in one process, the least of three
    search    DARTSformer's search on Multi30k English-German, 3 seeds, and random search with the seconds of that search, whose networks
              are trained for one epoch each and chosen by validation cross entropy
    final     the networks that they found, and a standard Transformer with as many parameters, trained with the same recipe for
              the same number of epochs from 3 seeds; test BLEU with a beam of 4

Every row is appended to a file of JSON lines when it is finished; a second run computes what is missing. Searches go on from their
checkpoints.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import torch

from graphnas.architecture import Architecture
from graphnas.compile import compile
from graphnas.cost import cost
from graphnas.data import require
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import isolated, train
from graphnas.estimators.training import TrainingEstimator
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.saved import SavedBytes
from graphnas.oneshot.supernet import Supernet
from graphnas.tasks.base import Signature
from graphnas.tasks.subwords import read_lines
from graphnas.tasks.translation import TranslationTask
from graphnas.tasks.translation_data import multi30k
from spaces.transformer import space
from spaces.transformer_baseline import standard_of_cost

SEEDS = (0, 1, 2)
MODES = ("store", "checkpoint", "reversible")
TIMED = ("store", "reversible")
LAYERS = (4, 8, 16)
TOKENS, LENGTH, SENTENCES = 2000, 16, 64
SUPERNET = {"width": 240, "embedding": 128, "heads": 4, "dropout": 0.1}
SMALL = {"width": 120, "embedding": 120, "heads": 4, "dropout": 0.1}
SUBWORDS = 2000
SEARCH = {"epochs": 10, "steps": 100, "batch": 64}
BLOCKS = 2
EPOCHS = 10
KEYS = ("part", "what", "seed", "quick")


def plan(quick: bool) -> list[dict[str, Any]]:
    rows = [("memory", f"{mode} {layers}", 0) for layers in LAYERS for mode in MODES]
    rows += [("time", f"{layers}", 0) for layers in LAYERS]
    seeds = SEEDS[:1] if quick else SEEDS
    for seed in seeds:
        rows += [("search", "dartsformer", seed), ("search", "random", seed)]
        rows += [("final", what, seed) for what in ("dartsformer", "random", "standard")]
    return [dict(zip(KEYS, (*row, quick), strict=True)) for row in rows]


# -- one step of the supernet -------------------------------------------------------------------


def supernet_step(memory: str, layers: int, quick: bool) -> tuple[Supernet, Any]:
    size = {**SUPERNET, "width": 48, "embedding": 24} if quick else SUPERNET
    with isolated(0, 1, torch.device("cpu")):
        supernet = Supernet(
            space(), Signature("translation", (LENGTH, LENGTH), TOKENS), 0, memory=memory, blocks=layers // 2, **size
        )
    generator = torch.Generator().manual_seed(0)
    mix = {g.name: torch.randn(g.shape, generator=generator).softmax(-1).requires_grad_() for g in supernet.groups}

    def step(sentences: int = 8 if quick else SENTENCES, backward: bool = True) -> torch.Tensor:
        source, target, after = torch.randint(1, TOKENS, (3, sentences, LENGTH), generator=generator)
        loss = torch.nn.functional.cross_entropy(supernet(source, target, mix=mix).flatten(0, 1), after.flatten())
        if backward:
            wanted = [*mix.values(), *(p for p in supernet.parameters() if p.requires_grad)]
            torch.autograd.grad(loss, wanted, allow_unused=True)
        return loss

    return supernet, step


def memory_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """In a process of its own, whose allocator gives all it can back to the system."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, __file__, "--measure", json.dumps(row)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {**row, **json.loads(done.stdout.splitlines()[-1])}


def measure(row: Mapping[str, Any]) -> None:
    mode, layers = row["what"].split()
    supernet, step = supernet_step(mode, int(layers), row["quick"])
    sentences = 8 if row["quick"] else SENTENCES
    with SavedBytes(supernet) as kept:
        output = step(sentences, backward=False)
    assert output.requires_grad
    del output
    weights = sum(p.numel() * p.element_size() for p in supernet.parameters())
    supernet.requires_grad_(False)
    step(sentences)
    before = _kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step(sentences)
    peak = (_kilobytes("VmHWM") - before) / 1024
    print(json.dumps({"saved_mb": kept.bytes / 2**20, "peak_mb": peak, "weights_mb": weights / 2**20}))


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def time_row(row: Mapping[str, Any]) -> dict[str, Any]:
    steps = {mode: supernet_step(mode, int(row["what"]), row["quick"])[1] for mode in TIMED}
    seconds: dict[str, list[float]] = {mode: [] for mode in TIMED}
    for repeat in range(2 if row["quick"] else 4):
        for mode, step in steps.items():
            start = time.process_time()
            step()
            if repeat:  # the first is for warming up
                seconds[mode].append(time.process_time() - start)
    return {**row, "seconds": {mode: min(values) for mode, values in seconds.items()}}


# -- translation --------------------------------------------------------------------------------


@cache
def task_of(quick: bool) -> TranslationTask:
    if not quick:
        return multi30k(metric="cross_entropy", vocabulary=SUBWORDS)
    parts = {"train": ("train", 1000), "validation": ("val", 50), "test": ("test_2016_flickr", 50)}
    pairs = {
        split: tuple(
            read_lines(require(f"text/multi30k/{stem}.{language}.gz", "put it there"))[:count]
            for language in ("en", "de")
        )
        for split, (stem, count) in parts.items()
    }
    return TranslationTask(**pairs, vocabulary=400, metric="cross_entropy", name="multi30k, a part")


def recipe_of(task: TranslationTask) -> Recipe:
    return TrainingEstimator(space(), task).recipe


def found(row: Mapping[str, Any], folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if row["part"] == "memory":
        return memory_row(row)
    if row["part"] == "time":
        return time_row(row)
    start = time.process_time()
    made = search_row(row, folder, rows) if row["part"] == "search" else final_row(row, rows)
    return {**row, **made, "cpu": time.process_time() - start}


def search_row(row: Mapping[str, Any], folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    quick, seed = row["quick"], row["seed"]
    if row["what"] == "random":
        limit = next(r["cpu"] for r in rows if r["what"] == "dartsformer" and same(r, {**row, "what": r["what"]}))
        return random_search(seed, limit, quick)
    search = GradientSearch(
        space(),
        task_of(quick),
        None,
        "dartsformer",
        **({"epochs": 2, "steps": 2, "batch": 8} if quick else SEARCH),
        memory="reversible",
        size={**SMALL, "blocks": 1},
        seed=seed,
        store=folder / f"dartsformer-{seed}{'-quick' if quick else ''}.db",
    )
    search.run()
    assert search.derived is not None
    assert search.state is not None
    return {"architecture": list(space().encode(search.derived)), "loss": search.state.history[-1]["inner_loss"]}


def random_search(seed: int, limit: float, quick: bool) -> dict[str, Any]:
    rng, trials, best = np.random.default_rng(seed), 0, (-float("inf"), None)
    fidelity = Fidelity(1, 0.1 if quick else 1.0, {**SMALL, "blocks": 1})
    estimator = TrainingEstimator(space(), task_of(quick), fidelity)
    start = time.process_time()
    while trials == 0 or time.process_time() - start < limit:
        architecture = space().sample(rng)
        score = estimator.evaluate(architecture, seed=1000 * seed + trials).score
        trials += 1
        if score > best[0]:
            best = score, architecture
    assert best[1] is not None
    return {"architecture": list(space().encode(best[1])), "trials": trials, "validation": -best[0]}


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(a[k] == b[k] for k in KEYS)


def final_row(row: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Standard networks have the parameters of the one that DARTSformer found with the same seed."""
    task = task_of(row["quick"])
    like = row["what"].replace("standard", "dartsformer")
    decisions = next(r["architecture"] for r in rows if same(r, {**row, "part": "search", "what": like}))
    network: Architecture = space().network(
        space().decode(decisions), task.signature, **SMALL, blocks=1 if row["quick"] else BLOCKS
    )
    if row["what"] == "standard":
        network = standard_of_cost(task.signature, cost(network).params, layers=2 * BLOCKS, **dropped(SMALL, "width"))
    fidelity = Fidelity(1, 0.1) if row["quick"] else Fidelity(EPOCHS)
    module = compile(network, row["seed"])
    history = train(module, task, recipe_of(task), fidelity, torch.Generator().manual_seed(row["seed"]))
    assert history.best_epoch is not None
    values = {f"test_{name}": value for name, value in task.evaluate(module, "test").items()}
    return {**values, **history.best_epoch.validation, "params": cost(network).params, "best": history.best}


def dropped(size: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in size.items() if k != name}


# -- tables -------------------------------------------------------------------------------------


def show(rows: list[dict[str, Any]]) -> None:
    parts = {part: [r for r in rows if r["part"] == part] for part in ("memory", "time", "search", "final")}
    if parts["memory"]:
        print(f"{'layers':<8}{'memory':<12}{'kept MB':>10}{'peak MB':>10}{'weights MB':>12}")
    for r in parts["memory"]:
        mode, layers = r["what"].split()
        print(f"{layers:<8}{mode:<12}{r['saved_mb']:>10.1f}{r['peak_mb']:>10.1f}{r['weights_mb']:>12.1f}")
    peaks = [r["peak_mb"] for r in parts["memory"] if r["what"].startswith("reversible")]
    if peaks:
        print(f"reversible: the greatest peak is {max(peaks) / min(peaks):.3f} of the least")
    if parts["time"]:
        print(f"\n{'layers':<8}" + "".join(f"{mode:>12}" for mode in TIMED) + f"{'reversible / store':>22}")
    for r in parts["time"]:
        seconds = r["seconds"]
        ratio = seconds["reversible"] / seconds["store"]
        print(f"{r['what']:<8}" + "".join(f"{seconds[mode]:>10.2f} s" for mode in TIMED) + f"{ratio:>22.2f}")
    for r in parts["search"]:
        print(f"search {r['what']:<14} seed {r['seed']}: {r['cpu']:.0f} s", end="")
        print(f", {r['trials']} networks" if "trials" in r else "")
    for what in dict.fromkeys(r["what"] for r in parts["final"]):
        members = [r for r in parts["final"] if r["what"] == what]
        values = [r["test_bleu"] for r in members]
        spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        nats = statistics.fmean(r["test_cross_entropy"] for r in members)
        params = statistics.fmean(r["params"] for r in members)
        each = ", ".join(f"{v:.2f}" for v in values)
        cpu = statistics.fmean(r["cpu"] for r in members)
        print(
            f"{what:<14} BLEU {statistics.fmean(values):.2f}{spread} ({each}), {nats:.3f} nats, {params:,.0f} parameters, {cpu:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps of small networks, one seed")
    parser.add_argument("--show", action="store_true", help="print the tables of what is there")
    parser.add_argument("--only", default="", help="rows whose 'part what seed' contains this text")
    parser.add_argument(
        "--shard", default="1/1", help="I/N: the I-th part of the seeds, to share them between processes"
    )
    parser.add_argument("--results", type=Path, default=Path("transformer.jsonl"))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.measure:
        return measure(json.loads(arguments.measure))
    part, of = map(int, arguments.shard.split("/"))
    folder = arguments.results.with_suffix(".searches")
    folder.mkdir(parents=True, exist_ok=True)
    rows = read(arguments.results)
    for row in [] if arguments.show else plan(arguments.quick):
        name = f"{row['part']} {row['what']} {row['seed']}"
        place = row["seed"] if row["part"] in ("search", "final") else 0
        if place % of != part - 1 or arguments.only not in name or any(same(r, row) for r in rows):
            continue
        rows.append(found(row, folder, rows))
        with arguments.results.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(name, {k: v for k, v in rows[-1].items() if k not in KEYS}, flush=True)
    show([row for row in rows if row["quick"] == arguments.quick])


def read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


if __name__ == "__main__":
    main()
