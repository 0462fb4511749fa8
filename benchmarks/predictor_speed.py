"""Speed and memory of the graph predictors: python benchmarks/predictor_speed.py

CPU seconds of one thread (on a busy machine, two threads made such small models up to 60 times slower). What is compared
is repeated in turns inside one run, and the median of the turns counts.

    epoch     one epoch of a bidirectional GCN of four layers of 144 features on 1,000 graphs of NAS-Bench-201, by
              graphnas (padded dense batches of 128, encoded once), by the procedure of NASLib's Neural Predictor (Wen et al., ECCV
              2020; batches of 7, put together from dictionaries of padded matrices), and by PyG (sparse batches of 128)
    predict   such a network on all 15,625 graphs: graphnas from architectures whose canonical forms are known, PyG from its
              own graphs of the same forms
    default   fit the default predictor to 156 and to 1,000 labels and rank the whole space, from a cold start
    ask       one ask of predictor-guided search over 1,000 candidates in one call of the predictor, without a refit
    memory    the default predictor on 423,624 cells of NAS-Bench-101 in a process of its own (minutes)

    python benchmarks/predictor_speed.py --quick              # fewer turns, and memory for a tenth of the cells
    python benchmarks/predictor_speed.py --parts epoch,ask
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
_FOLDER = Path(__file__).resolve().parent
# Python looks for imports in the folder of the script first, where a file has the name of the package `predictors`.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _FOLDER]

import numpy as np
import torch
from torch import Tensor, nn

import graphnas.encoding.forms
from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.encoding import canonical_forms, encode_dense, to_pyg, vocabulary_of
from graphnas.errors import GraphnasError
from graphnas.space import Space
from graphnas.strategies.base import Trial
from graphnas.strategies.guided import PredictorGuided
from predictors.colour_encoder import coloured
from predictors.contraction import contract_merges
from predictors.gcn import GCNPredictor
from predictors.gcn_network import ScoreNetwork, train
from predictors.losses import mse
from spaces import nasbench101

torch.set_num_threads(1)

WIDTH, LAYERS, HIDDEN = 144, 4, 128
GRAPHS = 1000
BATCH = 128
CELLS = 423_624
PARTS = ("epoch", "predict", "default", "ask", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three turns instead of nine, a tenth of the cells")
    parser.add_argument("--parts", help=f"parts, separated by commas (default: {','.join(PARTS)})")
    parser.add_argument("--results", type=Path, help="append the figures to this file of JSON lines")
    given = parser.parse_args()
    parts = given.parts.split(",") if given.parts else list(PARTS)
    if wrong := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(wrong))}")
    turns = 3 if given.quick else 9
    run: dict[str, Callable[[], Iterator[tuple[str, float, str, float | None]]]] = {
        "epoch": lambda: epochs(turns),
        "predict": lambda: predictions(turns),
        "default": defaults,
        "ask": lambda: asks(turns),
        "memory": lambda: memory(CELLS // 10 if given.quick else CELLS),
    }
    print(f"{'one thread, CPU seconds':<72}{'measured':>10}{'target':>9}")
    for part in parts:
        for what, measured, unit, target in run[part]():
            met = "" if target is None else "  met" if measured <= target else "  MISSED"
            wanted = "" if target is None else f"<= {target:g}"
            print(f"{what:<72}{measured:>9.3f}{unit:<1}{wanted:>9}{met}", flush=True)
            if given.results:
                with given.results.open("a") as file:
                    file.write(json.dumps({"part": part, "what": what, "measured": measured, "target": target}) + "\n")


def in_turns(turns: int, **runs: Callable[[], object]) -> dict[str, float]:
    """Median CPU seconds of each, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            if turn:
                seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


# -- one epoch ----------------------------------------------------------------------------------


def epochs(turns: int) -> Iterator[tuple[str, float, str, float | None]]:
    space = registry.get_space("nasbench201")
    rng = np.random.default_rng(0)
    chosen = [space.sample(rng) for _ in range(GRAPHS)]
    targets = torch.from_numpy(rng.normal(size=GRAPHS)).float()
    forms = contract_merges(space, canonical_forms(space, chosen))

    begin = time.process_time()
    graphs = coloured(encode_dense(space, forms, canonical=False), LAYERS)
    encoding = time.process_time() - begin
    own = ScoreNetwork(len(vocabulary_of(space)), 0, WIDTH, LAYERS, HIDDEN, 0.1)
    generator = torch.Generator().manual_seed(0)

    def own_epoch() -> None:
        train(
            own, graphs, torch.zeros(GRAPHS, 0), targets, mse,
            steps=-(-GRAPHS // BATCH), batch=BATCH, learning_rate=1e-3, weight_decay=1e-3, generator=generator,
        )  # fmt: skip

    naslib, dictionaries = WenNetwork(), [as_dictionary(space, a) for a in chosen]
    naslib_optimiser = torch.optim.Adam(naslib.parameters(), lr=1e-4, weight_decay=3e-4)
    sparse, data = PygNetwork(len(vocabulary_of(space))), with_weights(to_pyg(space, forms).to_data_list())
    sparse_optimiser = torch.optim.AdamW(sparse.parameters(), lr=1e-3, weight_decay=1e-3)
    seconds = in_turns(
        turns,
        graphnas=own_epoch,
        naslib=lambda: naslib_epoch(naslib, dictionaries, targets, naslib_optimiser),
        pyg=lambda: pyg_epoch(sparse, data, targets, sparse_optimiser),
    )
    yield "an epoch on 1,000 graphs: graphnas, dense batches of 128", seconds["graphnas"], "s", None
    yield "    (their encoding, once)", encoding, "s", None
    yield "an epoch on 1,000 graphs: procedure of NASLib, batches of 7", seconds["naslib"], "s", None
    yield "an epoch on 1,000 graphs: PyG, sparse batches of 128", seconds["pyg"], "s", None
    yield "graphnas / NASLib", seconds["graphnas"] / seconds["naslib"], "", 0.2
    yield "graphnas / PyG", seconds["graphnas"] / seconds["pyg"], "", 0.6


def as_dictionary(space: Space, architecture: Architecture) -> dict[str, np.ndarray]:
    """A cell as NASLib holds it: eight vertices (input, six operations, output), padded matrices in numpy."""
    from spaces.nasbench201 import EDGES, OPS

    decisions = space.encode(architecture)
    adjacency, ops = np.zeros((8, 8), dtype=np.float32), np.zeros((8, len(OPS) + 2), dtype=np.float32)
    ops[0, 0], ops[7, 1] = 1, 1
    for i, (source, target) in enumerate(EDGES, start=1):
        ops[i, 2 + decisions[i - 1]] = 1
        adjacency[0, i] = source == 0
        adjacency[i, 7] = target == 3
        for j, (other, _) in enumerate(EDGES, start=1):
            adjacency[i, j] = other == target
    mask = np.ones(8, dtype=np.float32)
    return {"num_vertices": np.float32(8), "adjacency": adjacency, "operations": ops, "mask": mask}  # type: ignore[dict-item]


class WenNetwork(nn.Module):
    """The Neural Predictor (Wen et al., ECCV 2020, section 3) as NASLib has it: dense products along and against the edges.

    ``H <- (relu(A H W_1) + relu(A' H W_2)) / 2``; self-loops are added once, and every layer divides the rows by their
    sums again. The head is linear.
    """

    def __init__(self) -> None:
        super().__init__()
        pairs = list(pairwise([7, *[WIDTH] * LAYERS]))
        self.forwards = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)
        self.backwards = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)
        self.dropout = nn.Dropout(0.1)
        self.hidden, self.last = nn.Linear(WIDTH, HIDDEN, bias=False), nn.Linear(HIDDEN, 1, bias=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        h, adjacency = batch["operations"], batch["adjacency"]
        looped = divided(adjacency + torch.eye(adjacency.shape[-1]))
        for first, second in zip(self.forwards, self.backwards, strict=True):
            along = torch.relu(divided(looped) @ first(h))
            against = torch.relu(divided(looped.transpose(1, 2)) @ second(h))
            h = self.dropout((along + against) / 2)
        pooled = h.sum(1) / batch["num_vertices"][:, None]
        return self.last(self.dropout(self.hidden(pooled))).squeeze(1)  # type: ignore[no-any-return]


def divided(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(-1, keepdim=True)


def naslib_epoch(network: WenNetwork, graphs: list[Any], targets: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """Dictionaries are collated to tensors batch by batch; unlike NASLib's loop, this one zeroes the gradients."""
    data = [{**graph, "val_acc": target} for graph, target in zip(graphs, targets.numpy(), strict=True)]
    network.train()
    for batch in torch.utils.data.DataLoader(data, batch_size=7, shuffle=True, drop_last=True):  # type: ignore[arg-type]
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(network(batch), batch["val_acc"])
        loss.backward()
        optimiser.step()
        loss.item()


def with_weights(data: list[Any]) -> list[Any]:
    """The graphs with self-loops, in both directions, and with the weights of row-normalised adjacencies made once."""
    from torch_geometric.utils import degree

    for graph in data:
        nodes = torch.arange(graph.num_nodes)
        for name, edges in (("along", graph.edge_index), ("against", graph.edge_index.flip(0))):
            looped = torch.cat([edges, nodes.repeat(2, 1)], dim=1)
            graph[f"{name}_index"] = looped
            graph[f"{name}_weight"] = 1 / degree(looped[1], graph.num_nodes)[looped[1]]
    return data


class PygNetwork(nn.Module):
    """The same layers as graphnas's own, of PyG's parts: ``H <- H + relu(P H W_1 + P' H W_2)``, then the mean."""

    def __init__(self, tokens: int) -> None:
        from torch_geometric.nn import GCNConv

        super().__init__()
        self.embedding = nn.Linear(tokens, WIDTH, bias=False)
        self.forwards = nn.ModuleList(GCNConv(WIDTH, WIDTH, normalize=False) for _ in range(LAYERS))
        self.backwards = nn.ModuleList(GCNConv(WIDTH, WIDTH, normalize=False, bias=False) for _ in range(LAYERS))
        self.dropout = nn.Dropout(0.1)
        self.hidden, self.last = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, batch: Any) -> Tensor:
        from torch_geometric.nn import global_mean_pool

        h = self.embedding(batch.x)
        for first, second in zip(self.forwards, self.backwards, strict=True):
            message = first(h, batch.along_index, batch.along_weight)
            message = message + second(h, batch.against_index, batch.against_weight)
            h = h + self.dropout(torch.relu(message))
        pooled = global_mean_pool(h, batch.batch, size=batch.num_graphs)
        return self.last(self.dropout(torch.relu(self.hidden(pooled)))).squeeze(1)  # type: ignore[no-any-return]


def pyg_epoch(network: PygNetwork, data: list[Any], targets: Tensor, optimiser: torch.optim.Optimizer) -> None:
    from torch_geometric.loader import DataLoader

    for graph, target in zip(data, targets, strict=True):
        graph.y = target[None]
    network.train()
    for batch in DataLoader(data, batch_size=BATCH, shuffle=True):
        optimiser.zero_grad()
        nn.functional.mse_loss(network(batch), batch.y).backward()
        optimiser.step()


# -- the whole space ----------------------------------------------------------------------------


def predictions(turns: int) -> Iterator[tuple[str, float, str, float | None]]:
    from torch_geometric.loader import DataLoader

    space = registry.get_space("nasbench201")
    everything = list(space.enumerate())
    begin = time.process_time()
    forms = contract_merges(space, canonical_forms(space, everything))
    simplifying = time.process_time() - begin
    rng = np.random.default_rng(0)
    own = GCNPredictor(
        space, networks=1, width=WIDTH, layers=LAYERS, hidden=HIDDEN, loss="mse", steps=1,
        scalars=False, kernel=False, trees=0,
    )  # fmt: skip
    own.fit(everything[:50], rng.normal(size=50))
    begin = time.process_time()
    data = with_weights(to_pyg(space, forms).to_data_list())
    converting = time.process_time() - begin
    sparse = PygNetwork(len(vocabulary_of(space))).eval()

    def pyg() -> None:
        with torch.no_grad():
            for batch in DataLoader(data, batch_size=BATCH):
                sparse(batch)

    seconds = in_turns(max(1, turns // 3), graphnas=lambda: own.predict(everything), pyg=pyg)
    yield "15,625 predictions: graphnas, from architectures", seconds["graphnas"], "s", None
    yield "    (their canonical forms, once)", simplifying, "s", None
    yield "15,625 predictions: PyG, from its graphs of the canonical forms", seconds["pyg"], "s", None
    yield "    (these graphs, once)", converting, "s", None
    yield "graphnas / PyG", seconds["graphnas"] / seconds["pyg"], "", 0.15


def forget(space: Space) -> list[Architecture]:
    """The whole space, of which nothing is remembered."""
    space.forget()
    graphnas.encoding.forms._forms.clear()
    return list(space.enumerate())


def defaults() -> Iterator[tuple[str, float, str, float | None]]:
    estimator = registry.get_table("nasbench201/cifar10")
    validation = estimator.table.columns[estimator.table.validation]
    for labels, target in ((156, 15.0), (1000, 60.0)):
        forget(estimator.space)
        decode = estimator.space.decode
        everything = [decode(row) for row in estimator.table.decisions.tolist()]
        rows = np.random.default_rng(0).permutation(len(everything))[:labels]
        begin = time.process_time()
        predictor = GCNPredictor(estimator.space).fit([everything[i] for i in rows], validation[rows])
        middle = time.process_time()
        predictor.predict(everything)
        end = time.process_time()
        yield f"default predictor: fit {labels:,} labels", middle - begin, "s", None
        yield "    rank all 15,625", end - middle, "s", None
        yield f"    together, {labels:,} labels", end - begin, "s", target


# -- one ask ------------------------------------------------------------------------------------


def asks(turns: int) -> Iterator[tuple[str, float, str, float | None]]:
    estimator = registry.get_table("nasbench201/cifar10")
    space = estimator.space
    for name, options, target in (
        ("1,000 candidates, no climbing", {"candidates": 1000, "climbs": 0}, 0.2),
        ("default settings (several calls)", {}, None),
    ):
        forget(space)
        strategy = PredictorGuided(space, np.random.default_rng(0), every=10**6, initial=100, **options)  # type: ignore[arg-type]
        calls: list[int] = []
        inner = strategy.learner.predict

        def counting(a: Any, inner: Callable[..., Any] = inner, calls: list[int] = calls) -> Any:
            calls.append(len(a))
            return inner(a)

        strategy.learner.predict = counting  # type: ignore[method-assign]
        number, seconds = 0, []
        for turn in range(3 * turns + 20):
            begin = time.process_time()
            asked = strategy.ask(10)
            spent = time.process_time() - begin
            trials = []
            for architecture in asked:
                score = estimator.evaluate(architecture).score
                trials.append(Trial(number, architecture, space.key(architecture), "complete", score, seed=0, cost=1.0))
                number += 1
            strategy.tell(trials)
            if calls and turn > 12:
                seconds.append((spent, list(calls)))
            calls.clear()
        median = statistics.median(spent for spent, _ in seconds)
        worst = max(spent for spent, _ in seconds)
        sizes = [sum(each) for _, each in seconds]
        number_of_calls = statistics.median(len(each) for _, each in seconds)
        yield f"one ask of guided search, {name}: median", median, "s", target
        yield "    the slowest of all asks", worst, "s", None
        yield "    architectures predicted for an ask (median)", statistics.median(sizes), "", None
        yield "    calls of the predictor for an ask (median)", number_of_calls, "", None


# -- memory -------------------------------------------------------------------------------------


def memory(cells: int) -> Iterator[tuple[str, float, str, float | None]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.npy"
        np.save(path, some_cells(cells))
        command = [sys.executable, __file__, "--child", str(path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, capture_output=True, env=environment, check=False, text=True)
    if done.returncode:
        raise GraphnasError(f"the process that predicts failed: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout)
    yield f"peak memory, {cells:,} cells of NAS-Bench-101 (GiB)", found["peak"], "", 2.0
    yield "    of which before the prediction: imports, cells, fit (GiB)", found["before"], "", None
    yield "    CPU seconds of the prediction", found["seconds"], "s", None
    yield "    distinct cells among them, in millions", found["distinct"] / 1e6, "", None


def some_cells(count: int) -> np.ndarray:
    """Decisions ``[count, 26]`` (uint8) of cells of NAS-Bench-101, the largest first; nearly all of them are distinct."""
    graphs = helper("graphs.py")
    made: list[list[int]] = []
    for vertices in range(nasbench101.MAX_VERTICES, 1, -1):
        inner = vertices - 2
        place = [*range(vertices - 1), nasbench101.MAX_VERTICES - 1]
        unlabelled: dict[str, np.ndarray] = {}
        for matrix in graphs.full_matrices(vertices):
            unlabelled.setdefault(graphs.cell_key(matrix, nasbench101.OPS[:1] * inner), matrix)
        for matrix in unlabelled.values():
            edges = {(place[i], place[j]) for i, j in np.argwhere(matrix).tolist()}
            bits = [int(pair in edges) for pair in nasbench101.PAIRS]
            for ops in product(range(len(nasbench101.OPS)), repeat=inner):
                made.append([*bits, *ops, *[0] * (nasbench101.MAX_VERTICES - vertices)])
                if len(made) == count:
                    return np.array(made, dtype=np.uint8)
    raise AssertionError("there are 423,624 distinct cells")


def helper(name: str) -> Any:
    """Another benchmark of this folder as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{Path(name).stem}", _FOLDER / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def child(path: str) -> None:
    """The process whose memory is measured: the default predictor ranks the cells of a file."""
    space = registry.get_space("nasbench101")
    rows = np.load(path)
    cells = [space.decode(row) for row in rows.tolist()]
    rng = np.random.default_rng(0)
    known = [space.sample(rng) for _ in range(156)]
    predictor = GCNPredictor(space).fit(known, rng.normal(size=156))
    before = peak()
    begin = time.process_time()
    mean = predictor.predict(cells).mean
    seconds = time.process_time() - begin
    found = {"peak": peak(), "before": before, "seconds": seconds, "distinct": len(np.unique(mean))}
    print(json.dumps(found))


def peak() -> float:
    """Peak resident memory of this process in GiB."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30


if __name__ == "__main__":
    try:
        child(sys.argv[2]) if sys.argv[1:2] == ["--child"] else main()
    except GraphnasError as error:
        raise SystemExit(str(error)) from None
