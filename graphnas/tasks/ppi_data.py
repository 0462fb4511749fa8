"""PPI: protein interactions in 24 human tissues, the standard inductive data set (Hamilton et al., 2017, section 4.2)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnas.data import cache_path, find
from graphnas.errors import GraphnasError
from graphnas.foreign import safe_extract
from graphnas.tasks.graph_files import fetch
from graphnas.tasks.graphs import Graphs
from graphnas.tasks.inductive import InductiveNodeTask

_FILES = {"train": "train", "validation": "valid", "test": "test"}
_MAX_FILE = 1 << 29  # bytes
_FIRST = "train_graph.json"


def ppi(*, batch_size: int = 1, seed: int = 0) -> InductiveNodeTask:
    """PPI: 56,944 proteins in 24 tissues, 50 features, 121 yes-or-no labels; 20/2/2 graphs; micro-averaged F1.

    The raw files are looked for in ``ppi/raw`` (the root of PyG's data set is then ``ppi``) and as the official archive
    ``ppi/ppi.zip``, which is downloaded otherwise, from where PyG gets it.

    Args:
        batch_size: graphs a training batch; 2 in Velickovic et al. (2018, section 3.3).
        seed: of the subsets that ``share`` selects.

    Raises:
        GraphnasError: data that cannot be had, or files of something else.
    """
    with _folder() as folder:
        graphs, y, splits = read_ppi(folder)
    seen = (*(len(rows) for rows in splits.values()), len(graphs.x), graphs.width, y.shape[1])
    if seen != (20, 2, 2, 56944, 50, 121):
        raise GraphnasError(
            f"the files of PPI hold {seen[0]}/{seen[1]}/{seen[2]} graphs of {seen[3]} nodes with {seen[4]} features and "
            f"{seen[5]} labels instead of 20/2/2 of 56944 with 50 and 121; get them again"
        )
    return InductiveNodeTask(graphs, splits, y=y, name="ppi", batch_size=batch_size, seed=seed)


def read_ppi(folder: Path) -> tuple[Graphs, Tensor, dict[str, Tensor]]:
    """The graphs of raw files in PPI's form, their labels ``[sum N, T]``, and the numbers of the graphs of each split.

    Edges are made undirected where the file says that they are; self-loops, duplicates and edges between two graphs
    are dropped.

    Raises:
        GraphnasError: a file is missing, broken or does not fit the others.
    """
    xs, ys, edge_lists, edges = [], [], [], []
    nodes: list[Tensor] = []
    splits: dict[str, Tensor] = {}
    first = 0
    for split, part in _FILES.items():
        x, y, owner = (_array(folder / f"{part}_{name}.npy") for name in ("feats", "labels", "graph_id"))
        if x.ndim != 2 or y.ndim != 2 or owner.ndim != 1 or not 0 < len(x) == len(y) == len(owner):
            raise GraphnasError(f"the arrays {part}_*.npy in {folder} do not fit together; get them again")
        owner = owner - owner.min()
        order = np.argsort(owner, kind="stable")
        sizes = np.bincount(owner)
        place = np.empty(len(order), dtype=np.int64)  # of a node within its graph
        place[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ends = _links(folder / f"{part}_graph.json", len(x))
        ends = ends[:, owner[ends[0]] == owner[ends[1]]]
        ends = ends[:, np.argsort(owner[ends[0]], kind="stable")]
        xs.append(torch.from_numpy(x[order]).float())
        ys.append(torch.from_numpy(y[order]).float())
        edge_lists.append(torch.from_numpy(place[ends]))
        splits[split] = torch.arange(first, first + len(sizes))
        first += len(sizes)
        nodes.append(torch.from_numpy(sizes))
        edges.append(torch.from_numpy(np.bincount(owner[ends[0]], minlength=len(sizes))))
    graphs = Graphs(torch.cat(xs), torch.cat(edge_lists, dim=1), torch.cat(nodes), torch.cat(edges))
    return graphs, torch.cat(ys), splits


def _array(path: Path) -> NDArray[Any]:
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ValueError(f"it has more than {_MAX_FILE} bytes")
        with path.open("rb") as file:
            array: NDArray[Any] = np.load(file, allow_pickle=False)
        if array.dtype.kind not in "iuf" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise ValueError("it does not hold finite numbers")
    except (OSError, ValueError, EOFError) as error:
        raise GraphnasError(f"{path} is missing or no array ({error}); get the files of PPI again") from None
    return array.astype(np.int64) if path.name.endswith("graph_id.npy") else array


def _links(path: Path, nodes: int) -> NDArray[np.int64]:
    """Both ends of the links, ``[2, E]``, sorted; without self-loops and duplicates."""
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ValueError(f"it has more than {_MAX_FILE} bytes")
        record = json.loads(path.read_bytes())
        pairs = [(link["source"], link["target"]) for link in record["links"]]
        ends = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        directed = bool(record["directed"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise GraphnasError(f"{path} is missing or no graph ({reason}); get the files of PPI again") from None
    if ends.size and (ends.min() < 0 or ends.max() >= nodes):
        raise GraphnasError(f"{path} links nodes beyond the {nodes} of its arrays; get the files of PPI again")
    if not directed:
        ends = np.concatenate([ends, ends[::-1]], axis=1)
    ends = ends[:, ends[0] != ends[1]]
    keys = np.unique(ends[0] * nodes + ends[1])
    return np.stack([keys // nodes, keys % nodes])


@contextmanager
def _folder() -> Iterator[Path]:
    """The folder of the raw files, unpacked for as long as it is needed where only the archive is there."""
    for relative in ("ppi/raw", "ppi"):
        found = find(relative)
        if found is not None and (found / _FIRST).is_file():
            yield found
            return
    archive = find("ppi/ppi.zip")
    if archive is None:
        from torch_geometric.datasets import PPI

        archive = cache_path("ppi/ppi.zip")
        fetch(PPI.url, archive, "ppi.zip")
    with tempfile.TemporaryDirectory() as temporary:
        place = safe_extract(archive, Path(temporary) / "files", max_bytes=12 * _MAX_FILE)
        files = sorted(place.rglob(_FIRST))
        if not files:
            raise GraphnasError(f"{archive} has no {_FIRST}; get the official archive again")
        yield files[0].parent
