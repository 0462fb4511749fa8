"""Speed of supernets: python benchmarks/supernet_speed.py [--quick]

    step      one first-order DARTS step, architecture and weights (batch 16, 8 channels, 5 cells, 32x32 pixels), against the
              published procedure re-enacted module by module in plain PyTorch, where loss.backward() serves both halves; the
              moved weights and architecture parameters are equal (compared in double precision)
    methods   a step of every method as a multiple of a plain training step of the supernet, beside the number of forward and
              backward passes that its description counts, in units of one forward and one backward pass; the backward pass of
              a gradient goes back through a forward and a backward pass, and counts as two of both
    sampled   evaluation of one architecture by the supernet against its child's

CPU seconds of one thread: medians over repeats in which the contestants take turns. Rows are appended to a file of JSON lines as
they are measured; a second run measures what is missing and prints the table from the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphnas.oneshot.base import Mix
from graphnas.oneshot.gates import Always
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods import get
from graphnas.oneshot.problem import SupernetProblem
from graphnas.oneshot.search import Budget, search
from graphnas.oneshot.supernet import Supernet
from graphnas.oneshot.task_streams import streams_of
from graphnas.ops.modules import FactorizedReduce
from graphnas.tasks.image import ImageTask
from spaces import darts

BATCH, CHANNELS, CELLS, SIDE = 16, 8, 5, 32
IMAGES = 16 * BATCH  # of which a tenth, the part that UNAS sets aside, fills a batch
METHODS = ("darts1", "darts2", "idarts", "snas", "gdas", "drnas", "zarts_mgs", "zarts_rs", "zarts_gld", "unas_edges")


def images() -> ImageTask:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (IMAGES, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    y = torch.arange(IMAGES) % 10
    return ImageTask((x, y), (x[:BATCH], y[:BATCH]), name="drawn", classes=10)


# -- the published procedure --------------------------------------------------------------------------------------------


class Nothing(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]).mul(0.0)


def depthwise(c: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False),
        nn.Conv2d(c, c, 1, bias=False),
        nn.BatchNorm2d(c, affine=False),
    ]


def operation(name: str, c: int, stride: int) -> nn.Module:
    if name == "none":
        return Nothing(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(c, c, affine=False)
    if name.endswith("pool_3x3"):
        pool: nn.Module = nn.MaxPool2d(3, stride, 1)
        if name.startswith("avg"):
            pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, nn.BatchNorm2d(c, affine=False))
    kernel = int(name[-1])
    if name.startswith("dil"):
        return nn.Sequential(*depthwise(c, kernel, stride, 2))
    return nn.Sequential(*depthwise(c, kernel, stride, 1), *depthwise(c, kernel, 1, 1))


class MixedOperation(nn.Module):
    def __init__(self, c: int, stride: int) -> None:
        super().__init__()
        self.options = nn.ModuleList(operation(name, c, stride) for name in darts.OPS)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self.options, strict=True))  # type: ignore[return-value]


class Cell(nn.Module):
    def __init__(self, before: int, last: int, c: int, reduces: bool, reduced: bool) -> None:
        super().__init__()
        fit = nn.Sequential(nn.ReLU(), nn.Conv2d(before, c, 1, bias=False), nn.BatchNorm2d(c, affine=False))
        self.first = FactorizedReduce(before, c, affine=False) if reduced else fit
        self.second = nn.Sequential(nn.ReLU(), nn.Conv2d(last, c, 1, bias=False), nn.BatchNorm2d(c, affine=False))
        self.edges = nn.ModuleList(MixedOperation(c, 2 if reduces and i < 2 else 1) for i, _ in darts.EDGES)

    def forward(self, before: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        states, edge = [self.first(before), self.second(last)], 0
        for _ in range(darts.NODES):
            made = sum(self.edges[edge + j](h, weights[edge + j]) for j, h in enumerate(states))
            edge += len(states)
            states.append(made)
        return torch.cat(states[2:], dim=1)


class Published(nn.Module):
    """The search network of Liu, Simonyan & Yang (ICLR 2019), as its description reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3 * CHANNELS, 3, padding=1, bias=False), nn.BatchNorm2d(3 * CHANNELS))
        self.cells = nn.ModuleList()
        self.kinds = []
        before = last = 3 * CHANNELS
        width, reduced = CHANNELS, False
        for number in range(CELLS):
            reduces = number in (CELLS // 3, 2 * CELLS // 3)
            width *= 1 + reduces
            self.cells.append(Cell(before, last, width, reduces, reduced))
            self.kinds.append(int(reduces))
            before, last, reduced = last, 4 * width, reduces
        self.classifier = nn.Linear(last, 10)

    def forward(self, x: Tensor, alphas: list[Tensor]) -> Tensor:
        before = last = self.stem(x)
        weights = [functional.softmax(alpha, dim=-1) for alpha in alphas]
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            before, last = last, cell(before, last, weights[kind])
        return self.classifier(functional.adaptive_avg_pool2d(last, 1).flatten(1))


class Reference:
    """The published step, with the same start and batches as ours."""

    def __init__(self, problem: SupernetProblem, alpha: dict[str, Tensor], method: Method, task: ImageTask) -> None:
        self.network = Published().to(next(iter(problem.state().parameters.values())).dtype).train()
        with torch.no_grad():
            own, given = list(self.network.parameters()), in_order(problem)
            for p, value in zip(own, given, strict=True):
                p.copy_(value)
        self.alphas = [alpha[cell].clone().requires_grad_() for cell in darts.CELLS]
        rate = method.inner.rate(0.0)
        self.weights = torch.optim.SGD(self.network.parameters(), rate, momentum=0.9, weight_decay=3e-4)
        self.architecture = torch.optim.Adam(self.alphas, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
        self.streams = streams_of(task, BATCH, 0.5)
        self.step = 0

    def __call__(self) -> None:
        train, validation = self.streams.inner(self.step).batch, self.streams.outer(self.step).batch
        self.architecture.zero_grad()
        functional.cross_entropy(self.network(validation.inputs[0], self.alphas), validation.target).backward()
        self.architecture.step()
        self.weights.zero_grad()
        functional.cross_entropy(self.network(train.inputs[0], self.alphas), train.target).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.weights.step()
        self.step += 1


def in_order(problem: SupernetProblem, parameters: dict[str, Tensor] | None = None) -> list[Tensor]:
    """The supernet's parameters in the order of ``Published``'s."""
    places = parameters or problem.state().parameters

    def of(prefix: str) -> list[Tensor]:
        return [p for name, p in places.items() if name.startswith(f"network.{prefix}.")]

    made = of("stem")
    for number in range(CELLS):
        made += [*of(f"cell{number}.first"), *of(f"cell{number}.second")]
        nodes = sorted({int(n.split(".")[2][4:]) for n in places if n.startswith(f"network.cell{number}.node")})
        for node in nodes:
            for k in range(len(darts.OPS)):
                made += of(f"cell{number}.node{node}.options.{k}")
    return made + of("head.classifier")


# -- ours ---------------------------------------------------------------------------------------------------------------


class Ours:
    """One step at a time of the search that users run."""

    def __init__(self, problem: SupernetProblem, method: Method, task: ImageTask, epochs: int = 1) -> None:
        self.problem, self.method = problem, method
        self.streams = streams_of(task, BATCH, method.split)
        self.budget = Budget(epochs, 10_000)
        self.state = search(problem, method, self.streams, budget=replace(self.budget, pause=0)).state

    def __call__(self) -> None:
        pause = self.state.step + 1
        search(self.problem, self.method, self.streams, budget=replace(self.budget, pause=pause), state=self.state)


def cpu(contest: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each."""
    for run in contest.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in contest}
    for _ in range(repeats):
        for name, run in contest.items():
            start = time.process_time()
            run()
            found[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in found.items()}


def supernet(task: ImageTask) -> SupernetProblem:
    return SupernetProblem(Supernet(darts.space(), task.signature, 0, channels=CHANNELS, cells=CELLS), task)


def apart() -> dict[str, float]:
    """How far one step of ours is from one of the published procedure, in double precision."""
    task = images()
    task.mean, task.std = task.mean.double(), task.std.double()
    problem, method = supernet(task), get("darts1")
    problem.supernet.double()
    problem.load(problem.initial(0))
    ours = Ours(problem, method, task)
    reference = Reference(problem, ours.state.alpha, method, task)
    ours()
    reference()
    moved = in_order(problem, ours.state.weights.parameters)
    weights = [float((a - b.detach()).abs().max()) for a, b in zip(moved, reference.network.parameters(), strict=True)]
    alphas = zip(darts.CELLS, reference.alphas, strict=True)
    alpha = [float((ours.state.alpha[cell] - a.detach()).abs().max()) for cell, a in alphas]
    return {"weights_apart": max(weights), "alpha_apart": max(alpha)}


def step(repeats: int, known: Sequence[str]) -> Iterator[dict[str, Any]]:
    if known:
        return
    task = images()
    problem, method = supernet(task), get("darts1")
    ours = Ours(problem, method, task)
    reference = Reference(problem, ours.state.alpha, method, task)
    seconds = cpu({"published": reference, "graphnas": ours}, repeats)
    ratio = seconds["graphnas"] / seconds["published"]
    yield {"part": "step", "name": "darts1", **seconds, "ratio": ratio, **apart()}


def methods(repeats: int, known: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A step with an outer step in it, in units of a step with the weights alone."""
    task = images()
    problem = supernet(task)
    for name in METHODS:
        if name in known:
            continue
        method = get(name)
        alone = replace(method, gate=replace(Always(), until=0.0), regularisers=())
        if method.outer.gives_delta or name == "zarts_rs":
            method = replace(method, outer=replace(method.outer, steps=2))
        each = replace(method, gate=Always())
        weights, both = Ours(problem, alone, task), Ours(problem, each, task)
        seconds = cpu({"plain": weights, "step": both}, repeats)
        before = replace(both.state.count)
        both()
        forward = both.state.count.forward - before.forward
        backward = both.state.count.backward - before.backward
        second = both.state.count.second - before.second
        # A forward pass is about a third of a pass in both directions; a second derivative goes back through both.
        theory = (forward + 2 * (backward - second) + 2 * 3 * second) / 3
        ratio = seconds["step"] / seconds["plain"]
        row = {
            "part": "methods",
            "name": name,
            **seconds,
            "ratio": ratio,
            "passes": [forward, backward],
            "second": second,
        }
        yield {**row, "theory": theory, "over_theory": ratio / theory}


def sampled(repeats: int, known: Sequence[str]) -> Iterator[dict[str, Any]]:
    task = images()
    problem = supernet(task)
    network = problem.supernet.eval()
    x = streams_of(task, BATCH, 0.5).inner(0).batch.inputs[0]
    for seed in range(3):
        if f"architecture {seed}" in known:
            continue
        architecture = darts.space().sample(np.random.default_rng(seed))
        hot = Mix(network.one_hot(architecture))
        child = network.child(architecture)
        with torch.no_grad():
            apart = float((network(x, mix=problem.rows(hot)) - child(x)).abs().max())
            contest = {"child": lambda c=child: c(x), "supernet": lambda h=hot: network(x, mix=problem.rows(h))}
            seconds = cpu(contest, 5 * repeats)
        row = {"part": "sampled", "name": f"architecture {seed}", **seconds, "apart": apart}
        yield {**row, "ratio": seconds["supernet"] / seconds["child"]}


PARTS = {"step": step, "methods": methods, "sampled": sampled}


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["part"] == "step":
            print(
                f"step: {1e3 * row['graphnas']:.0f} ms against {1e3 * row['published']:.0f} ms, ratio {row['ratio']:.3f} "
                f"(target 0.45); weights apart {row['weights_apart']:.1e}, alpha {row['alpha_apart']:.1e}"
            )
        elif row["part"] == "sampled":
            print(f"sampled, {row['name']}: {row['ratio']:.3f} of the child (target 1.10), apart {row['apart']:.1e}")
        else:
            forward, backward = row["passes"]
            twice = f" ({row['second']} of gradients)" if row.get("second") else ""
            print(
                f"{row['name']:<12}{row['ratio']:>7.2f} plain steps; {forward} forward and {backward} backward passes{twice}: "
                f"{row['theory']:.2f}, {row['over_theory']:.2f} of it (target 1.25)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 repeats instead of 9")
    parser.add_argument("--repeats", type=int, help="another number of repeats")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; repeatable")
    parser.add_argument("--results", type=Path, default=Path("supernet_speed.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = arguments.results.read_text() if arguments.results.exists() else ""
    rows = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    rows = [row for row in rows if row["quick"] == arguments.quick]
    for part in arguments.part or PARTS:
        known = [row["name"] for row in rows if row["part"] == part]
        for made in PARTS[part](arguments.repeats or (3 if arguments.quick else 9), known):
            rows.append({**made, "quick": arguments.quick})
            with arguments.results.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
