from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eda import dataset_build, tools
from eda.dataset import Dataset, Sample, SampleLabel, statistics
from eda.dataset_build import Job, build, sample_path
from eda.dataset_files import PACKED, load, load_dataset, pack, save_dataset
from eda.designs import DESIGNS, FAMILIES, family, recipe_of
from eda.features import STANDARD, feature_maps
from eda.netlist import read_netlist
from eda.route import Recipe, library, route
from graphnas.errors import GraphnasError

needs_flow = pytest.mark.skipif(bool(tools.missing()), reason=f"not installed: {', '.join(tools.missing())}")


def sample(name: str, part: str, seed: int, shape: tuple[int, int] = (3, 4)) -> Sample:
    generator = np.random.default_rng(seed)
    labels = {}
    for effort in (10, 50):
        hotspots = generator.integers(0, 3, shape).astype(np.int32)
        nodes = generator.integers(0, 90, (int(hotspots.sum()), 3)).astype(np.int16)
        labels[effort] = SampleLabel(effort, int(generator.integers(9)), 20, hotspots, nodes, 11)
    features = generator.random((2, *shape)).astype(np.float16).astype(np.float32)
    design = name.split("_")[0]
    recipe = Recipe(utilisation=0.71, seed=seed, spread=0.9)
    return Sample(name, design, family(design), part, features, labels, recipe, {"tools": {"qrouter": "1"}, "cells": 7})


def drawn() -> Dataset:
    names = ["s641_0", "s713_0", "b03_0", "b10_0", "gcd_0", "dec_0", "bar_0"]
    parts = ["train", "train", "train", "validation", "test", "test", "train"]
    samples = [sample(name, part, k, (3 + k % 2, 4)) for k, (name, part) in enumerate(zip(names, parts, strict=True))]
    return Dataset(("rudy", "flyline"), tuple(samples))


def test_a_family_in_two_parts_is_refused() -> None:
    dataset = drawn()
    leaking = [replace(each, part="test") if each.design == "s713" else each for each in dataset]
    with pytest.raises(GraphnasError, match=r"family 's641' lies in test and train"):
        replace(dataset, samples=tuple(leaking))
    with pytest.raises(GraphnasError, match=r"family 's641'"):
        dataset.with_parts({"s641": "train", "s713": "validation"})
    with pytest.raises(GraphnasError, match="unknown design 's6411'; nearest: s641"):
        dataset.with_parts({"s6411": "train"})
    with pytest.raises(GraphnasError, match="unknown part"):
        dataset.with_parts({"s641": "dev"})
    with pytest.raises(GraphnasError, match="is given the families"):
        replace(dataset, samples=(dataset.samples[0], replace(dataset.samples[0], name="again", family="other")))


def test_copies_in_two_parts_are_refused() -> None:
    dataset = drawn()
    copy = replace(dataset.samples[2], name="copy_0", design="copy", family="copy", part="test")
    with pytest.raises(GraphnasError, match="b03_0, copy_0 have the same feature maps but lie in test and train"):
        replace(dataset, samples=(*dataset.samples, copy))
    same_part = replace(dataset, samples=(*dataset.samples, replace(copy, part="train")))
    assert [[each.name for each in group] for group in same_part.duplicates()] == [["b03_0", "copy_0"]]


@pytest.mark.parametrize("seed", range(5))
def test_a_redrawn_split_keeps_families_whole(seed: int) -> None:
    dataset = drawn().redrawn(np.random.default_rng(seed), (0.5, 0.2, 0.3))
    parts = {each.design: each.part for each in dataset}
    assert parts["s641"] == parts["s713"]
    families = {part: {each.family for each in dataset.part(part)} for part in ("train", "validation", "test")}
    assert [len(families[part]) for part in ("train", "validation", "test")] == [3, 1, 2]
    with pytest.raises(GraphnasError, match="too few"):
        dataset.redrawn(np.random.default_rng(seed), (0.9, 0.05, 0.05))


def test_a_packed_file_gives_back_what_was_packed(tmp_path: Path) -> None:
    dataset = drawn()
    path = save_dataset(dataset, tmp_path / "set.npz")
    again = load_dataset(path)
    assert (again.maps, again.tile, again.efforts) == (dataset.maps, dataset.tile, (10, 50))
    for a, b in zip(dataset, again, strict=True):
        assert (a.name, a.design, a.family, a.part, a.recipe, dict(a.facts)) == (
            b.name, b.design, b.family, b.part, b.recipe, dict(b.facts))  # fmt: skip
        assert b.features.dtype == np.float32
        assert np.array_equal(a.features, b.features)
        for effort, label in a.labels.items():
            other = b.labels[effort]
            assert np.array_equal(label.hotspots, other.hotspots)
            assert np.array_equal(label.nodes, other.nodes)
            assert (label.violated, label.nets, label.failed_first) == (other.violated, other.nets, other.failed_first)
    assert save_dataset(again, tmp_path / "again.npz").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features", lambda a: a[:, :-1]),
        ("node_counts", lambda a: a + 1),
        ("shapes", lambda a: a[:-1]),
        ("meta", lambda a: np.array("{")),
        ("meta", lambda a: np.array(json.dumps({"maps": [], "efforts": [], "samples": []}))),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, change: object) -> None:
    path = save_dataset(drawn(), tmp_path / "set.npz")
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays[name] = change(arrays[name])  # type: ignore[operator]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(GraphnasError, match="is no packed data set"):
        load_dataset(tmp_path / "bad.npz")


def test_statistics_by_hand() -> None:
    shape = (1, 2)
    labels = [
        SampleLabel(10, violated, 20, np.array([[violated > 5, 0]], np.int32), np.zeros((0, 3), np.int16), 0)
        for violated in (0, 0, 5, 10, 20)
    ]
    samples = [replace(sample(f"d{k}_0", "train", k, shape), labels={10: label}) for k, label in enumerate(labels)]
    found = statistics(samples, 10)
    assert found["clean_share"] == 0.4
    assert (found["rate_quartile_1"], found["rate_median"], found["rate_quartile_3"]) == (0.0, 0.25, 0.5)
    assert (found["rate_maximum"], found["distinct_counts"], found["hot_tile_share"]) == (1.0, 4, 0.2)


def test_the_list_of_designs_leaks_no_family() -> None:
    parts: dict[str, set[str]] = {}
    for design in DESIGNS:
        parts.setdefault(family(design.name), set()).add(design.part)
    assert all(len(found) == 1 for found in parts.values())
    assert len({design.name for design in DESIGNS}) == len(DESIGNS) >= 40
    assert sum(design.rounds for design in DESIGNS) >= 450
    assert {FAMILIES[name] for name in ("s382", "s400", "s444")} == {"s382"}
    # A recipe is a function of its name alone, and within the ranges of the recipe.
    drawn_ = [recipe_of("b03", round_, 3) for round_ in range(200)]
    assert drawn_[7] == recipe_of("b03", 7, 3)
    assert all(0.60 <= each.utilisation <= 0.97 for each in drawn_)
    assert all(each.spread is None or each.utilisation < 0.8 for each in drawn_)
    assert {each.placer_effort for each in drawn_} == {1, 3, 6}
    assert len({each.seed for each in drawn_}) > 195


def small_netlist(folder: Path) -> Path:
    """A ring of twelve inverters with one port."""
    cells = {f"i{k}": {"type": "INVX1", "connections": {"A": [2 + k], "Y": [2 + (k + 1) % 12]}} for k in range(12)}
    ports = {"out": {"direction": "output", "bits": [2]}}
    path = folder / "ring.json"
    path.write_text(json.dumps({"modules": {"ring": {"ports": ports, "cells": cells}}}))
    return path


@needs_flow
def test_a_build_goes_on_where_it_stopped_and_is_the_same_with_two_processes(tmp_path: Path) -> None:
    netlist = small_netlist(tmp_path)

    def jobs(folder: str) -> list[Job]:
        recipes = [Recipe(utilisation=0.6, seed=seed, placer_effort=1, efforts=(10,)) for seed in (1, 2)]
        return [
            Job(f"ring_{k}", "ring", "train", netlist, recipe, tmp_path / folder) for k, recipe in enumerate(recipes)
        ]

    one, two = jobs("one"), jobs("two")
    assert build(one[:1]) == 1
    before = sample_path(one[0]).read_bytes()
    assert build(one) == 1
    assert sample_path(one[0]).read_bytes() == before
    assert build(two, workers=2) == 2
    packed_one, packed_two = pack(tmp_path / "one", STANDARD), pack(tmp_path / "two", STANDARD)
    for a, b in zip(packed_one, packed_two, strict=True):
        assert np.array_equal(a.features, b.features)
        assert np.array_equal(a.labels[10].nodes, b.labels[10].nodes)
        assert a.features[STANDARD.index("cell_density")].sum() > 0
    broken = replace(one[0], name="broken", netlist=tmp_path / "absent.json")
    with pytest.raises(GraphnasError, match=r"1 of 1 placements could not be made; the first: cannot read"):
        build([broken])


def test_what_does_not_fit_is_tried_without_loosening_and_then_at_lower_utilisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[float, float | None]] = []

    def full(netlist: object, recipe: Recipe) -> None:
        tried.append((recipe.utilisation, recipe.spread))
        raise GraphnasError("no place" if len(tried) == 4 else "no place; choose a lower utilisation")

    monkeypatch.setattr(dataset_build, "route", full)
    job = Job("ring_0", "ring", "train", small_netlist(tmp_path), Recipe(utilisation=0.7, spread=0.9), tmp_path)
    with pytest.raises(GraphnasError, match=r"ring_0: no place$"):
        dataset_build.make(job)
    assert tried == [(0.7, 0.9), (0.7, None), (0.65, None), (0.6, None)]
    tried.clear()
    with pytest.raises(GraphnasError, match="ring_0: no place; choose"):
        dataset_build.make(replace(job, recipe=Recipe(utilisation=0.52)))
    assert tried == [(0.52, None)]


def test_the_packed_set_is_what_it_says() -> None:
    dataset = load()
    assert len(dataset) >= 450
    assert len(dataset.designs) >= 40
    assert (dataset.maps, dataset.tile, dataset.efforts) == (STANDARD, 20.0, (10, 50))
    assert PACKED.stat().st_size <= 12_000_000
    cells = np.array([each.facts["cells"] for each in dataset])
    assert (cells < 1000).mean() > 0.8
    for each in dataset:
        assert np.isfinite(each.features).all()
        for label in each.labels.values():
            assert label.hotspots.sum() == len(label.nodes)
            assert (label.violated > 0) == (len(label.nodes) > 0)
            assert 0 <= label.violated <= label.nets
    for part in ("train", "validation", "test"):
        for effort in dataset.efforts:
            found = statistics(dataset.part(part), effort)
            assert 0.05 < found["clean_share"] < 0.95
            assert found["distinct_counts"] > 10


@needs_flow
@pytest.mark.parametrize("name", ["s298_L3_00", "ctrl_L3_00", "c1355_L4_00"])
def test_a_sample_of_the_packed_set_is_made_again_bit_for_bit(name: str, data_folder: Path) -> None:
    wanted = next(each for each in load() if each.name == name)
    now = tools.versions()
    if now["qrouter"] != wanted.tools["qrouter"] or now["coloquinte"] != wanted.tools["coloquinte"]:
        pytest.skip(f"made with {dict(wanted.tools)}, installed are {now}")
    netlist = read_netlist(data_folder / "eda" / "netlists" / f"{wanted.design}.json.xz")
    made = route(netlist, wanted.recipe)
    technology, _ = library()
    maps = feature_maps(made.placement, technology, made.tiles, STANDARD).values.astype(np.float16)
    assert np.array_equal(maps.astype(np.float32), wanted.features)
    for label in made.labels:
        other = wanted.labels[label.effort]
        assert np.array_equal(label.nodes, other.nodes)
        assert np.array_equal(label.hotspots, other.hotspots)
        assert (len(label.violated), label.nets, label.failed_first) == (other.violated, other.nets, other.failed_first)


def test_the_data_of_the_package_is_declared() -> None:
    toml = pytest.importorskip("tomllib")
    root = Path(__file__).parents[2]
    patterns = toml.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["eda"]
    declared = {path for pattern in patterns for path in (root / "eda").glob(pattern)}
    files = {path for folder in ("circuits", "data") for path in (root / "eda" / folder).glob("*")}
    assert {path for path in files if path.suffix in (".npz", ".v")} <= declared
    assert sum(path.stat().st_size for path in declared) < 20_000_000
