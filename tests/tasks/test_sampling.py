"""Neighbour sampling and layer-wise inference: with all neighbours they are the whole graph; samples are uniform."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, SAGEConv
from torch_geometric.utils import k_hop_subgraph

from graphnas.compile import compile
from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import train
from graphnas.registry import get_space
from graphnas.tasks.layerwise import infer, traced
from graphnas.tasks.node import NodeTask
from graphnas.tasks.node_data import planetoid
from graphnas.tasks.sampling import NeighbourSampler
from spaces.gnn import agnn, manual_network
from spaces.nasbench_graph import OPS

NODES = 120
EXTRA_HOPS = {"gcn": 1, "arma": 1, "cheb": 2}
"""What a layer reads of its neighbours beside their features: degrees of incoming, or of outgoing edges."""


def graph(**options):
    """With isolated nodes, self-loops and one node that half of the others know."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(NODES - 10, (2, 200), generator=generator)
    hub = torch.stack([torch.zeros(60, dtype=torch.long), torch.arange(1, 61)])
    x = torch.randn(NODES, 6, generator=generator)
    return NodeTask(Data(x=x, edge_index=torch.cat([ends, hub], dim=1), y=torch.arange(NODES) % 3), **options)


def two_layers(op, signature):
    """Of one operation, one after the other; without dropout and in evaluation mode, so that rows are functions."""
    space = get_space("nasbench_graph")
    architecture = space.decode([8, OPS.index(op), OPS.index(op), 8, 8])
    return compile(space.network(architecture, signature, channels=8, dropout=0.0), seed=0).eval()


def gradient_of(task, network, batches):
    """Of the mean loss over all batches."""
    network.zero_grad()
    total = sum(len(batch.rows) for batch in batches)
    for batch in batches:
        (task.loss(network(*batch.inputs), batch) * len(batch.rows) / total).backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


# -- all neighbours ---------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [op for op in OPS if op != "skip"])
def test_with_all_neighbours_outputs_and_gradients_are_those_of_the_whole_graph(op):
    hops = [-1] * (2 + EXTRA_HOPS.get(op, 0))
    whole, parts = graph(), graph(batch=16, neighbours=hops)
    network = two_layers(op, whole.signature)
    with torch.no_grad():
        output = network(whole.x, whole.edge_index)
        for batch in parts.batches("validation"):
            rows = network(*batch.inputs)[batch.rows]
            seeds = [int((whole.x == x).all(1).nonzero()) for x in batch.inputs[0][batch.rows]]
            assert torch.allclose(rows, output[seeds], atol=1e-5)
    expected = gradient_of(whole, network, list(whole.batches("train")))
    found = gradient_of(parts, network, list(parts.batches("train", torch.Generator().manual_seed(1))))
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("undirected", [True, False])
def test_all_neighbours_within_some_hops_are_those_that_pyg_finds(hops, undirected):
    task = graph(undirected=undirected)
    seeds = torch.tensor([5, 119, 0, 77])  # the second one is isolated
    nodes, edges = task.sampler.sample(seeds, [-1] * hops)
    expected, _, _, _ = k_hop_subgraph(seeds, hops, task.edge_index, num_nodes=NODES)
    assert nodes[:4].tolist() == seeds.tolist()
    assert sorted(nodes.tolist()) == sorted(expected.tolist())
    inner, _, _, _ = k_hop_subgraph(seeds, hops - 1, task.edge_index, num_nodes=NODES)
    wanted = task.edge_index[:, torch.isin(task.edge_index[1], inner)]
    assert sorted(map(tuple, nodes[edges].T.tolist())) == sorted(map(tuple, wanted.T.tolist()))


# -- samples ----------------------------------------------------------------------------------------


def test_a_sample_takes_the_given_number_of_edges_without_replacement():
    task = graph()
    existing = set(map(tuple, task.edge_index.T.tolist()))
    degree = torch.bincount(task.edge_index[1], minlength=NODES)
    seeds = torch.tensor([0, 3, 60, 119])
    nodes, edges = task.sampler.sample(seeds, [4, 2], np.random.default_rng(0))
    taken = nodes[edges]
    assert set(map(tuple, taken.T.tolist())) <= existing
    assert len(set(map(tuple, taken.T.tolist()))) == taken.shape[1]
    assert len(set(nodes.tolist())) == len(nodes)
    got = torch.bincount(taken[1], minlength=NODES)
    assert torch.equal(got[seeds], degree[seeds].clamp(max=4))
    first = torch.isin(nodes, taken[0][torch.isin(taken[1], seeds)]) & ~torch.isin(nodes, seeds)
    assert torch.equal(got[nodes[first]], degree[nodes[first]].clamp(max=2))
    last = ~first & ~torch.isin(nodes, seeds)
    assert not got[nodes[last]].any()


def test_every_neighbour_is_equally_likely():
    star = torch.stack([torch.arange(1, 13), torch.zeros(12, dtype=torch.long)])
    sampler, rng = NeighbourSampler(star, 13), np.random.default_rng(0)
    together = np.zeros((13, 13))
    for _ in range(3000):
        nodes = sampler.sample(torch.tensor([0]), [5], rng)[0].numpy()[1:]
        assert len(set(nodes)) == 5
        together[np.ix_(nodes, nodes)] += 1
    single, pair = 3000 * 5 / 12, 3000 * (5 * 4) / (12 * 11)
    assert np.abs(np.diag(together)[1:] - single).max() < 5 * np.sqrt(single)
    off = together[1:, 1:][~np.eye(12, dtype=bool)]
    assert np.abs(off - pair).max() < 5 * np.sqrt(pair)


def test_samples_follow_the_generator():
    task = graph(batch=16, neighbours=(3, 2))

    def epoch(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return [
            (b.inputs[0].sum().item(), b.inputs[1].tolist(), b.target.tolist())
            for b in task.batches("train", generator)
        ]

    assert epoch(0) == epoch(0) != epoch(1)
    assert epoch(None) == epoch(None)
    generator = torch.Generator().manual_seed(0)
    one, two = ([b.inputs[1].tolist() for b in task.batches("train", generator)] for _ in range(2))
    assert one != two


def test_an_epoch_has_every_training_node_once():
    task = graph(batch=16, neighbours=(3,))
    batches = list(task.batches("train", torch.Generator().manual_seed(0)))
    assert [len(batch.rows) for batch in batches] == [16] * 4 + [8]
    x = torch.cat([batch.inputs[0][batch.rows] for batch in batches])
    y = torch.cat([batch.target[batch.rows] for batch in batches])
    rows = task.rows("train")
    assert sorted(x.sum(1).tolist()) == sorted(task.x[rows].sum(1).tolist())
    assert torch.equal(torch.bincount(y), torch.bincount(task.y[rows]))
    half = sum(len(batch.rows) for batch in task.batches("train", share=0.5))
    assert half == 36
    assert task.describe()["batch"] == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "a batch has 0 nodes"),
        ({"evaluation_batch": -1}, "a batch has -1 nodes"),
        ({"batch": 4, "neighbours": ()}, r"the neighbours are \[\]; give at least 1, or -1"),
        ({"batch": 4, "neighbours": (5, 0)}, r"the neighbours are \[5, 0\]"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(GraphnasError, match=message):
        graph(**options)


# -- layer-wise inference ---------------------------------------------------------------------------


@pytest.mark.parametrize("op", [op for op in OPS if op != "skip"])
def test_layers_in_parts_give_what_a_single_pass_gives(op):
    whole, parts = graph(), graph(evaluation_batch=17)
    network = two_layers(op, whole.signature)
    with torch.no_grad():
        one = network(whole.x, whole.edge_index)
        other = infer(network, (whole.x, whole.edge_index), whole.sampler, 17, undirected=True)
    assert torch.allclose(one, other, atol=1e-5)
    for split in ("validation", "test"):
        assert parts.evaluate(network, split) == pytest.approx(whole.evaluate(network, split), rel=1e-5)


def test_a_layer_of_many_hops_gets_them_in_parts_too():
    """Outputs that are propagated five steps; parts of one hop would give something else."""
    space, task = agnn(2, propagation=True), graph()
    chosen = space.describe(manual_network(space, "appnp")) | {"propagation": 5}
    architecture = space.decode([c.options.index(chosen[c.name]) for c in space.choices])
    network = compile(space.network(architecture, task.signature), seed=0).eval()
    with torch.no_grad():
        one = network(task.x, task.edge_index)
        other = infer(network, (task.x, task.edge_index), task.sampler, 17, undirected=True)
        assert torch.allclose(one, other, atol=1e-5)
        network.propagation.K = 1
        assert not torch.allclose(one, network(task.x, task.edge_index), atol=1e-3)


class Hand(nn.Module):
    """Written by hand, with a skip connection and attention."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = SAGEConv(6, 8), GATConv(8, 4, heads=2), nn.Linear(8, 3)
        self.norm, self.bias = nn.BatchNorm1d(8), nn.Parameter(torch.ones(8))

    def forward(self, x, edge_index):
        h = functional.dropout(self.norm(self.first(x, edge_index).relu()), 0.5, training=self.training)
        return self.last(self.second(h, edge_index) + h * self.bias)


def test_networks_written_by_hand_are_taken_apart_too(monkeypatch):
    parts, network = graph(evaluation_batch=32, undirected=False), Hand()
    assert traced(network) is not None
    expected = graph(undirected=False).evaluate(network, "test")
    largest = []
    forward = SAGEConv.forward
    monkeypatch.setattr(SAGEConv, "forward", lambda self, x, e: (largest.append(len(x)), forward(self, x, e))[1])
    assert parts.evaluate(network, "test") == pytest.approx(expected, rel=1e-5)
    assert len(largest) == 4
    assert max(largest) < NODES


class Untraceable(Hand):
    def forward(self, x, edge_index):
        return super().forward(x, edge_index) if float(x.sum()) < 1e9 else x


class OfAllNodes(Hand):
    """Weights edges by a mean over all nodes."""

    def forward(self, x, edge_index):
        degree = torch.zeros(x.size(0)).index_add(0, edge_index[1], x.mean() * torch.ones(edge_index.size(1)))
        return super().forward(x + degree.unsqueeze(1), edge_index)


@pytest.mark.parametrize("kind", [Untraceable, OfAllNodes])
def test_networks_that_cannot_be_taken_apart_are_run_in_one_pass(kind):
    network = kind()
    assert graph(evaluation_batch=32).evaluate(network, "test") == graph().evaluate(network, "test")


def test_a_task_is_pickled_with_its_sampler():
    task = graph(batch=16, evaluation_batch=20)
    first = next(task.batches("train"))
    again = next(pickle.loads(pickle.dumps(task)).batches("train"))
    assert torch.equal(first.inputs[0], again.inputs[0])
    assert torch.equal(first.inputs[1], again.inputs[1])


def test_cora_is_learned_from_samples():
    if find("planetoid/Cora/raw/ind.cora.x") is None:
        pytest.skip("planetoid/Cora/raw/ind.cora.x is not below GRAPHNAS_DATA")
    task = NodeTask(planetoid("Cora"), batch=70, neighbours=(10, 5))

    class GCN(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = GCNConv(1433, 16), GCNConv(16, 7)

        def forward(self, x, edge_index):
            return self.second(self.first(x, edge_index).relu(), edge_index)

    network = GCN()
    recipe = Recipe("adam", learning_rate=0.03, weight_decay=5e-4, schedule="constant", clip=None)
    train(network, task, recipe, Fidelity(12))
    assert task.evaluate(network, "test")["accuracy"] > 70  # 14 % by chance, 81 % in Kipf & Welling (2017)
