"""The check of tasks accepts all kinds of tasks that ship with graphnas, and names what is wrong with others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphnas.data import find
from graphnas.registry import get_task
from graphnas.tasks.base import Batch
from graphnas.tasks.graph import GraphTask
from graphnas.tasks.inductive import InductiveNodeTask
from graphnas.tasks.link import LinkTask
from graphnas.tasks.link_decoder import HadamardDecoder
from graphnas.tasks.node import NodeTask
from graphnas.testing import check_task


def graph(nodes: int, y: Any, seed: int = 0) -> Data:
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(nodes, (2, 2 * nodes), generator=generator)
    return Data(x=torch.randn(nodes, 4, generator=generator), edge_index=edges, y=y)


def node_task(**options: Any) -> NodeTask:
    return NodeTask(graph(60, torch.arange(60) % 3), **options)


def graph_task(**options: Any) -> GraphTask:
    return GraphTask([graph(3 + i % 4, i % 2, seed=i) for i in range(40)], **options)


def labels(number: int) -> Tensor:
    return (torch.arange(5 * 4).reshape(5, 4) * (number + 1) % 3 == 0).long()


TASKS = {
    "node": node_task,
    "node, sampled": lambda: node_task(batch=8, neighbours=(3, 2), evaluation_batch=16),
    "graph": graph_task,
    "graph, largest": lambda: graph_task(readout="max", batch_size=7),
    "graph, numbers": lambda: GraphTask([graph(4, torch.randn(1, 2), seed=i) for i in range(30)]),
    "inductive": lambda: InductiveNodeTask([graph(5, labels(i), seed=i) for i in range(12)], batch_size=2),
    "link": lambda: LinkTask(graph(40, None)),
    "link, in batches": lambda: LinkTask(graph(40, None), batch_size=10, metric="hits@5"),
}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_on_graphs_keep_the_rules(name: str) -> None:
    check_task(TASKS[name]())


@pytest.mark.parametrize("name", ["digits", "karate", "mutag", "ogbg-molesol", "ogbg-molbbbp", "cora-links"])
def test_registered_tasks_keep_the_rules(name: str) -> None:
    files = {"mutag": "tu/MUTAG.tar.xz", "cora-links": "planetoid/Cora/raw/ind.cora.x"}
    needed = files.get(name, f"ogb/{name.replace('-', '_')}.tar" if name.startswith("ogb") else None)
    if needed is not None and find(needed) is None:
        pytest.skip(f"{needed} is not below GRAPHNAS_DATA")
    check_task(get_task(name))


def test_a_task_with_its_own_calling_convention_is_checked_with_a_network_for_it() -> None:
    class Embed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 8)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.layer(x)  # type: ignore[no-any-return]

    check_task(LinkTask(graph(40, None), decoder=None), HadamardDecoder(Embed(), 8))


class Broken(NodeTask):
    def __init__(self, **options: Any) -> None:
        super().__init__(graph(60, torch.arange(60) % 3), **options)


class Global(Broken):
    def batches(self, split: str, generator: Any = None, share: float = 1.0) -> Iterator[Batch]:
        torch.rand(1)
        return super().batches(split, generator, share)


class Wanders(Broken):
    count = 0

    def batches(self, split: str, generator: Any = None, share: float = 1.0) -> Iterator[Batch]:
        self.count += 1
        return (batch._replace(target=(batch.target + self.count) % 3) for batch in super().batches(split, None, share))


class Unshared(Broken):
    def batches(self, split: str, generator: Any = None, share: float = 1.0) -> Iterator[Batch]:
        next(super().batches(split, generator, share))
        return super().batches(split, generator)


class Lenient(Broken):
    def batches(self, split: str, generator: Any = None, share: float = 1.0) -> Iterator[Batch]:
        return super().batches(split, generator, min(max(share, 0.01), 1.0))


class NoGradient(Broken):
    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return super().loss(output, batch) * 0


class LossPerNode(Broken):
    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return super().loss(output, batch).expand(2)


class LeavesEvaluation(Broken):
    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        network.eval()
        return super().evaluate(network, split)


class WithoutMetric(Broken):
    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        values = super().evaluate(network, split)
        return {"cross_entropy": values["cross_entropy"]}


class Trains(Broken):
    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        values = super().evaluate(network, split)
        with torch.no_grad():
            next(network.parameters()).mul_(1.0001)
        return values


class NotJSON(Broken):
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "x": self.x}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Global, "draws from the global generator of torch"),
        (Wanders, "two passes over train must be the same"),
        (Unshared, "they must rise"),
        (Lenient, "must refuse a share of 0"),
        (NoGradient, "no gradient"),
        (LossPerNode, r"the loss has shape \[2\]"),
        (LeavesEvaluation, "leave the network in the mode"),
        (WithoutMetric, "without accuracy"),
        (Trains, "two measurements|must not change weights"),
        (NotJSON, "JSON values"),
    ],
)
def test_what_is_wrong_is_named(kind: type[Broken], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_task(kind())
