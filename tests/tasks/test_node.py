"""Node tasks: masks, splits, loss rows, published graphs, and files that must be refused."""

import builtins
import gzip
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch_geometric.data import Data

from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.tasks import node_data
from graphnas.tasks.graph_files import read_planetoid, read_shchur
from graphnas.tasks.node import NodeTask


def graph(n=30, **changes):
    generator = torch.Generator().manual_seed(0)
    values = {
        "x": torch.randn(n, 5, generator=generator),
        "edge_index": torch.randint(n, (2, 60), generator=generator),
        "y": torch.arange(n) % 3,
    }
    return Data(**{**values, **changes})


def mask(rows, n=30):
    result = torch.zeros(n, dtype=torch.bool)
    result[list(rows)] = True
    return result


MASKS = {"train_mask": mask(range(6)), "val_mask": mask(range(6, 18)), "test_mask": mask(range(18, 30))}


class Fixed(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x, edge_index):
        return self.logits


# -- splits -----------------------------------------------------------------------------------


def test_masks_are_taken_as_they_are():
    task = NodeTask(graph(**MASKS))
    assert [task.rows(split).tolist() for split in task.splits] == [
        list(range(6)),
        list(range(6, 18)),
        list(range(18, 30)),
    ]
    (batch,) = task.batches("train")
    assert batch.rows.tolist() == list(range(6))
    assert len(batch.target) == 30


def test_one_of_several_splits_is_chosen():
    several = {name: torch.stack([m, m.flip(0)], dim=1) for name, m in MASKS.items()}
    assert NodeTask(graph(**several), split=0).rows("train").tolist() == list(range(6))
    assert NodeTask(graph(**several), split=1).rows("train").tolist() == list(range(24, 30))
    with pytest.raises(GraphnasError, match="split 2 does not exist"):
        NodeTask(graph(**several), split=2)


def test_without_masks_the_labelled_nodes_are_split_stratified_and_seeded():
    y = torch.arange(60) % 3
    y[50:] = -1
    data = graph(60, y=y)
    task = NodeTask(data, shares=(0.5, 0.25, 0.25), seed=1)
    rows = [task.rows(split).tolist() for split in task.splits]
    assert sorted(row for part in rows for row in part) == list(range(50))
    assert [len(r) for r in rows] == [25, 12, 13] or [len(r) for r in rows] == [25, 13, 12]
    for part, share in zip(rows, (0.5, 0.25, 0.25), strict=True):
        ideal = share * np.bincount(y[:50])
        assert np.abs(np.bincount(y[part], minlength=3) - ideal).max() <= 1
    again, other = NodeTask(data, shares=(0.5, 0.25, 0.25), seed=1), NodeTask(data, shares=(0.5, 0.25, 0.25), seed=2)
    assert again.rows("test").tolist() == rows[2]
    assert other.rows("test").tolist() != rows[2]


def test_validation_is_set_aside_from_training_nodes_when_only_it_is_missing():
    task = NodeTask(graph(train_mask=mask(range(18)), test_mask=mask(range(18, 30))), shares=(0.4, 0.2, 0.4))
    assert sorted(task.rows("train").tolist() + task.rows("validation").tolist()) == list(range(18))
    assert np.bincount(task.y[task.rows("validation")]).tolist() == [2, 2, 2]
    assert task.rows("test").tolist() == list(range(18, 30))


def test_share_is_a_nested_stratified_subset_of_the_training_rows():
    task = NodeTask(graph(**{**MASKS, "train_mask": mask(range(12)), "val_mask": mask(range(12, 18))}))
    (small,), (large,), (whole,) = (task.batches("train", share=share) for share in (0.25, 0.5, 1.0))
    assert set(small.rows.tolist()) < set(large.rows.tolist()) < set(whole.rows.tolist())
    assert np.bincount(task.y[small.rows]).tolist() == [1, 1, 1]
    assert np.bincount(task.y[large.rows]).tolist() == [2, 2, 2]


# -- graph --------------------------------------------------------------------------------------


def test_edges_get_their_reverse_once():
    edges = torch.tensor([[0, 1, 2, 2], [1, 0, 3, 2]])
    both = NodeTask(graph(edge_index=edges, **MASKS)).edge_index
    assert sorted(map(tuple, both.T.tolist())) == [(0, 1), (1, 0), (2, 2), (2, 3), (3, 2)]
    assert torch.equal(NodeTask(graph(edge_index=edges, **MASKS), undirected=False).edge_index, edges)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "has no x"),
        ({"x": torch.full((30, 2), float("inf"))}, "NaN or infinite"),
        ({"x": torch.zeros(30)}, r"shape \[30\]; it must be a dense matrix"),
        ({"edge_index": torch.tensor([[0], [30]])}, "edge_index names node 30"),
        ({"edge_index": torch.tensor([[0], [-1]])}, "edge_index names node -1"),
        ({"edge_index": torch.zeros(3, 4, dtype=torch.long)}, r"must be \[2, E\]"),
        ({"y": torch.zeros(29, dtype=torch.long)}, "30 nodes but 29 labels"),
        ({"y": torch.zeros(30, 4)}, "one class a node"),
        ({"y": torch.full((30,), -2)}, "has the label -2"),
        ({"train_mask": mask([])}, "train_mask selects no node"),
        ({"train_mask": mask(range(7))}, "share 1 nodes"),
        ({"train_mask": torch.zeros(29, dtype=torch.bool)}, "train_mask has shape"),
        ({"train_mask": torch.arange(30)}, "must be boolean"),
        ({"train_mask": None}, "no train_mask"),
        ({"y": torch.cat([torch.tensor([-1]), torch.zeros(29, dtype=torch.long)])}, "without label"),
    ],
)
def test_bad_graphs_are_answered_with_one_sentence(changes, message):
    with pytest.raises(GraphnasError, match=message) as caught:
        NodeTask(graph(**{**MASKS, **changes}))
    assert "\n" not in str(caught.value)


# -- loss and metrics ---------------------------------------------------------------------------


def test_loss_and_metrics_read_the_rows_of_the_split_only():
    logits = torch.randn(30, 3, generator=torch.Generator().manual_seed(1))
    data = graph(**MASKS)
    changed = data.clone()
    changed.y = torch.where(MASKS["train_mask"], data.y, (data.y + 1) % 3)
    values = []
    for task in (NodeTask(data), NodeTask(changed)):
        (batch,) = task.batches("train")
        values.append((float(task.loss(logits, batch)), task.evaluate(Fixed(logits), "train")))
    assert values[0] == values[1]
    train = (
        NodeTask(data).evaluate(Fixed(logits), "validation"),
        NodeTask(changed).evaluate(Fixed(logits), "validation"),
    )
    assert train[0] != train[1]


def test_metrics_equal_scikit_learn_on_stored_predictions():
    logits = torch.randn(30, 3, generator=torch.Generator().manual_seed(2))
    task = NodeTask(graph(**MASKS))
    metrics = task.evaluate(Fixed(logits), "test")
    y, predicted = task.y[18:], logits[18:]
    assert metrics["accuracy"] == pytest.approx(100 * accuracy_score(y, predicted.argmax(1)), abs=1e-9)
    assert metrics["cross_entropy"] == pytest.approx(log_loss(y, predicted.double().softmax(1)), rel=1e-9)
    with pytest.raises(GraphnasError, match=r"returned shape \[30, 2\]"):
        task.evaluate(Fixed(logits[:, :2]), "test")


# -- published graphs ---------------------------------------------------------------------------


def needs(name):
    if find(f"planetoid/{name}/raw/ind.{name.lower()}.x") is None:
        pytest.skip(f"planetoid/{name}/raw/ind.{name.lower()}.x is not below GRAPHNAS_DATA")


def test_cora_is_the_published_graph_and_split(tmp_path, monkeypatch):
    needs("Cora")
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    task = node_data.cora()
    assert (task.signature.nodes, task.signature.edges // 2) == (2708, 5278)
    assert (task.signature.input, task.signature.outputs) == ((1433,), 7)
    assert [len(task.rows(split)) for split in task.splits] == [140, 500, 1000]
    assert np.bincount(task.y[task.rows("train")]).tolist() == [20] * 7
    assert task.rows("test").tolist() == list(range(1708, 2708))
    edges = set(map(tuple, task.edge_index.T.tolist()))
    assert all((b, a) in edges and a != b for a, b in edges)
    assert torch.allclose(task.x.sum(1), torch.ones(2708), atol=1e-5)
    assert not (tmp_path / "cache").exists()  # a graph that is there is neither copied nor fetched


def test_citeseer_is_the_published_graph_and_split():
    needs("CiteSeer")
    task = node_data.citeseer()
    assert (task.signature.nodes, task.signature.edges // 2) == (3327, 4552)
    assert (task.signature.input, task.signature.outputs) == ((3703,), 6)
    assert [len(task.rows(split)) for split in task.splits] == [120, 500, 1000]


def test_karate_has_one_labelled_member_a_community():
    task = node_data.karate()
    assert (task.signature.nodes, task.signature.edges // 2, task.signature.outputs) == (34, 78, 4)
    assert sorted(task.y[task.rows("train")].tolist()) == [0, 1, 2, 3]
    assert [len(task.rows(split)) for split in task.splits] == [4, 15, 15]
    assert sorted(torch.cat([task.rows(split) for split in task.splits]).tolist()) == list(range(34))
    assert node_data.karate(1).rows("test").tolist() != task.rows("test").tolist()


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.fixture
def cora_copy(tmp_path, monkeypatch):
    needs("Cora")
    raw = tmp_path / "data" / "planetoid" / "Cora" / "raw"
    shutil.copytree(find("planetoid/Cora/raw"), raw)
    for file in [raw, *raw.iterdir()]:
        file.chmod(0o755)
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    return raw


def test_hostile_planetoid_pickle_is_refused(cora_copy, tmp_path):
    (cora_copy / "ind.cora.graph").write_bytes(pickle.dumps({0: Hostile(tmp_path / "owned")}, protocol=2))
    with pytest.raises(GraphnasError, match="refused the pickle"):
        read_planetoid("Cora")
    assert not (tmp_path / "owned").exists()


@pytest.mark.filterwarnings("ignore:Please import `csr_matrix`")
def test_matrix_that_points_outside_its_arrays_is_refused(cora_copy):
    with (cora_copy / "ind.cora.x").open("rb") as file:
        matrix = pickle.load(file, encoding="latin1")  # the genuine file
    matrix.indices = matrix.indices.copy()
    matrix.indices[5] = 10**8
    (cora_copy / "ind.cora.x").write_bytes(pickle.dumps(matrix, protocol=2))
    with pytest.raises(GraphnasError, match=r"ind.cora.x holds no valid matrix"):
        read_planetoid("Cora")


def test_files_of_another_graph_are_refused(cora_copy):
    (cora_copy / "ind.cora.ally").write_bytes(pickle.dumps(np.eye(7, dtype=np.int32)[[0] * 1000], protocol=2))
    with pytest.raises(GraphnasError):
        node_data.cora()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No data, an empty cache, and every connection refused."""

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr(builtins, "input", lambda *a: pytest.fail("a question reached the user"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pubmed", "the eight files ind.pubmed.x to ind.pubmed.test.index into .*planetoid/PubMed/raw"),
        ("photo", "amazon_electronics_photo.npz into .*gnn-benchmark"),
        ("ogbn_arxiv", "as ogb/ogbn_arxiv below GRAPHNAS_DATA"),
        ("ogbn_products", "as ogb/ogbn_products below GRAPHNAS_DATA"),
    ],
)
def test_offline_the_files_and_their_place_are_named(offline, name, wanted):
    for _ in range(2):  # the first attempt leaves nothing that confuses the second
        with pytest.raises(GraphnasError, match=wanted) as caught:
            getattr(node_data, name)()
        assert "\n" not in str(caught.value)
    assert not [path for path in offline.rglob("*") if path.is_file()]


def test_npz_graph_is_read_symmetric_and_broken_ones_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path))
    folder = tmp_path / "gnn-benchmark"
    folder.mkdir()
    adjacency = {"data": np.ones(3, np.float32), "indices": np.array([1, 2, 0]), "indptr": np.array([0, 1, 2, 3])}
    features = {"data": np.array([2.0, 1.0], np.float32), "indices": np.array([0, 1]), "indptr": np.array([0, 1, 1, 2])}
    arrays = {
        **{f"adj_{key}": value for key, value in adjacency.items()},
        **{f"attr_{key}": value for key, value in features.items()},
        "adj_shape": np.array([3, 3]),
        "attr_shape": np.array([3, 2]),
        "labels": np.array([0, 1, 1]),
    }
    np.savez(folder / "small.npz", **arrays)
    data = read_shchur("small.npz")
    assert data.x.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert sorted(map(tuple, data.edge_index.T.tolist())) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    np.savez(folder / "bad.npz", **{**arrays, "attr_indices": np.array([0, 9])})
    with pytest.raises(GraphnasError, match=r"bad\.npz"):
        read_shchur("bad.npz")
    np.savez(folder / "objects.npz", **{**arrays, "labels": np.array([{}, 1, 2], dtype=object)})
    with pytest.raises(GraphnasError, match=r"objects\.npz"):
        read_shchur("objects.npz")


# -- OGB ----------------------------------------------------------------------------------------


@pytest.fixture
def arxiv(tmp_path, monkeypatch):
    """A small ogbn-arxiv in OGB's raw form, in a folder that cannot be written."""
    folder = tmp_path / "data" / "ogb" / "ogbn_arxiv"
    (folder / "raw").mkdir(parents=True)
    (folder / "split" / "time").mkdir(parents=True)
    x = np.random.default_rng(0).normal(size=(12, 3)).round(4)
    tables = {
        "raw/edge": [(0, 1), (1, 2), (2, 3), (5, 4)],
        "raw/node-feat": x.tolist(),
        "raw/node-label": [[i % 4] for i in range(12)],
        "raw/node_year": [[2000 + i] for i in range(12)],
        "raw/num-node-list": [[12]],
        "raw/num-edge-list": [[4]],
        "split/time/train": [[i] for i in range(6)],
        "split/time/valid": [[i] for i in range(6, 9)],
        "split/time/test": [[i] for i in range(9, 12)],
    }
    for name, rows in tables.items():
        with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    (folder / "RELEASE_v1.txt").touch()
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builtins, "input", lambda *a: pytest.fail("a question reached the user"))
    return folder, x


def test_ogbn_is_read_from_raw_files_twice_without_a_word(arxiv, capfd):
    folder, x = arxiv
    before = sorted(folder.rglob("*"))
    allowed = list(torch.serialization.get_safe_globals())
    for _ in range(2):  # processes first, then reads what was processed
        task = node_data.ogbn_arxiv()
        assert np.allclose(task.x, x, atol=1e-6)
        assert task.y.tolist() == [i % 4 for i in range(12)]
        assert task.signature.outputs == 40
        assert [task.rows(split).tolist() for split in task.splits] == [[*range(6)], [6, 7, 8], [9, 10, 11]]
        pairs = {(0, 1), (1, 2), (2, 3), (4, 5)}
        assert set(map(tuple, task.edge_index.T.tolist())) == pairs | {(b, a) for a, b in pairs}
    assert sorted(folder.rglob("*")) == before  # the data folder is only read
    assert torch.serialization.get_safe_globals() == allowed
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_ogbn_of_unknown_release_or_with_broken_files_is_refused(arxiv):
    folder, _ = arxiv
    (folder / "raw" / "node-label.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(GraphnasError, match="cannot read ogbn-arxiv"):
        node_data.ogbn_arxiv()
    (folder / "RELEASE_v1.txt").unlink()
    with pytest.raises(GraphnasError, match=r"has no RELEASE_v1.txt"):
        node_data.ogbn_arxiv()


def test_ogb_is_imported_without_its_version_check():
    code = """
import sys, threading
started = []
threading.Thread.start = lambda self: started.append(self.name)
from graphnas.tasks.ogb_data import _quiet_ogb
with _quiet_ogb() as module:
    assert module.PygNodePropPredDataset
assert "ogb" in sys.modules and "outdated" not in sys.modules and not started, (started, "outdated" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
