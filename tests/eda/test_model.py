"""Model files, predictions from LEF and DEF, and the commands around them."""

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
from eda.dataset_files import PACKED, load, save_dataset
from eda.def_reader import read_def
from eda.development import Budget, chosen, develop, proxy, task_of
from eda.folds import FoldTraining, folds
from eda.lef_reader import read_lef
from eda.model import SHIPPED, RoutabilityModel, build, space_of
from eda.predict import predict
from eda.preparation import Preparation
from eda.route import Recipe
from graphnas.errors import GraphnasError
from graphnas.files import load_npz
from graphnas.strategies.base import Trial

MAPS = ("rudy", "pin_density", "cell_density")
shipped = pytest.mark.skipif(
    not all((SHIPPED / f"model_{task}.npz").is_file() for task in ("nets", "hotspots")),
    reason="no models are shipped yet",
)


def made(task: str, seed: int = 0, networks: int = 2) -> RoutabilityModel:
    """A model with drawn weights."""
    space = space_of(task)
    architecture = space.sample(np.random.default_rng(seed))
    preparation = Preparation(MAPS, (0.1, 3.0, 1.0), (3, 4), 20.0, 900)
    torch.manual_seed(seed)
    parts = [build(task, architecture, preparation.channels, 4).eval() for _ in range(networks)]
    return RoutabilityModel(task, architecture, 4, preparation, parts, {"limits": ["drawn, not trained"]})


@pytest.mark.parametrize("task", ["nets", "hotspots"])
def test_a_file_gives_back_the_model(task: str, tmp_path: Path) -> None:
    model = made(task)
    path = model.save(tmp_path / "m.npz")
    again = RoutabilityModel.load(path)
    features = np.random.default_rng(1).gamma(1, 1, (3, 7, 12)).astype(np.float32)
    said = [each.outputs(features, 4) for each in (model, again)]
    np.testing.assert_array_equal(*said)
    assert said[0].shape == ((1,) if task == "nets" else (1, 7, 12))
    assert again.card == model.card
    assert again.save(tmp_path / "again.npz").read_bytes() == path.read_bytes()
    single = [replace(model, networks=[network]).outputs(features, 4) for network in model.networks]
    np.testing.assert_allclose(said[0], np.mean(single, axis=0), rtol=1e-6)
    wrong = {"nets": model.hotspots, "hotspots": model.rate}[task]
    with pytest.raises(GraphnasError, match=f"this is a model of {task}"):
        wrong(features, 4)


def _nan(arrays: dict[str, np.ndarray]) -> None:
    name = next(name for name in arrays if name.startswith("weights."))
    arrays[name] = np.full_like(arrays[name], np.nan)


def _meta(**changes: object) -> object:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["meta"] = np.array(json.dumps({**json.loads(str(arrays["meta"])), **changes}))

    return change


@pytest.mark.parametrize(
    "change",
    [
        _nan,
        lambda arrays: arrays.pop(next(name for name in arrays if name.startswith("weights."))),
        lambda arrays: arrays.update(meta=np.array("{")),
        _meta(format=99),
        _meta(channels=5),
        _meta(channels=10**9),
        _meta(networks=0),
        _meta(decisions=[0]),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(change: object, tmp_path: Path) -> None:
    arrays = load_npz(made("nets").save(tmp_path / "m.npz"))
    change(arrays)  # type: ignore[operator]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(GraphnasError, match="is no routability model") as caught:
        RoutabilityModel.load(tmp_path / "bad.npz")
    assert "\n" not in str(caught.value)


def lef_and_def(folder: Path, scale: float = 1.0, seed: int = 0) -> tuple[Path, Path]:
    """A drawn placement on eight rows, all lengths times ``scale``."""
    rng, u = np.random.default_rng(seed), 100
    lef, def_ = folder / f"{scale}.lef", folder / f"{scale}.def"
    s = scale
    lef.write_text(f"""SITE core SIZE {2 * s} BY {20 * s} ; CLASS CORE ; END core
LAYER m1 TYPE ROUTING ; DIRECTION HORIZONTAL ; PITCH {2 * s} ; END m1
LAYER m2 TYPE ROUTING ; DIRECTION VERTICAL ; PITCH {2 * s} ; END m2
LAYER m3 TYPE ROUTING ; DIRECTION HORIZONTAL ; PITCH {2 * s} ; END m3
MACRO a CLASS CORE ; SIZE {8 * s} BY {20 * s} ;
 PIN A PORT LAYER m1 ; RECT {s} {s} {2 * s} {2 * s} ; END END A PIN Y PORT LAYER m1 ; RECT {5 * s} {9 * s} {6 * s} {10 * s} ; END END Y
END a
""")
    x, row = rng.integers(0, 21, 60) * 8, rng.integers(0, 8, 60)
    unit = round(s * u)
    lines = [f"DESIGN drawn ; UNITS DISTANCE MICRONS {u} ; DIEAREA ( 0 0 ) ( {176 * unit} {160 * unit} ) ;"]
    lines += [f"ROW r{k} core 0 {20 * k * unit} N DO 88 BY 1 STEP {2 * unit} 0 ;" for k in range(8)]
    lines += [f"TRACKS {'XY'[k % 2]} 0 DO 80 STEP {2 * unit} LAYER m{k} ;" for k in (1, 2, 3)]
    lines += ["COMPONENTS 60 ;"]
    lines += [f"- u{k} a + PLACED ( {x[k] * unit} {20 * row[k] * unit} ) N ;" for k in range(60)]
    lines += ["END COMPONENTS NETS 40 ;"]
    for k in range(40):
        a, b = rng.integers(0, 60, 2)
        lines.append(f"- n{k} ( u{a} Y ) ( u{b} A ) ;")
    def_.write_text("\n".join([*lines, "END NETS END DESIGN", ""]))
    return lef, def_


def test_a_prediction_is_of_the_maps_and_does_not_depend_on_the_size_of_a_row(tmp_path: Path) -> None:
    counts, spots = made("nets"), made("hotspots")
    found = {}
    for scale in (1.0, 0.25):
        lef, def_ = lef_and_def(tmp_path, scale)
        found[scale] = predict(read_def(def_), read_lef(lef), nets=counts, hotspots=spots)
    one, other = found[1.0], found[0.25]
    assert one.hotspots is not None
    assert one.rate is not None
    assert one.maps.values.shape == (3, 8, 9)
    features = one.maps.values.astype(np.float32)
    assert one.rate == counts.rate(features, 3)
    np.testing.assert_array_equal(one.hotspots, spots.hotspots(features, 3))
    assert one.violated == one.rate * 40
    assert (one.layers, one.notes) == (3, ())
    np.testing.assert_allclose(other.maps.values, one.maps.values, rtol=1e-9)
    assert other.rate == pytest.approx(one.rate, rel=1e-5)
    assert other.notes == ("rows are 5 um high, not 20 um as in the training data: lengths are scaled",)
    lef, def_ = lef_and_def(tmp_path)
    told = predict(read_def(def_), read_lef(lef), nets=counts, layers=9)
    assert told.layers == 4
    assert told.notes == ("9 routing layers; the training data has 3 and 4, so the models were told 4",)
    assert told.hotspots is None
    few = replace(counts, preparation=replace(counts.preparation, cells=50))
    assert predict(read_def(def_), read_lef(lef), nets=few).notes == (
        "60 cells; no training placement has more than 50",
    )
    with pytest.raises(GraphnasError, match="needs a model"):
        predict(read_def(def_), read_lef(lef))


def test_the_predict_command(tmp_path: Path) -> None:
    lef, def_ = lef_and_def(tmp_path)
    models = [str(made(task).save(tmp_path / f"{task}.npz")) for task in ("nets", "hotspots")]
    line = ["predict", *models, "--lef", str(lef), "--def", str(def_)]
    outputs = ["--map", str(tmp_path / "map.csv"), "--picture", str(tmp_path / "map.png")]
    done = CliRunner().invoke(app, [*line, *outputs, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    expected = predict(
        read_def(def_), read_lef(lef), nets=RoutabilityModel.load(models[0]), hotspots=RoutabilityModel.load(models[1])
    )
    assert said == json.loads(json.dumps(expected.describe()))
    assert (said["nets"], said["hotspots"]["rows"], said["hotspots"]["columns"]) == (40, 8, 9)
    assert len((tmp_path / "map.csv").read_text().splitlines()) == 1 + 72
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    text = CliRunner().invoke(app, line).output
    assert text.startswith("drawn: 40 nets, 3 routing layers\n")
    twice = CliRunner().invoke(app, ["predict", models[0], models[0], "--lef", str(lef), "--def", str(def_)])
    assert "is a second model of nets" in str(twice.exception)
    no_map = CliRunner().invoke(app, ["predict", models[0], "--lef", str(lef), "--def", str(def_), *outputs[:2]])
    assert "give a model of hotspots" in str(no_map.exception)


def sample(design: str, number: int, part: str) -> Sample:
    rng = np.random.default_rng([number, *design.encode()])
    shape = tuple(int(side) for side in rng.integers(6, 12, 2))
    maps = rng.gamma(2.0, 0.2 + 0.06 * number, (3, *shape)).astype(np.float32)
    labels = {}
    for effort in (10, 50):
        hot = (maps[0] > (0.9 if effort == 10 else 1.1)).astype(np.int32)
        labels[effort] = SampleLabel(effort, int(hot.sum()), hot.size, hot, np.zeros((0, 3), np.int16), 0)
    facts = {"tools": {"qrouter": "none"}, "cells": 10}
    return Sample(f"{design}_{number}", design, design, part, maps, labels, Recipe(layers=3), facts)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    parts = {"train": "abcd", "validation": "fg", "test": "hi"}
    return Dataset(MAPS, tuple(sample(d, n, p) for p, designs in parts.items() for d in designs for n in range(6)))


TINY = Budget(
    architectures=2, epochs=1, channels=4, folds=2, finalists=2, again=1, full_epochs=1, full_repeats=1, full_channels=4
)


def test_folds_hold_every_family_out_once_and_leave_the_test_part_out(dataset: Dataset) -> None:
    made_ = folds(dataset, 3, 5)
    held = [{s.family for s in each.part("validation")} for each in made_]
    assert sorted(name for names in held for name in names) == list("abcdfg")
    assert all(len(names) == 2 for names in held)
    for each, names in zip(made_, held, strict=True):
        assert {s.family for s in each.part("train")} == set("abcdfg") - names
        assert not each.part("test")
    (as_it_is,) = folds(dataset, 1)
    assert {s.design: s.part for s in as_it_is} == {s.design: s.part for s in dataset if s.part != "test"}
    with pytest.raises(GraphnasError, match="7 folds of 6 families"):
        folds(dataset, 7)


def test_the_score_of_folds_is_the_mean_of_trainings(dataset: Dataset) -> None:
    estimator = proxy("nets", dataset, TINY)
    architecture = estimator.space.sample(np.random.default_rng(0))
    found = estimator.evaluate(architecture, seed=3)
    each = [part.evaluate(architecture, seed=3) for part in estimator.estimators]
    assert found.score == pytest.approx(np.mean([e.score for e in each]))
    assert found.cost == sum(e.cost for e in each)
    assert found.metrics["folds_std"] == pytest.approx(np.std([e.score for e in each], ddof=1))
    with pytest.raises(GraphnasError, match="at least one fold"):
        FoldTraining([])


def test_the_winner_is_chosen_by_evaluations_that_no_search_has_seen(dataset: Dataset) -> None:
    estimator = proxy("nets", dataset, TINY)
    rng = np.random.default_rng(0)
    trials = [
        Trial(k, estimator.space.sample(rng), str(k), "complete", score) for k, score in enumerate((0.1, 0.9, 0.8))
    ]

    class Known:
        def evaluate(self, architecture: object, *, seed: int) -> object:
            asked.append(seed)
            return type(
                "Evaluation",
                (),
                {"score": {0: 1.0, 1: 0.3, 2: 0.7}[[t.architecture for t in trials].index(architecture)]},
            )

    asked: list[int] = []
    architecture, mean = chosen(trials, Known(), replace(TINY, again=2), 0)  # type: ignore[arg-type]
    assert (architecture, mean) == (trials[2].architecture, pytest.approx(0.7))
    assert len(asked) == 4
    assert len(set(asked)) == 2


def test_a_development_does_not_read_the_test_part(dataset: Dataset) -> None:
    blind = replace(dataset, samples=tuple(s for s in dataset if s.part != "test"))
    results = [develop("hotspots", each, budget=TINY, seed=4, batch=2) for each in (dataset, blind)]
    (one, first), (two, second) = results
    assert first == second
    features = dataset.samples[0].features
    np.testing.assert_array_equal(one.outputs(features, 3), two.outputs(features, 3))


def test_search_train_and_report_commands(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(save_dataset(dataset, tmp_path / "data.npz"))
    first, second, page = (str(tmp_path / name) for name in ("a.npz", "b.npz", "r.html"))
    line = ["search", "--task", "nets", "--out", first, "--data", data, "--architectures", "2", "--epochs", "1"]
    line += ["--folds", "1", "--again", "0"]
    done = CliRunner().invoke(app, [*line, "--full-epochs", "1", "--networks", "1"])
    assert done.exit_code == 0, (done.output, done.exception)
    model = RoutabilityModel.load(first)
    assert set(model.card["metrics"]) == {"validation", "test"}
    assert model.card["metrics"]["test"].keys() == {"tau", "tau_within", "tau_count"}
    assert model.card["designs"]["test"].keys() == {"h", "i"}
    assert model.card["recipe"]["strategy"] == "guide_dag"
    line = ["train", "--task", "nets", "--model", first, "--out", second, "--data", data]
    done = CliRunner().invoke(app, [*line, "--full-epochs", "1", "--networks", "2"])
    assert done.exit_code == 0, (done.output, done.exception)
    again = RoutabilityModel.load(second)
    assert (again.architecture, len(again.networks)) == (model.architecture, 2)
    done = CliRunner().invoke(app, ["report", second, "--data", data, "--out", page])
    assert done.exit_code == 0, (done.output, done.exception)
    text = Path(page).read_text()
    assert "gradient boosting" in text
    assert "the labels of effort 50" in text
    wrong = CliRunner().invoke(app, ["train", "--task", "hotspots", "--model", first, "--out", second, "--data", data])
    assert "is a model of nets, not of hotspots" in str(wrong.exception)


@shipped
def test_the_shipped_models_are_what_their_cards_say() -> None:
    if not PACKED.is_file():
        pytest.skip("the packed data set is not built yet")
    dataset = load()
    for name in ("nets", "hotspots"):
        model = RoutabilityModel.load(name)
        assert (SHIPPED / f"model_{name}.npz").stat().st_size < 4_000_000
        task = task_of(name, dataset, effort=int(model.card["task"]["effort"]))
        samples = task.samples("test")
        found = task.measure([model.outputs(s.features, s.recipe.layers) for s in samples], samples)
        key = task.metric.name
        assert found[key] == pytest.approx(model.card["metrics"]["test"][key][0], abs=2e-3)
        assert set(model.card["designs"]["test"]) == {s.design for s in samples}
        assert any("OSU035" in line for line in model.card["limits"])


@shipped
def test_predict_takes_the_shipped_models_by_default(tmp_path: Path) -> None:
    lef, def_ = lef_and_def(tmp_path)
    done = CliRunner().invoke(app, ["predict", "--lef", str(lef), "--def", str(def_), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    said = json.loads(done.output)
    assert 0 <= said["rate"] <= 1
    assert said["hotspots"]["rows"] == 8
