"""OGB's data sets and evaluators, without the questions that OGB 1.3.6 asks on the way.

As it is, OGB looks up its newest version over the network when imported, asks on standard input before it downloads or
updates, and reads its own cache with a ``torch.load`` that torch 2.6 and later refuse.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import io
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from graphnas.data import DATA_VARIABLE, cache_path, find
from graphnas.errors import GraphnasError
from graphnas.foreign import safe_extract
from graphnas.tasks.torch_files import load_saved

_PARTS = {  # by the beginning of the name: OGB's package, and its class of data sets
    "ogbn": ("ogb.nodeproppred", "PygNodePropPredDataset"),
    "ogbg": ("ogb.graphproppred", "PygGraphPropPredDataset"),
    "ogbl": ("ogb.linkproppred", "PygLinkPropPredDataset"),
}
_RELEASE = "RELEASE_v1.txt"
_MAX_UNPACKED = 1 << 33  # bytes
_LOCK = threading.RLock()


def read_ogb(name: str) -> tuple[Any, Any]:
    """OGB's PyG data set of a name, and its official split (Hu et al., 2020).

    Unpacked data is looked for in ``ogb/<name>``, with underscores, and then ``ogb/<name>.tar``; otherwise OGB downloads
    it into the cache folder. PyG's processed form is always written to the cache folder.

    Args:
        name: "ogbn-arxiv", "ogbg-molhiv", "ogbl-collab" and so on.

    Raises:
        GraphnasError: neither there nor to be had over the network, of another version, or unreadable.
    """
    folder = name.replace("-", "_")
    home = cache_path(f"ogb/{folder}").parent
    try:
        found = _found(folder, home)
        if found is None:
            found = home / folder
            with _emptied(home) as temporary:
                _open(name, temporary, progress=True)
                shutil.move(temporary / folder, found)
        elif not (found / _RELEASE).is_file():
            raise GraphnasError(f"{found} has no {_RELEASE}; unpack the official archive of {name} there")
        elif found.parent != home:
            home = home / "linked" / _fingerprint(found)
            if not (home / folder).is_dir():
                with _emptied(home) as temporary:
                    _link(found, temporary / folder)
                    shutil.move(temporary / folder, home / folder)
        dataset = _open(name, home)
        return dataset, _split(dataset)
    except GraphnasError:
        raise
    except Exception as error:  # OGB, pandas and PyG raise all kinds of errors on files that are missing or broken
        raise GraphnasError(
            f"cannot read {name} ({type(error).__name__}: {' '.join(str(error).split())}); without a network, unpack its "
            f"official archive as ogb/{folder} below {DATA_VARIABLE}"
        ) from None


def read_ogbn(name: str) -> tuple[Any, int]:
    """A PyG ``Data`` with masks of the official split, and its number of classes.

    Args:
        name: "ogbn-arxiv" or "ogbn-products".

    Raises:
        GraphnasError: as ``read_ogb``.
    """
    dataset, rows = read_ogb(name)
    return _with_masks(dataset[0], rows), int(dataset.num_classes)


def evaluate_ogb(name: str, values: Mapping[str, Any]) -> dict[str, float]:
    """What OGB's own evaluator of a data set returns for these values (see its ``expected_input_format``).

    Raises:
        GraphnasError: the evaluator refuses them.
    """
    try:
        return {key: float(value) for key, value in _evaluator(name).eval(dict(values)).items()}
    except (RuntimeError, ValueError) as error:
        raise GraphnasError(f"OGB's evaluator of {name} refuses the predictions: {error}") from None


@cache
def _evaluator(name: str) -> Any:
    """OGB's evaluator, from its file alone: OGB's packages import all that they find, DGL too."""
    found = importlib.util.find_spec("ogb")
    assert found is not None
    assert found.submodule_search_locations is not None
    file = Path(found.submodule_search_locations[0], *_PARTS[name[:4]][0].split(".")[1:], "evaluate.py")
    spec = importlib.util.spec_from_file_location(f"graphnas_{file.parent.name}_evaluate", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Evaluator(name)


def _found(folder: str, home: Path) -> Path | None:
    """The unpacked data set, unpacking it first where only an archive is there."""
    found = find(f"ogb/{folder}")
    archive = find(f"ogb/{folder}.tar")
    if found is not None or archive is None:
        return found
    place = home / "unpacked" / _fingerprint(archive)
    if not place.is_dir():
        try:
            safe_extract(archive, place, max_bytes=_MAX_UNPACKED)
        except GraphnasError:
            if not place.is_dir():  # else another process was quicker
                raise
    return place / folder


@contextlib.contextmanager
def _emptied(home: Path) -> Iterator[Path]:
    """A temporary folder in ``home`` that is removed in the end."""
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".") as temporary:
        yield Path(temporary)


def _fingerprint(found: Path) -> str:
    """Changes with the place and the raw files, so that no stale processed form is read."""
    files = [found] if found.is_file() else sorted(f for part in ("raw", "split") for f in (found / part).rglob("*"))
    parts = [f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join([str(found.resolve()), *parts]).encode()).hexdigest()[:16]


def _link(source: Path, target: Path) -> None:
    """A folder that shows the raw files and splits of a read-only one, and has room for a processed form."""
    target.mkdir()
    try:
        for part in ("raw", "split"):
            (target / part).symlink_to((source / part).resolve(), target_is_directory=True)
    except OSError:  # a system without symbolic links
        for part in ("raw", "split"):
            shutil.copytree(source / part, target / part)
    for release in source.glob("RELEASE_v*.txt"):
        shutil.copyfile(release, target / release.name)


def _open(name: str, root: Path, progress: bool = False) -> Any:
    """OGB's data set; of what it prints only the progress bar of a download is shown."""
    with _quietly(name, progress) as package:
        return getattr(package, _PARTS[name[:4]][1])(name=name, root=str(root))


def _split(dataset: Any) -> Any:
    """The official split; that of links in files which torch's safe reader may not know (see ``load_saved``)."""
    if dataset.name.startswith("ogbl"):
        folder = Path(dataset.root) / "split" / dataset.meta_info["split"]
        return {part: load_saved(folder / f"{part}.pt") for part in ("train", "valid", "test")}
    with _quietly(dataset.name):
        return dataset.get_idx_split()


@contextlib.contextmanager
def _quietly(name: str, progress: bool = False) -> Iterator[Any]:
    """OGB's package for a data set, for one thread at a time, with what it prints and warns of dropped."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_LOCK)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if not progress:
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield stack.enter_context(_quiet_ogb(_PARTS[name[:4]][0]))


def _with_masks(data: Any, rows: Mapping[str, Any]) -> Any:
    import torch

    for attribute, split in (("train_mask", "train"), ("val_mask", "valid"), ("test_mask", "test")):
        mask = torch.zeros(int(data.num_nodes), dtype=torch.bool)
        mask[rows[split]] = True
        setattr(data, attribute, mask)
    return data


@contextlib.contextmanager
def _quiet_ogb(package: str = "ogb.nodeproppred") -> Iterator[Any]:
    """A package of OGB that neither asks nor looks for updates; ``torch.load`` accepts the classes of its cache."""
    import torch
    from torch_geometric.data.data import Data, DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import GlobalStorage

    if "ogb" not in sys.modules:
        outdated = sys.modules.get("outdated")
        sys.modules["outdated"] = None  # type: ignore[assignment]  # makes its import fail: no version check
        try:
            importlib.import_module("ogb")
        finally:
            if outdated is None:
                del sys.modules["outdated"]
            else:
                sys.modules["outdated"] = outdated
    found = importlib.import_module(package)
    module = importlib.import_module(f"{package}.dataset_pyg")
    decide = module.decide_download
    module.decide_download = lambda url: True  # type: ignore[attr-defined]  # whoever names the task has decided
    try:
        with torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]):
            yield found
    finally:
        module.decide_download = decide  # type: ignore[attr-defined]
