"""Searched models that read the nets of placements: from tiny data to a model file and a prediction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from eda.cli import app
from eda.dataset import Dataset, Sample, SampleLabel
from eda.dataset_files import save_dataset
from eda.def_reader import read_def
from eda.development import Budget, develop, evaluate, proxy, task_of
from eda.grid import tile_grid
from eda.lef_reader import read_lef
from eda.model import RoutabilityModel, build, space_of
from eda.net_graph import NetGraph, net_graph
from eda.predict import predict
from eda.preparation import Preparation
from eda.route import Recipe
from eda.tasks import HotspotTask, NetsTask, RoutabilityTask
from eda.tile_graph import EXTRA, joined, tile_graph
from graphnas.architecture import Architecture
from graphnas.cost import example_inputs
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.fit import train
from graphnas.files import load_npz
from graphnas.ops.net_modules import NetMessage
from graphnas.testing import check_task

MAPS = ("rudy", "pin_density", "cell_density")


def graph_of(rng: np.random.Generator, shape: tuple[int, int], cells: int = 12, nets: int = 10) -> NetGraph:
    top = np.array([shape[1], shape[0]]) * 100
    middles = rng.integers(0, top + 1, (cells, 2))
    degree = np.full(nets, 2, np.uint16)
    pins = rng.integers(0, cells, 2 * nets).astype(np.uint16)
    ends = middles[pins].reshape(nets, 2, 2)
    boxes = np.concatenate([ends.min(1), ends.max(1)], 1).astype(np.int16)
    return NetGraph(np.column_stack([middles, np.full(cells, 30)]).astype(np.int16), 0, degree, pins, boxes)


def sample(design: str, number: int, part: str) -> Sample:
    """Hot where more than three nets pass: no map tells it."""
    rng = np.random.default_rng([number, *design.encode()])
    shape = int(rng.integers(6, 9)), int(rng.integers(6, 12))
    graph = graph_of(rng, shape)
    _, row, column = tile_graph(graph, shape).covers
    passing = np.zeros(shape, int)
    np.add.at(passing, (row, column), 1)
    labels = {}
    for effort in (10, 50):
        hot = (passing > (3 if effort == 10 else 4)).astype(np.int32)
        labels[effort] = SampleLabel(effort, int(hot.sum()), hot.size, hot, np.zeros((0, 3), np.int16), 0)
    maps = rng.random((3, *shape)).astype(np.float32)
    facts = {"tools": {"qrouter": "none"}, "cells": 12}
    return Sample(f"{design}_{number}", design, design, part, maps, labels, Recipe(layers=3), facts, graph)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    parts = {"train": "abcd", "validation": "fg", "test": "hi"}
    return Dataset(MAPS, tuple(sample(d, n, p) for p, designs in parts.items() for d in designs for n in range(6)))


@pytest.mark.parametrize("kind", [HotspotTask, NetsTask])
@pytest.mark.parametrize("graph", [False, True])
def test_tasks_keep_the_rules(dataset: Dataset, kind: type[RoutabilityTask], graph: bool) -> None:
    check_task(kind(dataset, batch_size=9, graph=graph))


def member(task: str) -> Architecture:
    """Messages through nets at all resolutions, one after the other, and a convolution."""
    space = space_of(task, graph=True)
    chosen = {f"stage{s}.{edge}": 1 for s in (1, 2, 3) for edge in ("0->1", "1->2", "2->out")}
    ops = {"1": "net_message", "2": "conv3"}
    return space.decode(
        [
            c.options.index(ops.get(c.name[-1], "identity") if c.group == "op" else chosen.get(c.name, 0))
            for c in space.choices
        ]
    )


def made(task: str, networks: int = 2) -> RoutabilityModel:
    """A model with drawn weights."""
    preparation = Preparation(MAPS, (0.1, 3.0, 1.0), (3, 4), 20.0, 900)
    torch.manual_seed(0)
    parts = [build(task, member(task), preparation.channels, 4, graph=True).eval() for _ in range(networks)]
    return RoutabilityModel(task, member(task), 4, preparation, parts, {"limits": ["drawn"]}, graph=True)


def test_the_task_announces_what_it_gives(dataset: Dataset) -> None:
    task = task_of("hotspots", dataset, graph=True)
    batch = next(task.batches("train"))
    assert task.signature.extra == EXTRA
    assert task_of("hotspots", dataset).signature.extra == ()
    for extra, value in zip(EXTRA, batch.inputs[1:], strict=True):
        assert value.ndim == len(extra.shape)
        assert value.is_floating_point() == (not extra.points_to)
        fixed = 0 if extra.points_to else 1  # the axis that does not depend on the placements
        assert value.ndim == 1 or value.shape[fixed] == extra.shape[fixed]
    drawn = example_inputs(space_of("hotspots", True).network(member("hotspots"), task.signature, channels=4))
    assert [d.shape for d in drawn[1:]] == [e.shape for e in EXTRA]


def test_a_placement_alone_and_mirrored_is_what_it_is_in_a_batch(dataset: Dataset) -> None:
    """Through a whole network, on a common canvas."""
    task = task_of("hotspots", dataset, graph=True)
    samples = task.samples("validation")[:2]
    network = build("hotspots", member("hotspots"), task.preparation.channels, 4, graph=True).eval()
    graphs = [tile_graph(s.graph, s.features.shape[1:]) for s in samples if s.graph is not None]
    x = torch.zeros(2, task.preparation.channels, 8, 16)
    for row, s in zip(x, samples, strict=True):
        row[:, : s.features.shape[1], : s.features.shape[2]] = torch.from_numpy(task.preparation.of_sample(s))
    both = network(x, *joined(graphs, (8, 16)))
    for i in (0, 1):
        alone = network(x[i : i + 1], *joined(graphs[i : i + 1], (8, 16)))
        torch.testing.assert_close(both[i : i + 1], alone, rtol=1e-5, atol=1e-6)
    for module in network.modules():  # convolutions that do not know left from right
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data = module.weight.data + module.weight.data.flip(3)
    first = network(x, *joined(graphs, (8, 16)))
    mirrored = network(x.flip(3), *joined(graphs, (8, 16), (False, True)))
    torch.testing.assert_close(mirrored.flip(3), first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["nets", "hotspots"])
def test_training_reaches_the_messages(name: str, dataset: Dataset) -> None:
    task = task_of(name, dataset, graph=True)
    torch.manual_seed(0)
    network = build(name, member(name), task.preparation.channels, 4, graph=True)
    before = {key: value.clone() for key, value in network.named_parameters()}
    history = train(network, task, fidelity=Fidelity(1))
    assert history.status == "finished"
    layers = [key for key, module in network.named_modules() if isinstance(module, NetMessage)]
    assert len(layers) == 3
    for key, value in network.named_parameters():
        if any(key.startswith(layer) for layer in layers):
            assert not torch.equal(value, before[key]), key


@pytest.mark.parametrize("task", ["nets", "hotspots"])
def test_a_file_gives_back_the_model(task: str, tmp_path: Path) -> None:
    model, rng = made(task), np.random.default_rng(1)
    again = RoutabilityModel.load(model.save(tmp_path / "m.npz"))
    features, graph = rng.gamma(1, 1, (3, 7, 12)).astype(np.float32), graph_of(rng, (7, 12))
    np.testing.assert_array_equal(model.outputs(features, 4, graph), again.outputs(features, 4, graph))
    assert (again.graph, again.architecture) == (True, model.architecture)
    other = graph_of(rng, (7, 12))
    assert not np.array_equal(model.outputs(features, 4, other), model.outputs(features, 4, graph))
    with pytest.raises(GraphnasError, match="reads the nets of a placement"):
        model.outputs(features, 4)
    arrays = load_npz(tmp_path / "m.npz")
    for change in (None, 1, False):
        meta = {**json.loads(str(arrays["meta"])), "graph": change}
        np.savez(tmp_path / "bad.npz", **{**arrays, "meta": np.array(json.dumps(meta))})
        with pytest.raises(GraphnasError, match="is no routability model"):
            RoutabilityModel.load(tmp_path / "bad.npz")


def test_files_of_earlier_versions_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = space_of("nets").sample(np.random.default_rng(0))
    preparation = Preparation(MAPS, (0.1, 3.0, 1.0), (3, 4), 20.0, 900)
    model = RoutabilityModel("nets", plain, 4, preparation, [build("nets", plain, 5, 4).eval()])
    arrays = load_npz(model.save(tmp_path / "m.npz"))
    meta = json.loads(str(arrays["meta"]))
    del meta["graph"]
    np.savez(tmp_path / "old.npz", **{**arrays, "meta": np.array(json.dumps(meta))})
    again = RoutabilityModel.load(tmp_path / "old.npz")
    features = np.random.default_rng(1).gamma(1, 1, (3, 7, 12)).astype(np.float32)
    np.testing.assert_array_equal(again.outputs(features, 3), model.outputs(features, 3))


def lef_and_def(folder: Path) -> list[Path]:
    """A drawn placement of 20 cells on four rows."""
    rng, (lef, def_) = np.random.default_rng(0), (folder / "a.lef", folder / "a.def")
    layers = [
        f"LAYER m{k} TYPE ROUTING ; DIRECTION {d} ; PITCH 2 ; END m{k}"
        for k, d in enumerate(("HORIZONTAL", "VERTICAL") * 2)
    ]
    pins = " ".join(f"PIN {p} PORT LAYER m1 ; RECT {x} 1 {x + 1} 2 ; END END {p}" for p, x in (("A", 1), ("Y", 5)))
    lef.write_text(
        "\n".join(
            [
                "SITE core SIZE 2 BY 20 ; CLASS CORE ; END core",
                *layers,
                f"MACRO a CLASS CORE ; SIZE 8 BY 20 ; {pins} END a",
                "",
            ]
        )
    )
    lines = ["DESIGN drawn ; UNITS DISTANCE MICRONS 100 ; DIEAREA ( 0 0 ) ( 10000 8000 ) ;"]
    lines += [f"ROW r{k} core 0 {2000 * k} N DO 50 BY 1 STEP 200 0 ;" for k in range(4)]
    lines += [f"TRACKS {'XY'[k % 2]} 0 DO 50 STEP 200 LAYER m{k} ;" for k in (1, 2, 3)] + ["COMPONENTS 20 ;"]
    places = rng.integers(0, (11, 4), (20, 2)) * (800, 2000)
    lines += [f"- u{k} a + PLACED ( {x} {y} ) N ;" for k, (x, y) in enumerate(places)]
    lines += ["END COMPONENTS NETS 15 ;"]
    lines += [f"- n{k} ( u{a} Y ) ( u{b} A ) ;" for k, (a, b) in enumerate(rng.integers(0, 20, (15, 2)))]
    def_.write_text("\n".join([*lines, "END NETS END DESIGN", ""]))
    return [lef, def_]


def test_a_prediction_from_lef_and_def_reads_the_nets(tmp_path: Path) -> None:
    lef, def_ = lef_and_def(tmp_path)
    technology, placement = read_lef(lef), read_def(def_)
    counts, spots = made("nets"), made("hotspots")
    found = predict(placement, technology, nets=counts, hotspots=spots)
    graph = net_graph(placement, technology, tile_grid(placement, 20, "rows"))
    features = found.maps.values.astype(np.float32)
    assert found.rate == counts.rate(features, 3, graph)
    np.testing.assert_array_equal(found.hotspots, spots.hotspots(features, 3, graph))
    files = [str(model.save(tmp_path / f"{model.task}.npz")) for model in (counts, spots)]
    done = CliRunner().invoke(app, ["predict", *files, "--lef", str(lef), "--def", str(def_), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.output)["rate"] == found.rate
    cells = replace(placement.cells, status=np.zeros_like(placement.cells.status))
    with pytest.raises(GraphnasError, match="unplaced cells"):
        predict(replace(placement, cells=cells), technology, nets=counts)


TINY = Budget(2, 1, 4, folds=2, finalists=2, again=0, full_epochs=1, full_repeats=1, full_channels=4)


def test_a_development_searches_the_space_with_nets_where_samples_have_them(dataset: Dataset) -> None:
    assert proxy("hotspots", dataset, TINY, graph=True).space is space_of("hotspots", graph=True)
    model, trials = develop("hotspots", dataset, budget=TINY, batch=2)
    assert model.graph
    assert space_of("hotspots", True).contains(model.architecture)
    assert trials[0]["score"] >= trials[1]["score"]
    with_graph, without = (evaluate(model, task_of("hotspots", dataset, graph=g), "test") for g in (True, False))
    assert with_graph == without  # a model takes what it needs from the samples


def test_search_train_and_report_commands(dataset: Dataset, tmp_path: Path) -> None:
    data = str(save_dataset(dataset, tmp_path / "data.npz"))
    first, second, page = (str(tmp_path / name) for name in ("a.npz", "b.npz", "r.html"))
    short = ["--data", data, "--full-epochs", "1", "--networks", "1"]
    search = [
        "search",
        "--task",
        "nets",
        "--architectures",
        "2",
        "--epochs",
        "1",
        "--folds",
        "1",
        "--again",
        "0",
        *short,
    ]
    for line in (
        [*search, "--out", first],
        ["train", "--task", "nets", "--model", first, "--out", second, *short],
        ["report", second, "--data", data, "--out", page],
    ):
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0, (done.output, done.exception)
    models = [RoutabilityModel.load(name) for name in (first, second)]
    assert [model.graph for model in models] == [True, True]
    assert [model.card["space"] for model in models] == ["routability_nets_graph"] * 2
    assert [model.card["task"]["graph"] for model in models] == [True, True]
    without = replace(dataset, samples=tuple(replace(s, graph=None) for s in dataset))
    data = str(save_dataset(without, tmp_path / "without.npz"))
    wrong = CliRunner().invoke(app, ["search", "--task", "nets", "--out", first, "--data", data, "--graph"])
    assert "search with --no-graph" in str(wrong.exception)
