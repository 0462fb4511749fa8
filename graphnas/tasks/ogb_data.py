"""OGB's node data sets, without the questions that OGB 1.3.6 asks on the way.

As it is, OGB looks up its newest version over the network when imported, asks on standard input before it downloads or
updates, and reads its own cache with a ``torch.load`` that torch 2.6 and later refuse.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphnas.data import DATA_VARIABLE, cache_path, find
from graphnas.errors import GraphnasError

_RELEASE = {"ogbn-arxiv": "RELEASE_v1.txt", "ogbn-products": "RELEASE_v1.txt"}
_LOCK = threading.Lock()


def read_ogbn(name: str) -> tuple[Any, int]:
    """A PyG ``Data`` with masks of the official split, and its number of classes (Hu et al., 2020).

    Unpacked data is looked for in ``ogb/<name>``, with underscores; otherwise OGB downloads it into the cache folder.
    PyG's processed form is always written to the cache folder.

    Args:
        name: "ogbn-arxiv" or "ogbn-products".

    Raises:
        GraphnasError: neither there nor to be had over the network, of another version, or unreadable.
    """
    folder = name.replace("-", "_")
    found = find(f"ogb/{folder}")
    home = cache_path(f"ogb/{folder}").parent
    try:
        if found is None:
            found = home / folder
            with _emptied(home) as temporary:
                _open(name, temporary, progress=True)
                shutil.move(temporary / folder, found)
        elif not (found / _RELEASE[name]).is_file():
            raise GraphnasError(f"{found} has no {_RELEASE[name]}; unpack the official archive of {name} there")
        elif found.parent != home:
            home = home / "linked" / _fingerprint(found)
            if not (home / folder).is_dir():
                with _emptied(home) as temporary:
                    _link(found, temporary / folder)
                    shutil.move(temporary / folder, home / folder)
        dataset = _open(name, home)
        return _with_masks(dataset), int(dataset.num_classes)
    except GraphnasError:
        raise
    except Exception as error:  # OGB, pandas and PyG raise all kinds of errors on files that are missing or broken
        raise GraphnasError(
            f"cannot read {name} ({type(error).__name__}: {error}); without a network, unpack its official archive "
            f"as ogb/{folder} below {DATA_VARIABLE}"
        ) from None


@contextlib.contextmanager
def _emptied(home: Path) -> Iterator[Path]:
    """A temporary folder in ``home`` that is removed in the end."""
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".") as temporary:
        yield Path(temporary)


def _fingerprint(found: Path) -> str:
    """Changes with the place and the raw files, so that no stale processed form is read."""
    files = sorted(file for part in ("raw", "split") for file in (found / part).rglob("*"))
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
    """OGB's data set; what it prints is dropped, but for the progress bar of a download."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_LOCK)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if not progress:
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        module = stack.enter_context(_quiet_ogb())
        return module.PygNodePropPredDataset(name=name, root=str(root))


def _with_masks(dataset: Any) -> Any:
    import torch

    with _LOCK, _quiet_ogb():
        rows = dataset.get_idx_split()
    data = dataset[0]
    for attribute, split in (("train_mask", "train"), ("val_mask", "valid"), ("test_mask", "test")):
        mask = torch.zeros(int(data.num_nodes), dtype=torch.bool)
        mask[rows[split]] = True
        setattr(data, attribute, mask)
    return data


@contextlib.contextmanager
def _quiet_ogb() -> Iterator[Any]:
    """OGB's module, which neither asks nor looks for updates; ``torch.load`` accepts the classes of its cache."""
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
    module = importlib.import_module("ogb.nodeproppred.dataset_pyg")
    decide = module.decide_download
    module.decide_download = lambda url: True  # type: ignore[attr-defined]  # whoever names the task has decided
    try:
        with torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]):
            yield module
    finally:
        module.decide_download = decide  # type: ignore[attr-defined]
