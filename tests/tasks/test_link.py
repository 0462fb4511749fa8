"""Link prediction: pairs and splits against enumeration and PyG, metrics against scikit-learn and OGB, and Cora learned."""

import gzip
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from torch.nn import functional
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv
from torch_geometric.transforms import RandomLinkSplit

from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import train
from graphnas.tasks import link_data
from graphnas.tasks.link import Links, LinkTask
from graphnas.tasks.link_decoder import HadamardDecoder
from graphnas.tasks.link_split import both_ways, draw_non_links, pairs_of, ranks_of, split_links
from graphnas.tasks.node_data import planetoid
from graphnas.tasks.ogb_data import _quiet_ogb
from graphnas.tasks.ranking import hits
from graphnas.tasks.torch_files import load_saved

ADAM = Recipe("adam", learning_rate=0.02, weight_decay=0.0, schedule="constant", clip=None)


def graph(nodes=60, edges=300, seed=0):
    """With self-loops, pairs that come twice or in both directions, and isolated nodes."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(nodes - 5, (2, edges), generator=generator)
    return Data(x=torch.randn(nodes, 6, generator=generator), edge_index=torch.cat([ends, ends[:, :40].flip(0)], dim=1))


def pairs(edge_index):
    return {tuple(sorted(pair)) for pair in edge_index.T.tolist()}


class Embed(nn.Module):
    def __init__(self, features=6, outputs=8):
        super().__init__()
        torch.manual_seed(0)
        self.layer = GCNConv(features, outputs)

    def forward(self, x, edge_index):
        return self.layer(x, edge_index)


# -- pairs ----------------------------------------------------------------------------------------


def test_ranks_number_all_pairs_once():
    every = torch.tensor(list(combinations(range(40), 2))).T
    assert ranks_of(every).tolist() == list(range(780))
    assert pairs(pairs_of(np.arange(780))) == pairs(every)
    assert bool((pairs_of(np.arange(780))[0] < pairs_of(np.arange(780))[1]).all())
    assert ranks_of(torch.tensor([[3, 1, 2, 1], [1, 3, 2, 3]])).tolist() == ranks_of(torch.tensor([[1], [3]])).tolist()


def test_ranks_are_exact_for_millions_of_nodes():
    high = np.array([2, 235_867, 2_449_028, 3_000_000_000])
    for low in (np.zeros(4, dtype=np.int64), high // 2, high - 1):
        given = torch.from_numpy(np.stack([low, high]))
        assert torch.equal(pairs_of(ranks_of(given)), given)


@pytest.mark.parametrize("nodes", [12, 60])
def test_pairs_without_a_link_are_all_those_there_are(nodes):
    data = graph(nodes, 50)
    links = ranks_of(data.edge_index)
    free = nodes * (nodes - 1) // 2 - len(links)
    found = draw_non_links(links, nodes, free, np.random.default_rng(0))
    assert sorted([*found, *links]) == list(range(nodes * (nodes - 1) // 2))
    with pytest.raises(
        GraphnasError, match=f"{free + 1} pairs without a link are needed, but the graph has only {free}"
    ):
        draw_non_links(links, nodes, free + 1, np.random.default_rng(0))


def test_pairs_without_a_link_are_equally_likely():
    links = np.array([0, 1, 5, 6, 7, 14])  # of the 15 pairs of six nodes
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([draw_non_links(links, 6, 3, rng) for _ in range(3000)]), minlength=15)
    assert not counts[links].any()
    others = np.delete(counts, links)
    assert np.abs(others - 1000).max() < 5 * np.sqrt(3000 * (1 / 3) * (2 / 3))


# -- splits ---------------------------------------------------------------------------------------


def needs_cora():
    if find("planetoid/Cora/raw/ind.cora.x") is None:
        pytest.skip("planetoid/Cora/raw/ind.cora.x is not below GRAPHNAS_DATA")


def test_sizes_are_those_of_pyg_s_random_link_split():
    needs_cora()
    data, task = planetoid("Cora"), link_data.cora_links()
    theirs = RandomLinkSplit(num_val=0.05, num_test=0.1, is_undirected=True, add_negative_train_samples=False)(data)
    for split, part in zip(task.splits, theirs, strict=True):
        assert task.links(split).positive.shape[1] == int(part.edge_label.sum())
        assert task.edges(split).shape == part.edge_index.shape
        if split != "train":
            assert task.links(split).negative.shape[1] == int((part.edge_label == 0).sum())
    assert [task.links(split).positive.shape[1] for split in task.splits] == [4488, 263, 527]


def test_no_split_knows_anything_of_the_later_ones():
    data = graph()
    task = LinkTask(data, shares=(0.6, 0.2, 0.2))
    everything = {pair for pair in pairs(data.edge_index) if pair[0] != pair[1]}
    positive = {split: pairs(task.links(split).positive) for split in task.splits}
    negative = {split: pairs(task.links(split).negative) for split in task.splits}
    assert set.union(*positive.values()) == everything
    assert sum(map(len, positive.values())) == len(everything)
    assert len(negative["validation"]) == len(positive["validation"])
    assert len(negative["test"]) == len(positive["test"])
    assert not (negative["validation"] | negative["test"]) & everything
    assert not negative["validation"] & negative["test"]
    assert pairs(task.edges("train")) == pairs(task.edges("validation")) == positive["train"]
    assert pairs(task.edges("test")) == positive["train"] | positive["validation"]
    alone = LinkTask(data, shares=(0.6, 0.2, 0.2), validation_edges=False)
    assert pairs(alone.edges("test")) == positive["train"]
    edges = set(map(tuple, task.edges("test").T.tolist()))
    assert all((b, a) in edges and a != b for a, b in edges)
    assert len(edges) == task.edges("test").shape[1]


def test_splits_follow_the_seed():
    first, again, other = (LinkTask(graph(), seed=seed) for seed in (0, 0, 1))
    for split in first.splits:
        assert all(torch.equal(a, b) for a, b in zip(first.links(split), again.links(split), strict=True))
        assert not torch.equal(first.links(split).negative, other.links(split).negative)
    assert not torch.equal(first.links("test").positive, other.links("test").positive)


def test_training_draws_other_pairs_each_epoch_but_never_a_training_link():
    task = LinkTask(graph())
    generator, drawn = torch.Generator().manual_seed(0), []
    for _ in range(3):
        (batch,) = task.batches("train", generator)
        zeros = pairs(batch.parts[:, batch.target == 0])
        assert pairs(batch.parts[:, batch.target == 1]) == pairs(task.links("train").positive)
        assert len(zeros) == task.links("train").positive.shape[1]
        assert not zeros & pairs(task.links("train").positive)
        drawn.append(zeros)
    assert drawn[0] != drawn[1] != drawn[2]
    held = pairs(task.links("validation").positive) | pairs(task.links("test").positive)
    assert any(zeros & held for zeros in drawn)  # nothing tells the network which links are held back
    fixed = [next(task.batches("validation", torch.Generator().manual_seed(seed))) for seed in (0, 1)]
    assert len({frozenset(pairs(batch.parts)) for batch in fixed}) == 1


def test_batches_and_shares_are_parts_of_an_epoch():
    task = LinkTask(graph(), batch_size=50)
    batches = list(task.batches("train", torch.Generator().manual_seed(0)))
    links = task.links("train").positive.shape[1]
    assert len(batches) == -(-links // 50)
    assert sum(int(batch.target.sum()) for batch in batches) == links
    assert set.union(*(pairs(b.parts[:, b.target == 1]) for b in batches)) == pairs(task.links("train").positive)
    assert all(torch.equal(batch.inputs[1], task.edges("train")) for batch in batches)
    shares = [
        set.union(*(pairs(b.parts[:, b.target == 1]) for b in task.batches("train", share=s))) for s in (0.25, 0.5)
    ]
    assert shares[0] < shares[1]
    assert len(shares[1]) == round(links / 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinkTask(Data(x=torch.eye(3), edge_index=torch.tensor([[0, 1], [1, 2]]))), "2 links are too few"),
        (lambda: LinkTask(graph(), shares=(0.5, 0.5, 0.5)), "three, positive, and add up to 1"),
        (lambda: LinkTask(graph(), metric="hits"), "unknown metric of links 'hits'"),
        (lambda: LinkTask(graph(), metric="hits@0"), "unknown metric of links"),
        (lambda: LinkTask(graph(), decoder="mlp"), "unknown decoder 'mlp'"),
        (lambda: LinkTask(graph(), batch_size=0), "batch size .0. must be at least 1"),
        (
            lambda: LinkTask(graph(), {"train": Links(torch.zeros(2, 1).long(), torch.zeros(2, 0).long())}),
            "no validation links",
        ),
        (
            lambda: LinkTask(graph(), {"dev": Links(torch.zeros(2, 1).long(), torch.zeros(2, 0).long())}),
            "unknown split 'dev'",
        ),
        (lambda: LinkTask(Data(x=torch.eye(3))), "no edge_index"),
        (lambda: LinkTask(graph()).links("dev"), "unknown split of task link: 'dev'"),
    ],
)
def test_what_cannot_work_is_answered_with_one_sentence(make, message):
    with pytest.raises(GraphnasError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


# -- scores and metrics -----------------------------------------------------------------------------


def test_scores_are_dot_products_and_the_loss_their_cross_entropy():
    task = LinkTask(graph(), outputs=8)
    (batch,) = task.batches("train", torch.Generator().manual_seed(0))
    output = Embed()(*batch.inputs)
    left, right = output.detach().numpy()[batch.parts.numpy()]
    scores = np.einsum("lf,lf->l", left, right)
    assert np.allclose(task.scores(output, batch).detach(), scores, atol=1e-6)
    expected = np.mean(np.log1p(np.exp(-scores * (2 * batch.target.numpy() - 1))))
    assert task.loss(output, batch).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(GraphnasError, match=r"returned shape \[60, 9\], but the task needs \[60, 8\]"):
        task.loss(torch.zeros(60, 9), batch)


def test_metrics_equal_scikit_learn_and_ogb():
    task = LinkTask(graph(), outputs=8, metric="hits@20", also_hits=(3,), evaluator="ogbl-ddi", shares=(0.4, 0.2, 0.4))
    network = Embed()
    values = task.evaluate(network, "test")
    z = network(task.x, task.edges("test")).detach()
    one, zero = ((z[p[0]] * z[p[1]]).sum(1) for p in task.links("test"))
    y, scores = np.r_[np.ones(len(one)), np.zeros(len(zero))], torch.cat([one, zero]).numpy()
    assert values["rocauc"] == pytest.approx(roc_auc_score(y, scores), rel=1e-12)
    assert values["ap"] == pytest.approx(average_precision_score(y, scores), rel=1e-12)
    third = sorted(zero.tolist())[-3]
    assert values["hits@3"] == pytest.approx(np.mean([score > third for score in one.tolist()]), rel=1e-12)
    with _quiet_ogb("ogb.linkproppred") as package:
        judge = package.Evaluator("ogbl-ddi")
    assert values["hits@20"] == judge.eval({"y_pred_pos": one, "y_pred_neg": zero})["hits@20"]
    assert values["hits@20"] == hits(one, zero, 20)
    assert hits(one, zero[:19], 20) == judge.eval({"y_pred_pos": one, "y_pred_neg": zero[:19]})["hits@20"] == 1
    tied = torch.ones(30)
    assert hits(tied, tied, 20) == judge.eval({"y_pred_pos": tied, "y_pred_neg": tied})["hits@20"] == 0
    assert task.metric.score(0.9) > task.metric.score(0.8)


def test_scores_that_are_no_numbers_have_no_metric():
    class Broken(nn.Module):
        def forward(self, x, edge_index):
            return torch.full((len(x), 8), float("nan"))

    assert all(np.isnan(value) for value in LinkTask(graph(), outputs=8).evaluate(Broken(), "test").values())


def test_a_learned_decoder_scores_products_of_rows():
    task = LinkTask(graph(), decoder=None)
    network = HadamardDecoder(Embed(), 8, hidden=16)
    (batch,) = task.batches("train", torch.Generator().manual_seed(0))
    output = network(*batch.inputs)
    z = network.encoder(*batch.inputs[:2])
    first, _, _, second, _, _, last = network.decoder
    expected = last(second(first(z[batch.parts[0]] * z[batch.parts[1]]).relu()).relu())[:, 0]
    assert torch.allclose(output, expected, atol=1e-6)
    assert torch.allclose(network(task.x, task.edges("train"), batch.parts.flip(0)), output, atol=1e-6)
    assert task.loss(output, batch).item() == pytest.approx(
        functional.binary_cross_entropy_with_logits(output, batch.target).item()
    )
    task.loss(output, batch).backward()
    assert all(bool(p.grad.any()) for p in network.parameters())
    assert set(task.evaluate(network, "test")) == {"rocauc", "ap", "cross_entropy"}
    with pytest.raises(GraphnasError, match="but the task needs"):
        task.loss(output[1:], batch)


# -- published graphs -------------------------------------------------------------------------------


class GCN(nn.Module):
    def __init__(self, features):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = GCNConv(features, 32), GCNConv(32, 32)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


def test_missing_citations_of_cora_are_found():
    needs_cora()
    task = LinkTask(planetoid("Cora"), outputs=32)
    network = GCN(1433)
    train(network, task, ADAM, Fidelity(25))
    assert task.evaluate(network, "test")["rocauc"] > 0.8


@pytest.fixture
def ogbl(tmp_path, monkeypatch):
    """Small ogbl-collab and ogbl-ddi in OGB's raw form: splits are numpy arrays in files of ``torch.save``."""
    rng = np.random.default_rng(0)
    splits = {}
    for name, nodes, kind in (("ogbl_collab", 30, "time"), ("ogbl_ddi", 20, "target")):
        folder = tmp_path / "data" / "ogb" / name
        (folder / "raw").mkdir(parents=True)
        (folder / "split" / kind).mkdir(parents=True)
        pairs = np.array(list(combinations(range(nodes), 2)))[rng.permutation(nodes * (nodes - 1) // 2)]
        train = pairs[:50]
        split = {
            "train": {"edge": np.concatenate([train, train[:5, ::-1]])},  # some authors write together twice
            "valid": {"edge": pairs[50:60], "edge_neg": pairs[60:130]},
            "test": {"edge": pairs[130:140], "edge_neg": pairs[140:180]},
        }
        for part, arrays in split.items():
            legacy = {"_use_new_zipfile_serialization": part != "valid"}
            protocol = 4 if name == "ogbl_ddi" else 2
            torch.save(arrays, folder / "split" / kind / f"{part}.pt", pickle_protocol=protocol, **legacy)
        tables = {"edge": split["train"]["edge"], "num-node-list": [[nodes]], "num-edge-list": [[55]]}
        if name == "ogbl_collab":
            weights = {"edge_weight": [[1]] * 55, "edge_year": [[2000]] * 55}
            tables = {**tables, "node-feat": rng.normal(size=(nodes, 4)).round(3), **weights}
        for table, rows in tables.items():
            with gzip.open(folder / "raw" / f"{table}.csv.gz", "wt") as file:
                file.writelines(",".join(map(str, row)) + "\n" for row in rows)
        (folder / "RELEASE_v1.txt").touch()
        splits[name] = split
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    return splits


def test_ogb_s_link_data_sets_are_read_with_their_splits(ogbl, capfd):
    for make, name, k, nodes in (
        (link_data.ogbl_collab, "ogbl_collab", 50, 30),
        (link_data.ogbl_ddi, "ogbl_ddi", 20, 20),
    ):
        task, split = make(), ogbl[name]
        assert pairs(task.links("train").positive) == {tuple(sorted(p)) for p in split["train"]["edge"].tolist()}
        assert task.links("train").positive.shape[1] == 50
        for ours, theirs in (("validation", "valid"), ("test", "test")):
            assert task.links(ours).positive.T.tolist() == split[theirs]["edge"].tolist()
            assert task.links(ours).negative.T.tolist() == split[theirs]["edge_neg"].tolist()
        assert task.metric.name == f"hits@{k}"
        assert task.signature.nodes == nodes
        network = Embed(task.signature.input[0], 64)
        values = task.evaluate(network, "validation")
        z = network(task.x, task.edges("validation")).detach()
        one, zero = ((z[p[0]] * z[p[1]]).sum(1) for p in task.links("validation"))
        with _quiet_ogb("ogb.linkproppred") as package:
            assert (
                values[f"hits@{k}"]
                == package.Evaluator(task.name).eval({"y_pred_pos": one, "y_pred_neg": zero})[f"hits@{k}"]
            )
    assert torch.equal(task.x, torch.eye(20))
    assert pairs(task.edges("test")) == pairs(task.links("train").positive)
    assert pairs(link_data.ogbl_collab().edges("test")) > pairs(link_data.ogbl_collab().links("train").positive)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_a_hostile_split_is_not_executed(ogbl, tmp_path):
    place = tmp_path / "data" / "ogb" / "ogbl_ddi" / "split" / "target" / "train.pt"
    torch.save({"edge": Hostile(tmp_path / "owned")}, place)
    with pytest.raises(GraphnasError, match=r"train.pt: refused the pickle: it names 'io.open'") as caught:
        link_data.ogbl_ddi()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("zipped", [False, True])
def test_saved_arrays_and_tensors_are_read_and_nothing_else(tmp_path, zipped):
    path = tmp_path / "split.pt"
    for value in ({"edge": np.arange(6).reshape(2, 3)}, {"edge": torch.arange(6).reshape(2, 3)}):
        for protocol in (2, 4) if isinstance(value["edge"], np.ndarray) else (2,):
            torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            found = load_saved(path)
            assert list(found) == ["edge"]
            assert np.array_equal(found["edge"], value["edge"])
    torch.save({"edge": Hostile(tmp_path / "owned")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(GraphnasError, match=r"refused the pickle: it names '(_?io|builtins).open'") as caught:
        load_saved(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(GraphnasError, match=r"split\.pt"):
        load_saved(path)
    with pytest.raises(GraphnasError, match=r"it is no file of torch\.save"):
        load_saved(tmp_path / "missing.pt")


def test_links_go_both_ways_and_shares_round_down():
    parts = split_links(np.arange(99), (0.85, 0.05, 0.1), np.random.default_rng(0))
    assert [len(part) for part in parts] == [86, 4, 9]
    assert both_ways(np.array([2])).T.tolist() == [[1, 2], [2, 1]]
