"""Inductive node classification: multi-label metrics, whole graphs held out, and the reader of files in PPI's form.

PPI itself is not among the test data. Graphs of atoms (MUTAG) and small files in PPI's form stand in for the mechanics.
"""

import json
import math
import zipfile

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch_geometric.data import Data
from torch_geometric.datasets import PPI
from torch_geometric.nn import SAGEConv
from torch_geometric.utils import to_undirected

from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import train
from graphnas.tasks import ppi_data
from graphnas.tasks.inductive import InductiveNodeTask
from graphnas.tasks.tu_data import read_tu

ADAM = Recipe("adam", learning_rate=0.01, weight_decay=0.0, schedule="constant", clip=None)


@pytest.fixture(scope="module")
def atoms():
    """MUTAG's molecules with three labels an atom that follow from its surroundings: has a nitrogen or an oxygen
    neighbour, has at least three neighbours, has a neighbour with at least three."""
    if find("tu/MUTAG.tar.xz") is None:
        pytest.skip("tu/MUTAG.tar.xz is not below GRAPHNAS_DATA")
    raw = read_tu("MUTAG")
    result = []
    for x, edges in zip(raw.x.split(raw.nodes.tolist()), raw.edge_index.split(raw.edges.tolist(), dim=1), strict=True):
        adjacency = torch.zeros(len(x), len(x))
        adjacency[edges[1], edges[0]] = 1
        branching = (adjacency.sum(1) >= 3).float()
        y = torch.stack(
            [(adjacency @ (x[:, 1] + x[:, 2])).clamp(max=1), branching, (adjacency @ branching).clamp(max=1)]
        )
        result.append(Data(x=x, edge_index=edges, y=y.T))
    return result


class SAGE(nn.Module):
    def __init__(self, signature, width=16):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = SAGEConv(*signature.input, width, aggr="sum"), SAGEConv(width, width, aggr="sum")
        self.last = nn.Linear(width, signature.outputs)

    def forward(self, x, edge_index):
        return self.last(self.second(self.first(x, edge_index).relu(), edge_index).relu())


def test_metrics_are_micro_averaged_over_all_labels_of_all_nodes_of_the_split(atoms):
    task = InductiveNodeTask(atoms, {"train": range(100), "validation": range(100, 140), "test": range(140, 188)})
    network = SAGE(task.signature)
    assert (task.metric.name, task.metric.maximise, task.signature.input, task.signature.outputs) == (
        "micro_f1",
        True,
        (7,),
        3,
    )
    with torch.no_grad():
        logits = torch.cat([network(d.x, d.edge_index) for d in atoms[140:]]) + 0.3
        network.last.bias += 0.3
    y = torch.cat([d.y for d in atoms[140:]])
    values = task.evaluate(network, "test")
    assert values["micro_f1"] == pytest.approx(f1_score(y, logits > 0, average="micro"), rel=1e-12)
    probability = torch.sigmoid(logits.double())
    nats = -(y * probability.log() + (1 - y) * (1 - probability).log()).mean()
    assert values["cross_entropy"] == pytest.approx(float(nats), rel=1e-6)


def test_the_loss_of_an_epoch_is_that_of_all_labels_of_the_training_graphs(atoms):
    task = InductiveNodeTask(atoms, {"train": range(20), "validation": range(20, 30)}, batch_size=6)
    network, total, count = SAGE(task.signature), 0.0, 0
    for batch in task.batches("train", torch.Generator().manual_seed(0)):
        total += task.loss(network(*batch.inputs), batch).item() * batch.target.numel()
        count += batch.target.numel()
    logits = torch.cat([network(d.x, d.edge_index) for d in atoms[:20]])
    expected = nn.BCEWithLogitsLoss()(logits, torch.cat([d.y for d in atoms[:20]]))
    assert total / count == pytest.approx(expected.item(), rel=1e-5)


def test_graphs_of_other_splits_are_never_seen_in_training(atoms):
    task = InductiveNodeTask(atoms, {"train": [0, 2], "validation": [1]}, batch_size=2)
    (batch,) = task.batches("train")
    assert torch.equal(batch.inputs[0], torch.cat([atoms[0].x, atoms[2].x]))
    assert torch.equal(batch.target, torch.cat([atoms[0].y, atoms[2].y]))
    (held,) = task.batches("validation")
    assert torch.equal(held.inputs[0], atoms[1].x)


def test_single_labels_and_nodes_without_label(atoms):
    data = [
        Data(x=d.x, edge_index=d.edge_index, y=torch.where(d.y[:, 1] > 0, -1, d.y[:, 0].long())) for d in atoms[:30]
    ]
    task = InductiveNodeTask(data, objective="classification")
    assert (task.metric.name, task.signature.outputs) == ("accuracy", 2)
    network = SAGE(task.signature)
    union = task.graphs.union(task.rows("test"))
    y, predicted = task.y[union.rows], network(union.x, union.edge_index).argmax(1)
    expected = 100 * (predicted == y)[y >= 0].double().mean()
    assert task.evaluate(network, "test")["accuracy"] == pytest.approx(float(expected))
    assert (y < 0).any()


def test_surroundings_of_atoms_are_learned_in_molecules_never_seen(atoms):
    task = InductiveNodeTask(atoms, batch_size=16, seed=1)
    network = SAGE(task.signature)
    train(network, task, ADAM, Fidelity(8))
    y = task.y[task.graphs.union(task.rows("test")).rows]
    always = f1_score(y, torch.ones_like(y), average="micro")
    assert task.evaluate(network, "test")["micro_f1"] > max(0.9, always)


# -- files in PPI's form ----------------------------------------------------------------------------


def write_ppi(folder, directed=False, isolated_first=False):
    """Small random graphs as PPI's twelve raw files: three to train, two and two others."""
    folder.mkdir(parents=True)
    rng, written = np.random.default_rng(0), {}
    for split, graphs, first in (("train", 3, 1), ("valid", 2, 21), ("test", 2, 23)):
        sizes = rng.integers(5, 9, graphs)
        starts = np.cumsum(sizes) - sizes
        owner = np.repeat(np.arange(graphs), sizes) + first
        links = []
        for start, size in zip(starts, sizes, strict=True):
            low = 1 if isolated_first else 0
            ends = rng.integers(low, size, (10, 2)) + start
            ends[0] = (start + low, start + low + 1)
            links += [{"source": int(a), "target": int(b)} for a, b in ends]
        links.append(links[0])  # twice
        links.append({"source": 1, "target": 1})
        record = {
            "directed": directed,
            "graph": {},
            "nodes": [{"id": i} for i in range(len(owner))],
            "links": links,
            "multigraph": False,
        }
        (folder / f"{split}_graph.json").write_text(json.dumps(record))
        x, y = rng.normal(size=(len(owner), 4)), rng.integers(0, 2, (len(owner), 3))
        for name, array in (("feats", x), ("labels", y), ("graph_id", owner)):
            np.save(folder / f"{split}_{name}.npy", array)
        written[split] = (x, y, owner - first, links)
    return written


@pytest.mark.filterwarnings("ignore:Weights only load failed")  # by PyG, of what it has just written
@pytest.mark.parametrize("directed", [False, True])
def test_raw_files_are_read_as_pyg_reads_them(tmp_path, directed, capsys):
    write_ppi(tmp_path / "raw", directed)
    graphs, y, splits = ppi_data.read_ppi(tmp_path / "raw")
    assert {split: rows.tolist() for split, rows in splits.items()} == {
        "train": [0, 1, 2],
        "validation": [3, 4],
        "test": [5, 6],
    }
    for split, theirs in (("train", "train"), ("validation", "val"), ("test", "test")):
        for row, data in zip(splits[split], PPI(str(tmp_path), theirs), strict=True):
            union = graphs.union(row.reshape(1))
            assert torch.equal(union.x, data.x)
            assert torch.equal(y[union.rows], data.y)
            assert set(map(tuple, union.edge_index.T.tolist())) == set(map(tuple, data.edge_index.T.tolist()))
            assert union.edge_index.shape == data.edge_index.shape


def test_graphs_whose_first_node_is_isolated_keep_their_edges(tmp_path):
    written = write_ppi(tmp_path / "raw", isolated_first=True)
    graphs, _, splits = ppi_data.read_ppi(tmp_path / "raw")
    for split, theirs in (("train", "train"), ("validation", "valid"), ("test", "test")):
        x, _, owner, links = written[theirs]
        for place, row in enumerate(splits[split]):
            start = int(np.argmax(owner == place))
            pairs = [(e["source"] - start, e["target"] - start) for e in links if owner[e["source"]] == place]
            union = graphs.union(row.reshape(1))
            assert np.allclose(union.x, x[owner == place])
            expected = to_undirected(torch.tensor([p for p in pairs if p[0] != p[1]]).T)
            assert set(map(tuple, union.edge_index.T.tolist())) == set(map(tuple, expected.T.tolist()))


def test_files_of_other_graphs_are_not_taken_for_ppi(tmp_path, monkeypatch):
    write_ppi(tmp_path / "ppi" / "raw")
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path))
    with pytest.raises(GraphnasError, match=r"the files of PPI hold 3/2/2 graphs of .* with 4 features and 3 labels"):
        ppi_data.ppi()
    with zipfile.ZipFile(tmp_path / "ppi" / "ppi.zip", "w") as archive:
        for file in (tmp_path / "ppi" / "raw").iterdir():
            archive.write(file, file.name)
            file.unlink()
    with pytest.raises(GraphnasError, match="hold 3/2/2 graphs"):  # the archive is read, too
        ppi_data.ppi()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("valid_graph.json", b"{", "valid_graph.json is missing or no graph"),
        ("valid_graph.json", b'{"links": [{"source": 0}], "directed": false}', "missing or no graph"),
        ("valid_graph.json", b'{"links": [{"source": 0, "target": 99}], "directed": false}', "links nodes beyond"),
        ("test_feats.npy", b"no array", "test_feats.npy is missing or no array"),
        ("test_feats.npy", None, "test_feats.npy is missing or no array"),
        ("test_labels.npy", np.zeros((3, 3)), "do not fit together"),
        ("test_labels.npy", np.array([{}], dtype=object), "missing or no array"),
        ("test_feats.npy", np.full((3, 3), math.nan), "does not hold finite numbers"),
    ],
)
def test_broken_files_are_named(tmp_path, file, content, message):
    write_ppi(tmp_path / "raw")
    path = tmp_path / "raw" / file
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(GraphnasError, match=message) as caught:
        ppi_data.read_ppi(tmp_path / "raw")
    assert "\n" not in str(caught.value)


def test_without_data_and_network_the_place_is_named(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with pytest.raises(GraphnasError, match=r"put ppi.zip into .*ppi, or into ppi below the folder that GRAPHNAS_DATA"):
        ppi_data.ppi()
