"""OGB's molecules: official splits, its own encoders and evaluators, nothing asked, nothing unsafe, and something learned."""

import builtins
import gzip
import importlib
import shutil
import tarfile

import numpy as np
import pytest
import torch
from torch import nn

from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.fit import train
from graphnas.registry import names
from graphnas.tasks.molecules import MOLECULES, ogbg
from graphnas.tasks.ogb_data import _quiet_ogb

from .test_graph_task import ADAM, GIN


def needs(*files):
    for name in files:
        if find(name) is None:
            pytest.skip(f"{name} is not below GRAPHNAS_DATA")


@pytest.fixture(scope="module")
def solubility():
    needs("ogb/ogbg_molesol.tar")
    return ogbg("ogbg-molesol")


@pytest.fixture(scope="module")
def barrier():
    needs("ogb/ogbg_molbbbp.tar")
    return ogbg("ogbg-molbbbp")


def column(name, file):
    """A table of the official archive."""
    with tarfile.open(find(f"ogb/{name}.tar")) as archive, archive.extractfile(f"{name}/{file}.csv.gz") as packed:
        return np.loadtxt(gzip.open(packed), delimiter=",", ndmin=1)


def test_data_and_split_are_the_official_ones(solubility, barrier):
    for task, name, sizes in (
        (solubility, "ogbg_molesol", (1128, 902, 113)),
        (barrier, "ogbg_molbbbp", (2039, 1631, 204)),
    ):
        assert (len(task.graphs), len(task.rows("train")), len(task.rows("test"))) == sizes
        for split, file in (("train", "train"), ("validation", "valid"), ("test", "test")):
            assert task.rows(split).tolist() == sorted(column(name, f"split/scaffold/{file}"))
        assert np.allclose(task.y[:, 0], column(name, "raw/graph-label"), atol=1e-6)
        assert task.graphs.nodes.tolist() == column(name, "raw/num-node-list").tolist()
        assert task.graphs.edges.tolist() == (2 * column(name, "raw/num-edge-list")).tolist()
        assert np.array_equal(task.graphs.x, column(name, "raw/node-feat"))
    assert (solubility.metric.name, solubility.metric.maximise) == ("rmse", False)
    assert (barrier.metric.name, barrier.metric.maximise) == ("rocauc", True)
    assert 1 in solubility.graphs.nodes.tolist()  # methane: one node, no edges


def test_a_linear_map_of_the_columns_is_ogb_s_atom_encoder(solubility):
    with _quiet_ogb("ogb.graphproppred"):
        from ogb.graphproppred.mol_encoder import AtomEncoder, BondEncoder
    plain = ogbg("ogbg-molesol", encode=False, edge_features=True)
    encoded = ogbg("ogbg-molesol", edge_features=True)
    some = torch.arange(0, 1128, 50)
    raw, columns = plain.graphs.union(some), encoded.graphs.union(some)
    assert raw.x.dtype == raw.edge_attr.dtype == torch.int64
    assert (raw.x.shape[1], columns.x.shape[1], raw.edge_attr.shape[1], columns.edge_attr.shape[1]) == (9, 174, 3, 13)
    atoms, bonds = AtomEncoder(16), BondEncoder(16)
    weights = torch.cat([table.weight for table in atoms.atom_embedding_list])
    assert torch.allclose(columns.x @ weights, atoms(raw.x), atol=1e-6)
    weights = torch.cat([table.weight for table in bonds.bond_embedding_list])
    assert torch.allclose(columns.edge_attr @ weights, bonds(raw.edge_attr), atol=1e-6)
    assert torch.equal(solubility.graphs.union(some).x, columns.x)


class Stored(nn.Module):
    """Scores that do not depend on anything but the order in which atoms come."""

    def forward(self, x, edge_index):
        return torch.sin(torch.arange(len(x), dtype=torch.float32)).unsqueeze(1)


def test_metrics_are_what_ogb_s_evaluator_says(solubility, barrier):
    with _quiet_ogb("ogb.graphproppred") as package:
        for task in (solubility, barrier):
            union = task.graphs.union(task.rows("test"))
            scores = torch.stack(
                [v.mean(0) for v in Stored()(union.x, None).split(task.graphs.nodes[task.rows("test")].tolist())]
            )
            values = {"y_true": task.y[task.rows("test")], "y_pred": scores}
            assert len(scores) <= 256  # else the task would measure them in several parts
            expected = package.Evaluator(task.name).eval(values)[task.metric.name]
            assert task.evaluate(Stored(), "test")[task.metric.name] == pytest.approx(expected, rel=1e-6)


def test_solubility_is_learned(solubility):
    network = GIN(solubility.signature, 32)
    train(network, solubility, ADAM, Fidelity(6))
    y = solubility.y[:, 0].numpy()
    test = solubility.rows("test").numpy()
    by_mean = float(np.sqrt(((y[test] - y[solubility.rows("train").numpy()].mean()) ** 2).mean()))
    assert by_mean == pytest.approx(2.315, abs=1e-3)
    assert solubility.evaluate(network, "test")["rmse"] < 0.85 * by_mean


# -- what OGB does by itself ------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The unpacked data set in a folder that is only read, an empty cache, and nobody to answer questions."""
    needs("ogb/ogbg_molesol.tar")
    folder = tmp_path / "data" / "ogb"
    folder.mkdir(parents=True)
    with tarfile.open(find("ogb/ogbg_molesol.tar")) as archive:
        archive.extractall(folder, filter="data")
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builtins, "input", lambda *a: pytest.fail("a question reached the user"))
    return folder / "ogbg_molesol"


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_molecules_are_read_twice_without_a_word_from_data_that_stays_as_it_is(copied, form, capfd):
    if form == "archive":
        with tarfile.open(copied.with_suffix(".tar"), "w") as archive:
            archive.add(copied, "ogbg_molesol")
        shutil.rmtree(copied)
    before = {file: file.stat().st_mtime_ns for file in copied.parent.rglob("*")}
    allowed = list(torch.serialization.get_safe_globals())
    for _ in range(2):  # processes first, then reads what was processed
        assert ogbg("ogbg-molesol").describe()["sizes"] == {"train": 902, "validation": 113, "test": 113}
    assert {file: file.stat().st_mtime_ns for file in copied.parent.rglob("*")} == before
    assert torch.serialization.get_safe_globals() == allowed
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_a_hostile_file_among_ogb_s_is_not_executed(copied, tmp_path):
    torch.save({"train": Hostile(tmp_path / "owned")}, copied / "split" / "scaffold" / "split_dict.pt")
    with pytest.raises(GraphnasError, match="cannot read ogbg-molesol") as caught:
        ogbg("ogbg-molesol")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


def test_other_releases_and_broken_tables_are_refused(copied):
    (copied / "raw" / "node-feat.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(GraphnasError, match="cannot read ogbg-molesol"):
        ogbg("ogbg-molesol")
    (copied / "RELEASE_v1.txt").unlink()
    with pytest.raises(GraphnasError, match=r"has no RELEASE_v1.txt"):
        ogbg("ogbg-molesol")


def test_without_data_and_network_the_place_is_named(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with pytest.raises(GraphnasError, match="unpack its official archive as ogb/ogbg_molhiv below GRAPHNAS_DATA"):
        ogbg("ogbg-molhiv")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    with pytest.raises(GraphnasError, match="unknown data set of molecules 'ogbg-molhiw'; nearest: ogbg-molhiv"):
        ogbg("ogbg-molhiw")


def test_every_set_of_molecules_is_registered_and_known_to_ogb():
    assert set(MOLECULES) == {name for name in names("task") if name.startswith("ogbg-")}
    with _quiet_ogb("ogb.graphproppred") as package:
        for name in MOLECULES:
            assert package.Evaluator(name).eval_metric in ("rocauc", "ap", "rmse")


@pytest.mark.parametrize("package", ["ogb.nodeproppred", "ogb.graphproppred", "ogb.linkproppred"])
def test_large_downloads_are_not_asked_about_and_ogb_is_left_as_it_was(package, monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda *a: pytest.fail("a question reached the user"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("the size was asked for"))
    with _quiet_ogb(package):
        module = importlib.import_module(f"{package}.dataset_pyg")
        assert module.decide_download("http://nowhere.invalid/10GB.zip") is True
    assert module.decide_download is importlib.import_module("ogb.utils.url").decide_download
