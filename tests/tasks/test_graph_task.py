"""Tasks on whole graphs: splits, batches, read-outs, and networks that learn MUTAG and the solubility of molecules."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch_geometric.data import Batch as PyGBatch
from torch_geometric.data import Data
from torch_geometric.nn import GINConv, GINEConv, global_add_pool

from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import train
from graphnas.estimators.training import TrainingEstimator
from graphnas.registry import get_space, get_task
from graphnas.tasks import tu_data
from graphnas.tasks.graph import GraphTask

ADAM = Recipe("adam", learning_rate=0.01, weight_decay=0.0, schedule="constant", clip=None)


def graphs(count=24, classes=3, **more):
    generator = torch.Generator().manual_seed(0)
    result = []
    for number in range(count):
        nodes = 1 + number % 5
        x = torch.randn(nodes, 4, generator=generator)
        edges = torch.randint(nodes, (2, 2 * nodes - 2), generator=generator)
        y = more.get("y", lambda number: number % classes)(number)
        result.append(Data(x=x, edge_index=edges, edge_attr=torch.randn(edges.shape[1], 4, generator=generator), y=y))
    return result


class Linear(nn.Module):
    def __init__(self, features=4, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(features, outputs)

    def forward(self, x, edge_index):
        return self.layer(x)


class GIN(nn.Module):
    def __init__(self, signature, width):
        super().__init__()
        torch.manual_seed(0)
        sizes = [*signature.input, width, width]
        self.layers = nn.ModuleList(
            GINConv(nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, b))) for a, b in pairwise(sizes)
        )
        self.last = nn.Linear(width, signature.outputs)

    def forward(self, x, edge_index):
        for layer in self.layers:
            x = layer(x, edge_index).relu()
        return self.last(x)


# -- splits and batches ---------------------------------------------------------------------------


def test_given_splits_are_kept_and_validation_is_set_aside_when_it_is_missing():
    task = GraphTask(graphs(), {"train": range(12), "validation": [13, 12], "test": np.arange(14, 24)})
    assert [task.rows(split).tolist() for split in task.splits] == [[*range(12)], [12, 13], [*range(14, 24)]]
    task = GraphTask(graphs(), {"train": range(18)}, shares=(0.4, 0.2, 0.4))
    assert task.splits == ("train", "validation")
    assert sorted([*task.rows("train").tolist(), *task.rows("validation").tolist()]) == [*range(18)]
    assert np.bincount(task.y[task.rows("validation")]).tolist() == [2, 2, 2]


def test_random_splits_are_stratified_and_seeded():
    task = GraphTask(graphs(60), shares=(0.5, 0.25, 0.25), seed=1)
    rows = [task.rows(split) for split in task.splits]
    assert sorted(torch.cat(rows).tolist()) == [*range(60)]
    assert [np.bincount(task.y[part]).tolist() for part in rows] == [[10] * 3, [5] * 3, [5] * 3]
    again, other = (GraphTask(graphs(60), shares=(0.5, 0.25, 0.25), seed=seed) for seed in (1, 2))
    assert torch.equal(again.rows("test"), rows[2])
    assert not torch.equal(other.rows("test"), rows[2])


def test_an_epoch_goes_once_through_the_training_graphs_in_a_drawn_order():
    task = GraphTask(graphs(), {"train": range(17), "validation": range(17, 24)}, batch_size=4)
    sizes = [len(batch.target) for batch in task.batches("train")]
    assert sizes == [4, 4, 4, 5]  # a last graph alone joins the batch before
    orders = []
    for seed in (0, 0, 1):
        batches = list(task.batches("train", torch.Generator().manual_seed(seed)))
        x = torch.cat([batch.inputs[0] for batch in batches])
        assert sorted(x.flatten().tolist()) == sorted(task.graphs.union(torch.arange(17)).x.flatten().tolist())
        orders.append(x)
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": [0, 1], "validation": [1, 2]}, "graph 1 is in train and again in validation"),
        ({"train": [0, 1, 0]}, "graph 0 is in train and again in train"),
        ({"train": [24]}, "names graph 24; there are graphs 0 to 23"),
        ({"train": [-1]}, "names graph -1"),
        ({"train": []}, "the train split has shape"),
        ({"train": torch.ones(24, dtype=torch.bool)}, "give the numbers of its graphs"),
        ({"validation": [0]}, "no 'train'"),
        ({"train": [0, 1], "valid": [2]}, "unknown split 'valid'; nearest: validation"),
    ],
)
def test_wrong_splits_are_answered_with_one_sentence(splits, message):
    with pytest.raises(GraphnasError, match=message) as caught:
        GraphTask(graphs(), splits)
    assert "\n" not in str(caught.value)


def test_wrong_options_are_refused():
    with pytest.raises(GraphnasError, match="unknown readout 'median'"):
        GraphTask(graphs(), readout="median")
    with pytest.raises(GraphnasError, match="batch size is 0"):
        GraphTask(graphs(), batch_size=0)
    with pytest.raises(GraphnasError, match="graph 0 has no y"):
        GraphTask([Data(x=torch.eye(2), edge_index=torch.zeros(2, 0, dtype=torch.long))])
    with pytest.raises(GraphnasError, match="unknown split of task graph: 'dev'"):
        GraphTask(graphs()).rows("dev")


# -- loss and metrics -----------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["mean", "sum", "max"])
def test_loss_and_metrics_are_those_of_each_graph_by_itself(readout):
    data = graphs()
    task = GraphTask(data, {"train": range(12), "validation": range(12, 24)}, readout=readout, batch_size=5)
    network = Linear()
    reduce = {"mean": lambda v: v.mean(0), "sum": lambda v: v.sum(0), "max": lambda v: v.max(0).values}[readout]
    logits = torch.stack([reduce(network(d.x, d.edge_index)) for d in data]).detach()
    y = torch.tensor([d.y for d in data])
    losses = [(float(task.loss(network(*b.inputs), b).detach()), len(b.target)) for b in task.batches("train")]
    mean = sum(value * size for value, size in losses) / 12
    assert mean == pytest.approx(float(functional.cross_entropy(logits[:12], y[:12])), rel=1e-5)
    values = task.evaluate(network, "validation")
    assert values["accuracy"] == pytest.approx(100 * float((logits[12:].argmax(1) == y[12:]).double().mean()))
    assert values["cross_entropy"] == pytest.approx(float(functional.cross_entropy(logits[12:], y[12:])), rel=1e-5)
    with pytest.raises(GraphnasError, match=r"returned shape \[\d+, 2\], but the task needs \[\d+, 3\]"):
        task.evaluate(Linear(outputs=2), "validation")


class Whole(nn.Module):
    """Pools by itself, and reads the features of edges."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.last = GINEConv(nn.Linear(4, 8)), nn.Linear(8, 3)

    def forward(self, x, edge_index, edge_attr, graph):
        return self.last(global_add_pool(self.layer(x, edge_index, edge_attr), graph, int(graph.max()) + 1))


def test_a_network_may_pool_itself_and_read_the_features_of_edges():
    data = graphs()
    task = GraphTask(
        data, {"train": range(12), "validation": range(12, 24)}, readout=None, edge_features=True, undirected=False
    )
    network, whole = Whole(), PyGBatch.from_data_list(data[12:])
    logits = network(whole.x, whole.edge_index, whole.edge_attr, whole.batch)
    expected = functional.cross_entropy(logits, whole.y).item()
    assert task.evaluate(network, "validation")["cross_entropy"] == pytest.approx(expected, rel=1e-6)
    with pytest.raises(GraphnasError, match=r"the task needs \[12, 3\]"):
        task.evaluate(nn.Sequential(), "validation") if False else task.loss(
            torch.zeros(9, 3), next(task.batches("train"))
        )


def test_several_targets_of_which_some_are_missing():
    nan = float("nan")
    task = GraphTask(graphs(y=lambda n: torch.tensor([[n / 10, nan if n % 2 else 1.0]])), {"train": range(20)})
    assert (task.objective.name, task.signature.outputs, task.metric.maximise) == ("regression", 2, False)
    labels = GraphTask(graphs(y=lambda n: torch.tensor([[n % 2, n % 3 == 0]]).int()), objective="binary")
    assert (labels.metric.name, labels.signature.outputs) == ("rocauc", 2)
    for either in (task, labels):
        assert set(either.evaluate(Linear(outputs=2), "validation")) >= {either.metric.name}


# -- TU data sets ---------------------------------------------------------------------------------


def needs(*names):
    for name in names:
        if find(name) is None:
            pytest.skip(f"{name} is not below GRAPHNAS_DATA")


def test_mutag_has_the_folds_of_scikit_learn():
    from sklearn.model_selection import StratifiedKFold

    needs("tu/MUTAG.tar.xz")
    tasks = [tu_data.mutag(fold) for fold in range(10)]
    y = tasks[0].y
    assert np.bincount(y).tolist() == [63, 125]
    assert (tasks[0].signature.input, tasks[0].describe()["nodes"], tasks[0].describe()["edges"]) == ((7,), 3371, 7442)
    expected = [test for _, test in StratifiedKFold(10, shuffle=True, random_state=0).split(y, y)]
    for fold, task in enumerate(tasks):
        assert task.rows("test").tolist() == expected[fold].tolist()
        assert task.rows("validation").tolist() == expected[fold - 1].tolist()
        assert sorted(torch.cat([task.rows(split) for split in task.splits]).tolist()) == [*range(188)]
    assert tu_data.mutag(0, seed=1).rows("test").tolist() != expected[0].tolist()
    with pytest.raises(GraphnasError, match="fold 10 does not exist"):
        tu_data.mutag(10)
    with pytest.raises(GraphnasError, match="2 folds are too few"):
        tu_data.tu("MUTAG", folds=2)


SMALL_TU = {
    "A": "1, 2\n2, 1\n3, 4\n4, 3\n4, 4\n6, 5\n5, 6\n",  # with a self-loop, which PyG drops
    "graph_indicator": "1\n1\n2\n2\n3\n3\n4\n5\n6\n",
    "graph_labels": "-1\n1\n-1\n1\n-1\n1\n",
    "node_labels": "3\n4\n3\n3\n5\n4\n3\n3\n3\n",
    "node_attributes": "0.5\n1.5\n2.5\n3.5\n4.5\n5.5\n6.5\n7.5\n8.5\n",
}


@pytest.fixture
def small_tu(tmp_path, monkeypatch):
    folder = tmp_path / "tu" / "SMALL" / "raw"
    folder.mkdir(parents=True)
    for name, text in SMALL_TU.items():
        (folder / f"SMALL_{name}.txt").write_text(text)
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path))
    return folder


def test_features_of_a_tu_data_set_are_chosen(small_tu):
    def x(features):
        return tu_data.tu("SMALL", 1, folds=3, features=features).graphs.union(torch.arange(6)).x.tolist()

    labels = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert x("labels") == labels
    assert x("attributes") == [[n + 0.5, *row] for n, row in enumerate(labels)]
    assert x("degree") == [[0, 1]] * 6 + [[1, 0]] * 3  # the last three graphs are single nodes without edges
    assert x("constant") == [[1]] * 9
    (small_tu / "SMALL_node_labels.txt").unlink()
    with pytest.raises(GraphnasError, match="the nodes of SMALL have no labels; use features='degree'"):
        x("labels")
    (small_tu / "SMALL_node_attributes.txt").unlink()
    assert x("degree") == [[0, 1]] * 6 + [[1, 0]] * 3


def test_broken_and_foreign_tu_files_are_refused(small_tu):
    with pytest.raises(
        GraphnasError, match="hold 6 graphs of 2 classes with 3 kinds of nodes instead of 188 of 2 with 7"
    ):
        tu_data.tu("SMALL", 1, folds=3, size=(188, 7, 2))
    with pytest.raises(GraphnasError, match=r"'\.\./SMALL' is no name of a TU data set"):
        tu_data.tu("../SMALL")
    with pytest.raises(GraphnasError, match="6 graphs cannot be split into 10 folds"):
        tu_data.tu("SMALL")
    (small_tu / "SMALL_A.txt").write_text("1, 99\n")
    with pytest.raises(GraphnasError, match="no TU data set") as caught:
        tu_data.tu("SMALL", 1, folds=3)
    assert "\n" not in str(caught.value)


def test_mutag_is_learned():
    needs("tu/MUTAG.tar.xz")
    right = count = 0
    for fold in (0, 1, 2):  # every fold by itself has few test graphs
        task = tu_data.tu("MUTAG", fold, readout="sum")
        network = GIN(task.signature, 16)
        train(network, task, ADAM, Fidelity(15))
        right += task.evaluate(network, "test")["accuracy"] / 100 * len(task.rows("test"))
        count += len(task.rows("test"))
    assert right / count > 0.70  # 66.5 % are mutagenic


def test_the_training_of_a_task_s_literature_comes_before_that_of_the_space():
    space, own = get_space("nasbench_graph"), Recipe("adamw")
    assert TrainingEstimator(space, get_task("karate")).recipe.optimiser == space.recipe["optimiser"] == "sgd"
    adam = Recipe("adam", learning_rate=0.001, weight_decay=0.0, schedule="constant", clip=None)
    assert TrainingEstimator(space, GraphTask(graphs())).recipe == adam
    assert TrainingEstimator(space, GraphTask(graphs()), recipe=own).recipe == own
