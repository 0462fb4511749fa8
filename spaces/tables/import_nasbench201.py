"""Converts NAS-Bench-201's ``.pth`` file and NATS-Bench's topology archive (Dong & Yang 2020; Dong et al. 2021)."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphnas.data import cache_path
from graphnas.errors import GraphnasError
from graphnas.estimators.table_data import save_table
from graphnas.foreign import NUMBERS, load_pickle, read_tar, unpack_bz2
from spaces.nasbench201 import from_string, space

COUNT = 15_625
IMPORTED = "tables/nasbench201.npz"
_MEMBER = re.compile(r"(\d{1,6}|meta)\.pickle\.pbz2")
_MAX_PACKED = 16 << 20  # a hundred times the size of an official member
_MAX_UNPACKED = 64 << 20
# data set -> (trained for validation, split of the validation, trained for test, split of the test)
_SETS = {
    "cifar10": ("cifar10-valid", "x-valid", "cifar10", "ori-test"),
    "cifar100": ("cifar100", "x-valid", "cifar100", "x-test"),
    "imagenet16-120": ("ImageNet16-120", "x-valid", "ImageNet16-120", "x-test"),
}
Results = Mapping[str, Any]


def convert(source: Path, target: Path | None = None, *, partial: bool = False) -> Path:
    """Write the compact table of an official file; rows are in the order of the official index.

    For each data set, ``<data set>/validation`` and ``/test`` after 200 epochs, ``/validation_12`` and ``/test_12``
    after 12 epochs (where the file has them for all cells), in % and as mean over all trials, as the benchmark's own
    ``get_metrics(is_random=False)``; ``/params`` and ``/flops`` (multiply-adds); ``/latency`` in ms where measured.

    What it trusts: ``.pth`` is read by ``torch.load(weights_only=True)`` with numpy's number types allowed in addition;
    archives by a pickle reader that admits numbers and containers only. Neither can run code. All values are checked.

    Args:
        source: ``NAS-Bench-201-v1_1-096897.pth`` (or v1_0; needs tens of gigabytes of memory, as the official reader),
            ``NATS-tss-v1_0-3ffb9-simple.tar``, or the folder that it unpacks to.
        target: the npz file to write; by default where the tables look for it, in the cache folder.
        partial: accept less than the 15,625 cells.

    Raises:
        GraphnasError: the file is not what it should be.
    """
    target = target or cache_path(IMPORTED)
    names, results = _read_pth(source) if source.suffix == ".pth" else _read_archive(source)
    if not partial and (len(names) != COUNT or len(set(names)) != COUNT):
        raise GraphnasError(f"{source} names {len(set(names))} cells; the benchmark has {COUNT}: get it again")
    found: dict[int, dict[str, float]] = {}
    for index, by_epochs in results:
        try:
            if index in found or not 0 <= index < len(names):
                raise ValueError(f"the index is out of range or occurs twice among {len(names)}")
            found[index] = _row(by_epochs, names[index])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:  # noqa: PERF203 -- names the cell
            raise GraphnasError(f"{source}: cell {index} is not in the form of the benchmark ({error!r})") from None
    if not found or (not partial and len(found) != COUNT):
        raise GraphnasError(f"{source} holds results of {len(found)} cells; the benchmark has {COUNT}: get it again")
    order = sorted(found)
    columns = {name: np.array([found[i][name] for i in order]) for name in found[order[0]]}
    optional = {name for name in columns if name.endswith(("_12", "/latency"))}
    for name, values in columns.items():
        if name not in optional and not np.isfinite(values).all():
            raise GraphnasError(f"{source} lacks {name} for some cells; get it again")
    kept = {name: values for name, values in columns.items() if np.isfinite(values).all()}
    decisions = np.array([space().encode(from_string(names[i])) for i in order], dtype=np.uint8)
    return save_table(target, space(), decisions, kept, f"NAS-Bench-201, {source.name}")


def _row(by_epochs: Mapping[str, Results], name: str) -> dict[str, float]:
    row = {}
    long, short = by_epochs["200"], by_epochs.get("12", {})
    if long["arch_str"] != name:
        raise ValueError(f"{long['arch_str']!r} stands at the index of {name!r}")
    for dataset, (valid_set, valid_split, test_set, test_split) in _SETS.items():
        row[f"{dataset}/validation"] = _accuracy(long, valid_set, valid_split)
        row[f"{dataset}/test"] = _accuracy(long, test_set, test_split)
        row[f"{dataset}/validation_12"] = _accuracy(short, valid_set, valid_split)
        row[f"{dataset}/test_12"] = _accuracy(short, test_set, test_split)
        trials = _trials(long, test_set)
        if not trials:
            raise ValueError(f"no trials on {test_set!r}")
        row[f"{dataset}/params"] = round(1e6 * float(np.mean([t["params"] for t in trials])))
        row[f"{dataset}/flops"] = round(1e6 * float(np.mean([t["flop"] for t in trials])))
        measured = [1e3 * float(np.mean(t["latency"])) for t in trials if t.get("latency")]
        row[f"{dataset}/latency"] = float(np.mean(measured)) if measured and min(measured) > 0 else math.nan
    return row


def _trials(results: Results, dataset: str) -> list[Results]:
    seeds = results.get("dataset_seed", {}).get(dataset, ())
    return [results["all_results"][dataset, seed] for seed in seeds]


def _accuracy(results: Results, dataset: str, split: str) -> float:
    """Mean accuracy in % after the last epoch over all trials; NaN where there is no trial."""
    values = [float(t["eval_acc1es"][f"{split}@{int(t['epochs']) - 1}"]) for t in _trials(results, dataset)]
    if any(not 0 <= v <= 100 for v in values):
        raise ValueError(f"accuracy out of range: {values}")
    return sum(values) / len(values) if values else math.nan


def _names(record: Any, source: Path) -> list[str]:
    names = record.get("meta_archs") if isinstance(record, dict) else None
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise GraphnasError(f"{source} lacks the list 'meta_archs'; it is no file of NAS-Bench-201")
    return list(names)


def _read_pth(source: Path) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Results]]]]:
    from collections import defaultdict

    import torch

    multiarray = getattr(np, "_core", None) or np.core
    scalars = [(multiarray.multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    numbers = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4")]
    allowed: list[Any] = [np.dtype, defaultdict, *numbers, *scalars]
    try:
        with torch.serialization.safe_globals(allowed):
            record = torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source) or None)
    except FileNotFoundError:
        raise GraphnasError(f"{source} does not exist") from None
    except Exception as error:  # a broken file can raise anything from inside the reader
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GraphnasError(f"{source} was refused or cannot be read as numbers and text ({reason})") from None
    names = _names(record, source)
    infos = record.get("arch2infos")
    if not isinstance(infos, dict) or not all(isinstance(v, dict) and "full" in v for v in infos.values()):
        raise GraphnasError(f"{source} lacks 'arch2infos'; it is no file of NAS-Bench-201")
    return names, ((int(i), {"200": v["full"], "12": v.get("less") or {}}) for i, v in infos.items())


def _read_archive(source: Path) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Results]]]]:
    meta = next((data for name, data in _members(source) if name == "meta"), None)
    if meta is None:
        raise GraphnasError(f"{source} has no file meta.pickle.pbz2; give NATS-tss-v1_0-3ffb9-simple.tar or its folder")

    def results() -> Iterator[tuple[int, Mapping[str, Results]]]:
        for name, data in _members(source):
            if name != "meta":
                yield int(name), _unpickled(data, f"{name}.pickle.pbz2 in {source}")

    return _names(_unpickled(meta, f"meta.pickle.pbz2 in {source}"), source), results()


def _members(source: Path) -> Iterator[tuple[str, bytes]]:
    """(number or "meta", packed content) of the members of the archive or folder; in a folder, meta comes first."""
    if source.is_dir():
        files = sorted(p for p in source.iterdir() if _MEMBER.fullmatch(p.name) and p.is_file())
        for path in sorted(files, key=lambda p: not p.name.startswith("meta")):
            if path.stat().st_size > _MAX_PACKED:
                raise GraphnasError(f"{path} has more than the {_MAX_PACKED} bytes that are accepted")
            yield path.name.split(".")[0], path.read_bytes()
        return
    for member, data in read_tar(source, max_member_bytes=_MAX_PACKED, max_total_bytes=64 << 30, max_members=100_000):
        base = member.rsplit("/", 1)[-1]
        if _MEMBER.fullmatch(base):
            yield base.split(".")[0], data


def _unpickled(data: bytes, label: str) -> Any:
    unpacked = unpack_bz2(data, label, _MAX_UNPACKED)
    try:
        return load_pickle(unpacked, NUMBERS, max_bytes=_MAX_UNPACKED)
    except GraphnasError as error:
        raise GraphnasError(f"{label}: {error}") from None
