"""Speed of graph layers against PyG and DGL: python benchmarks/gnn_speed.py [--quick]

    aggregation   sum, mean and GCN over the neighbours, forward and backward: 20,000 nodes, 200,000 edges, 64 features,
                  drawn at random; against PyG's gather-scatter (SimpleConv) and DGL's fastest kernels
    network       a training step (forward, backward, Adam) of a two-layer network of the AGNN space, compiled from its
                  architecture, against the same network written by hand with PyG layers: on the graph above, and on one of
                  the size of Cora (2,708 nodes, 10,556 edges, 1,433 features of which 1.3 % are not zero)
    benchmark     a training step of NAS-Bench-Graph networks of four equal layers on the second graph, against the same
                  network with PyG's own layers (what an exported file builds)

CPU milliseconds of one thread: the median of 15 repeats (5 with --quick), those of all contestants taking turns. Graphs are
prepared once, before the clock starts, for everybody. Rows are appended to a file of JSON lines as they are measured; a
second run measures what is missing, and prints the table from the file.
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
from typing import Any, NamedTuple

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn import functional

from graphnas.architecture import Architecture
from graphnas.compile import compile, layers_of
from graphnas.errors import GraphnasError
from graphnas.ops.dgl_neighbourhood import library
from graphnas.ops.neighbourhood import neighbourhood_of
from graphnas.tasks.base import Signature
from spaces import nasbench_graph
from spaces.gnn import agnn

Run = Callable[[], object]
Contest = dict[str, Run]
CLASSES = 7


class Graph(NamedTuple):
    x: Tensor
    edge_index: Tensor
    y: Tensor
    train: Tensor


def random_graph(nodes: int, edges: int, features: int, density: float, train: int) -> Graph:
    """Undirected: half the edges are drawn, and go both ways."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(nodes, (2, edges // 2), generator=generator)
    x = torch.rand(nodes, features, generator=generator)
    if density < 1:
        x *= torch.rand(nodes, features, generator=generator) < density
    y = torch.randint(CLASSES, (nodes,), generator=generator)
    return Graph(x, torch.cat([half, half.flip(0)], 1), y, torch.arange(train))


def large() -> Graph:
    return random_graph(20_000, 200_000, 64, 1.0, 2_000)


def like_cora() -> Graph:
    return random_graph(2_708, 10_556, 1_433, 0.0127, 140)


# -- aggregation ------------------------------------------------------------------------------------------------------


def aggregation(kind: str) -> Contest:
    graph = large()
    x, nodes = graph.x.clone().requires_grad_(), len(graph.x)
    pulled = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    ours = neighbourhood_of(graph.edge_index, nodes, "keep")
    dgl = library()
    there = dgl.graph((graph.edge_index[0], graph.edge_index[1]), num_nodes=nodes).formats(["csr", "csc"])
    scale = there.in_degrees().clamp(min=1).float().rsqrt()[:, None]
    weight = (scale[graph.edge_index[0]] * scale[graph.edge_index[1]])[:, 0]
    layer = pyg.SimpleConv(aggr="mean" if kind == "mean" else "sum")
    by_dgl: dict[str, Callable[[Tensor], Tensor]] = {
        "sum": lambda h: dgl.ops.copy_u_sum(there, h),
        "mean": lambda h: dgl.ops.copy_u_mean(there, h),
        "gcn": lambda h: dgl.ops.copy_u_sum(there, h * scale) * scale,
    }
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "graphnas": getattr(ours, kind),
        "DGL": by_dgl[kind],
        "PyG": lambda h: layer(h, graph.edge_index, weight if kind == "gcn" else None),
    }

    def both_ways(function: Callable[[Tensor], Tensor]) -> Run:
        def run() -> Tensor:
            x.grad = None
            out = function(x)
            out.backward(pulled)  # type: ignore[no-untyped-call]
            return out.detach()

        return run

    return {name: both_ways(function) for name, function in functions.items()}


# -- networks ---------------------------------------------------------------------------------------------------------


class ByHand(nn.Module):
    """Two PyG layers as one writes them: dropout, layer, activation, dropout, layer."""

    def __init__(self, first: nn.Module, second: nn.Module, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.activation = first, second, activation

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = self.activation(self.first(functional.dropout(x, 0.6, self.training), edge_index))
        return self.second(functional.dropout(h, 0.6, self.training), edge_index)  # type: ignore[no-any-return]


def by_hand(kind: str, features: int) -> nn.Module:
    if kind == "gcn":
        return ByHand(pyg.GCNConv(features, 64), pyg.GCNConv(64, CLASSES), functional.relu)
    aggregate = {"aggr": "max" if kind == "gat-max" else "sum"}
    first = pyg.GATConv(features, 8, heads=8, dropout=0.6, **aggregate)
    return ByHand(first, pyg.GATConv(64, CLASSES, concat=False, dropout=0.6, **aggregate), functional.elu)


def of_space(kind: str, signature: Signature) -> Architecture:
    attention, aggregate = ("gcn", "sum") if kind == "gcn" else ("gat", kind.removeprefix("gat-"))
    width, heads, activation = (64, 1, "relu") if kind == "gcn" else (8, 8, "elu")
    layers = [(width, heads, activation), (8, 1, "linear")]
    chosen: list[Any] = []
    for width, heads, activation in layers:
        chosen += [width, attention, heads, aggregate, "identity", activation]
    space = agnn()
    decisions = [choice.options.index(option) for choice, option in zip(space.choices, chosen, strict=True)]
    return space.network(space.decode(decisions), signature)


def step_of(module: nn.Module, graph: Graph) -> Run:
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01, weight_decay=5e-4)
    module.train()

    def run() -> None:
        loss = functional.cross_entropy(module(graph.x, graph.edge_index)[graph.train], graph.y[graph.train])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return run


def signature_of(graph: Graph) -> Signature:
    return Signature("node", (graph.x.shape[1],), CLASSES, len(graph.x), graph.edge_index.shape[1])


def network(kind: str, graph: Graph) -> Contest:
    ours = compile(of_space(kind, signature_of(graph)), seed=0)
    torch.manual_seed(0)
    return {"graphnas": step_of(ours, graph), "PyG": step_of(by_hand(kind, graph.x.shape[1]), graph)}


def benchmark(op: str) -> Contest:
    graph = like_cora()
    space = nasbench_graph.space()
    choice = nasbench_graph.OPS.index(op)
    whole = space.network(space.decode([8, *[choice] * 4]), signature_of(graph))
    ours, theirs = compile(whole, seed=0), compile(whole, seed=0)
    for name, expression in layers_of(whole).values():
        theirs.set_submodule(name, replace(expression, faster="").build())
    return {"graphnas": step_of(ours, graph), "PyG": step_of(theirs, graph)}


# -- measuring --------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    name: str
    make: Callable[[], Contest]
    targets: dict[str, float]  # largest allowed ratio of our time to another's


def cases() -> list[Case]:
    found = [
        Case(f"aggregation {kind}", lambda kind=kind: aggregation(kind), {"DGL": 1.1, "PyG": 0.25})  # type: ignore[misc]
        for kind in ("sum", "mean", "gcn")
    ]
    for where, graph in (("20,000 nodes", large), ("like Cora", like_cora)):
        for kind in ("gcn", "gat-sum", "gat-max"):
            make = lambda kind=kind, graph=graph: network(kind, graph())  # type: ignore[misc]  # noqa: E731
            found.append(Case(f"network {kind}, {where}", make, {"PyG": 1.0}))
    for op in ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc"):
        found.append(Case(f"benchmark {op}, like Cora", lambda op=op: benchmark(op), {"PyG": 1.0}))  # type: ignore[misc]
    return found


def measure(contest: Contest, repeats: int) -> dict[str, float]:
    """CPU milliseconds of each contestant, after two rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in contest}
    for repeat in range(repeats + 2):
        for name, run in contest.items():
            start = time.process_time()
            run()
            if repeat >= 2:
                times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def known_rows(path: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Rows of an earlier run; a line cut short by a kill is left out."""
    rows = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["case"], row["repeats"]] = row["milliseconds"]
    return rows


def show(case: Case, times: dict[str, float]) -> None:
    ours = times["graphnas"]
    for name, target in case.targets.items():
        ratio = ours / times[name]
        verdict = "met" if ratio <= target else "missed"
        print(
            f"{case.name:<36}{ours:>10.1f}{name:>6}{times[name]:>9.1f}{ratio:>9.2f}{target:>9.2f}  {verdict}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 repeats instead of 15")
    parser.add_argument("--only", default="", help="cases whose name starts so")
    parser.add_argument("--results", type=Path, default=Path("gnn_speed.jsonl"), help="file of rows (%(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    repeats = 5 if given.quick else 15
    rows = known_rows(given.results)
    print(f"{'CPU milliseconds':<36}{'graphnas':>10}{'other':>6}{'':>9}{'ratio':>9}{'target':>9}")
    for case in cases():
        if not case.name.startswith(given.only):
            continue
        name = (case.name, repeats)
        if name not in rows:
            rows[name] = measure(case.make(), repeats)
            with given.results.open("a") as file:
                row = {"case": case.name, "repeats": repeats, "milliseconds": rows[name]}
                file.write(json.dumps(row) + "\n")
        show(case, rows[name])


if __name__ == "__main__":
    try:
        main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
