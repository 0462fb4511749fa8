"""NAS-Bench-201's and NATS-Bench's files, written by torch and pickle in the official structure; and hostile ones."""

from __future__ import annotations

import bz2
import collections
import io
import itertools
import os
import pickle
import tarfile
from collections.abc import Sequence
from functools import cache as cache_result
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphnas.errors import GraphnasError
from spaces.nasbench201 import OPS, from_string
from spaces.tables import nasbench201
from spaces.tables.import_nasbench201 import convert
from spaces.tables.importers import import_benchmark


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GRAPHNAS_DATA", raising=False)
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def refused(benchmark: str, source: Path, message: str, cache: Path, partial: bool = True) -> None:
    """The import fails with one sentence and leaves no table."""
    with pytest.raises(GraphnasError, match=message) as caught:
        import_benchmark(benchmark, source, partial=partial)
    assert "\n" not in str(caught.value)
    assert not [p for p in cache.rglob("*") if p.is_file()]


EVERY_NAME = [f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in itertools.product(OPS, repeat=6)]


@cache_result
def official_names() -> list[str]:
    return [EVERY_NAME[i] for i in np.random.default_rng(3).permutation(len(EVERY_NAME))]


def trial(dataset: str, seed: int, epochs: int, index: int, name: str) -> dict[str, Any]:
    """One ResultsCount.state_dict() with distinct numbers, some of them numpy scalars."""
    splits = {"cifar10-valid": ["x-valid", "ori-test"], "cifar10": ["ori-test"]}.get(
        dataset, ["x-valid", "x-test", "ori-test"]
    )
    accuracies = {
        f"{split}@{epoch}": figure(dataset, seed, epochs, index, split) if epoch == epochs - 1 else 1.0
        for split in splits
        for epoch in range(epochs)
    }
    return {
        "name": "infer.tiny",
        "net_state_dict": None,
        "train_acc1es": {0: np.float64(10.0), epochs - 1: 99.0},
        "train_acc5es": None,
        "train_losses": {0: 2.3},
        "train_times": collections.OrderedDict({0: 7.5}),
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": name, "class_num": 10},
        "params": 0.5 + index / 1000,
        "flop": np.float64(30.25 + index),
        "seed": seed,
        "epochs": epochs,
        "latency": [0.01 + index / 1000, 0.03 + index / 1000],
        "eval_names": splits,
        "eval_acc1es": accuracies,
        "eval_times": {},
        "eval_losses": {},
    }


def figure(dataset: str, seed: int, epochs: int, index: int, split: str) -> float:
    return (len(dataset) * 7 + seed / 100 + epochs / 10 + index * 3 + len(split)) % 90


def results(index: int, name: str, epochs: int, seeds: Sequence[int], datasets: Sequence[str]) -> dict[str, Any]:
    """One ArchResults.state_dict()."""
    return {
        "arch_index": index,
        "arch_str": name,
        "all_results": {(d, s): trial(d, s, epochs, index, name) for d in datasets for s in seeds},
        "dataset_seed": {d: list(seeds) for d in datasets},
        "clear_net_done": True,
    }


SETS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")
USED = {
    "cifar10": ("cifar10-valid", "x-valid", "cifar10", "ori-test"),
    "cifar100": ("cifar100", "x-valid", "cifar100", "x-test"),
    "imagenet16-120": ("ImageNet16-120", "x-valid", "ImageNet16-120", "x-test"),
}
INDICES = (0, 3, 11)


def both(index: int, name: str, long: str, short: str, short_sets: Sequence[str] = SETS) -> dict[str, Any]:
    return {long: results(index, name, 200, (777, 888), SETS), short: results(index, name, 12, (111,), short_sets)}


def write_pth(path: Path, *, legacy: bool, short_sets: Sequence[str] = SETS, extra: object = None) -> Path:
    import torch

    names = official_names()
    infos = collections.OrderedDict((i, both(i, names[i], "full", "less", short_sets)) for i in INDICES)
    content = {
        "meta_archs": names,
        "arch2infos": infos,
        "evaluated_indexes": list(INDICES),
        **({"x": extra} if extra else {}),
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def packed(content: object) -> bytes:
    return bz2.compress(pickle.dumps(content, protocol=4))


@cache_result
def packed_meta() -> bytes:
    return packed({"meta_archs": official_names(), "total_archs": 15_625})


def write_archive(path: Path, changes: dict[str, bytes | None] | None = None) -> Path:
    names = official_names()
    members: dict[str, bytes | None] = {"meta": packed_meta()}
    members |= {f"{i:06d}": packed(both(i, names[i], "200", "12")) for i in reversed(INDICES)}
    members |= changes or {}
    if path.suffix != ".tar":
        path.mkdir(exist_ok=True)
    with tarfile.open(path, "w") if path.suffix == ".tar" else open(os.devnull) as archive:
        for name, data in members.items():
            if data is None:
                continue
            if isinstance(archive, tarfile.TarFile):
                info = tarfile.TarInfo(f"NATS-tss-v1_0-3ffb9-simple/{name}.pickle.pbz2")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            else:
                (path / f"{name}.pickle.pbz2").write_bytes(data)
    return path


def check_imported(short_sets: Sequence[str] = SETS) -> None:
    names = official_names()
    for dataset, (valid_set, valid, test_set, test) in USED.items():
        table = nasbench201.table(dataset)
        factory = {"cifar10": nasbench201.cifar10, "cifar100": nasbench201.cifar100}.get(
            dataset, nasbench201.imagenet16_120
        )
        has_short = valid_set in short_sets and test_set in short_sets
        assert ("test_12" in table.columns) == (test_set in short_sets)
        assert ("validation_12" in table.columns) == (valid_set in short_sets)
        estimator = factory(metrics=["params", "flops", "latency", *(["validation_12"] if has_short else [])])
        for row, index in enumerate(INDICES):  # rows follow the official index
            architecture = from_string(names[index])
            assert estimator.row(architecture) == row
            evaluation = estimator.evaluate(architecture)
            mean = sum(figure(valid_set, seed, 200, index, valid) for seed in (777, 888)) / 2
            assert evaluation.score == pytest.approx(mean)
            mean = sum(figure(test_set, seed, 200, index, test) for seed in (777, 888)) / 2
            assert estimator.test(architecture)["test"] == pytest.approx(mean)
            assert evaluation.metrics["params"] == 500_000 + 1000 * index
            assert evaluation.metrics["flops"] == 30_250_000 + 1_000_000 * index
            assert evaluation.metrics["latency"] == pytest.approx(20 + index)
            if has_short:
                assert evaluation.metrics["validation_12"] == pytest.approx(figure(valid_set, 111, 12, index, valid))
        with pytest.raises(GraphnasError, match=r"\(3 architectures\)"):
            estimator.evaluate(from_string(names[1]))


@pytest.mark.parametrize("legacy", [False, True])
def test_the_pth_file_of_nasbench201(tmp_path: Path, cache: Path, legacy: bool) -> None:
    source = write_pth(tmp_path / "NAS-Bench-201-v1_1-096897.pth", legacy=legacy)
    if legacy:  # the official files were written with numpy 1
        assert b"numpy._core" in source.read_bytes()
        source.write_bytes(source.read_bytes().replace(b"numpy._core", b"numpy.core"))
    refused("nasbench201", source, "holds results of 3 cells; the benchmark has 15625", cache, partial=False)
    assert (
        convert(source, partial=True)
        == import_benchmark("nasbench201", source, partial=True)
        == cache / "tables" / "nasbench201.npz"
    )
    check_imported()


def test_version_1_0_has_12_epochs_of_one_set_only(tmp_path: Path) -> None:
    source = write_pth(tmp_path / "NAS-Bench-201-v1_0-e61699.pth", legacy=True, short_sets=SETS[:1])
    import_benchmark("nasbench201", source, partial=True)
    check_imported(SETS[:1])


@pytest.mark.parametrize("name", ["NATS-tss-v1_0-3ffb9-simple.tar", "NATS-tss-v1_0-3ffb9-simple"])
def test_the_archive_of_nats_bench(tmp_path: Path, cache: Path, name: str) -> None:
    source = write_archive(tmp_path / name)
    refused("nasbench201", source, "holds results of 3 cells", cache, partial=False)
    import_benchmark("nasbench201", source, partial=True)
    check_imported()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pth_file_that_runs_a_command_is_refused_unrun(tmp_path: Path, cache: Path, legacy: bool) -> None:
    marker = tmp_path / "executed"
    source = write_pth(tmp_path / "x.pth", legacy=legacy, extra=Hostile(f"touch {marker}"))
    refused("nasbench201", source, "was refused or cannot be read", cache)
    assert not marker.exists()
    source.write_bytes(source.read_bytes()[:-200])
    refused("nasbench201", source, "was refused or cannot be read", cache)


@pytest.mark.parametrize("name", ["x.tar", "folder"])
def test_hostile_and_damaged_archives_are_refused(
    tmp_path: Path, cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaces.tables.import_nasbench201._MAX_UNPACKED", 4 << 20)  # so that the bomb can be small
    marker, names = tmp_path / "executed", official_names()
    good = both(3, names[3], "200", "12")
    wrong = both(3, names[3], "200", "12")
    wrong["200"]["all_results"]["cifar100", 888]["eval_acc1es"]["x-test@199"] = 100.5
    lacking = both(3, names[3], "200", "12")
    lacking["200"]["dataset_seed"]["cifar10"] = []
    changes: list[tuple[dict[str, bytes | None], str]] = [
        ({"000003": packed({"200": Hostile(f"touch {marker}")})}, "refused the pickle: it names '(posix|nt).system'"),
        ({"meta": packed(Hostile(f"touch {marker}"))}, "refused the pickle"),
        ({"meta": None}, "no file meta.pickle.pbz2"),
        ({"meta": packed([1])}, "lacks the list 'meta_archs'"),
        ({"000003": packed(good)[:-30]}, "000003.pickle.pbz2 .* is truncated"),
        ({"000003": b"no bz2"}, "is not bzip2 data"),
        ({"000003": bz2.compress(bytes(5 << 20))}, "unpacks to more than"),
        ({"000003": packed(both(3, names[4], "200", "12"))}, "cell 3 is not in the form"),
        ({"000003": packed([])}, "cell 3 is not in the form"),
        ({"000003": packed({"12": good["12"]})}, "cell 3 is not in the form"),
        ({"000003": packed(wrong)}, "accuracy out of range"),
        ({"000003": packed(lacking)}, "no trials on 'cifar10'"),
        ({"000003": None, "3": packed(good), "03": packed(good)}, "twice"),
        ({"020000": packed(good)}, "cell 20000 is not in the form"),
    ]
    for i, (change, message) in enumerate(changes):
        refused("nasbench201", write_archive(tmp_path / f"{i}{name}", change), message, cache)
        assert not marker.exists()
