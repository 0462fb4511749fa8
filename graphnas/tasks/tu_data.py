"""The TU graph data sets (Morris et al., 2020) as tasks, one fold of a cross-validation each.

Five of them are registered under their names; options are those of ``tu``.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphnas.data import cache_path, find
from graphnas.errors import GraphnasError, unknown
from graphnas.foreign import safe_extract
from graphnas.tasks.graph import GraphTask
from graphnas.tasks.graph_files import fetch
from graphnas.tasks.graphs import Graphs

_URL = "https://www.chrsmrrs.com/graphkerneldatasets"
_MAX_UNPACKED = 1 << 33  # bytes
FEATURES = ("labels", "attributes", "degree", "constant")


def mutag(fold: int = 0, **options: Any) -> GraphTask:
    """MUTAG: 188 nitroaromatic compounds, mutagenic or not, atoms of 7 kinds (Debnath et al., 1991)."""
    return tu("MUTAG", fold, size=(188, 7, 2), **options)


def tu_proteins(fold: int = 0, **options: Any) -> GraphTask:
    """PROTEINS: 1,113 proteins, enzymes or not, structure elements of 3 kinds (Borgwardt et al., 2005)."""
    task = tu("PROTEINS", fold, size=(1113, 3, 2), **options)
    task.name = "tu-proteins"  # OGB has other proteins
    return task


def enzymes(fold: int = 0, **options: Any) -> GraphTask:
    """ENZYMES: 600 proteins of 6 classes, structure elements of 3 kinds (Borgwardt et al., 2005)."""
    return tu("ENZYMES", fold, size=(600, 3, 6), **options)


def nci1(fold: int = 0, **options: Any) -> GraphTask:
    """NCI1: 4,110 compounds, active against lung cancer or not, atoms of 37 kinds (Wale et al., 2008)."""
    return tu("NCI1", fold, size=(4110, 37, 2), **options)


def imdb_binary(fold: int = 0, **options: Any) -> GraphTask:
    """IMDB-BINARY: 1,000 ego networks of actors, two genres, the degree as the feature (Yanardag & Vishwanathan, 2015)."""
    return tu("IMDB-BINARY", fold, **{"features": "degree", **options}, size=(1000, 0, 2))


def tu(
    name: str,
    fold: int = 0,
    *,
    folds: int = 10,
    features: str = "labels",
    readout: str | None = "mean",
    batch_size: int = 32,
    seed: int = 0,
    size: tuple[int, int, int] | None = None,
) -> GraphTask:
    """One fold of the usual stratified cross-validation of a TU data set: classification, selection by accuracy.

    The graphs are split into ``folds`` parts with equal shares of the classes; part ``fold`` is for test, the part
    before it for validation, the others for training. A cross-validated result is the mean over all folds.

    The raw files are looked for in ``tu/<name>/raw``, ``tu/<name>.zip`` (the official archive) and ``tu/<name>.tar.xz``,
    and downloaded otherwise.

    Args:
        name: the official name, such as "MUTAG".
        fold: which part is for test, 0 to ``folds`` - 1.
        folds: number of parts, at least 3.
        features: "labels" of the nodes as indicator columns; "attributes" (numbers) before them; "degree" as
            indicator columns, for graphs without labels (Xu et al., 2019, section 7); or a "constant" 1.
        readout: see GraphTask.
        batch_size: graphs a training batch.
        seed: of the parts, and of the subsets that ``share`` selects.
        size: graphs, kinds of nodes and classes that the files must hold.

    Raises:
        GraphnasError: data that cannot be had, is unreadable or has no such features, or no such fold.
    """
    if folds < 3:
        raise GraphnasError(f"{folds} folds are too few; one is for test, one for validation, the rest for training")
    if not 0 <= fold < folds:
        raise GraphnasError(f"fold {fold} does not exist; there are folds 0 to {folds - 1}")
    if features not in FEATURES:
        raise unknown("features of a TU data set", features, FEATURES)
    raw = read_tu(name)
    if raw.y is None or raw.y.is_floating_point():
        raise GraphnasError(f"{name} has no classes of graphs; read its files with PyG and pass them to GraphTask")
    x, categories = _features(raw, features, name)
    graphs = Graphs(x, raw.edge_index, raw.nodes, raw.edges, categories=categories)
    seen = (len(graphs), raw.labels, int(raw.y.max()) + 1)
    if size is not None and size != seen:
        raise GraphnasError(
            f"the files of {name} hold {seen[0]} graphs of {seen[2]} classes with {seen[1]} kinds of nodes instead of "
            f"{size[0]} of {size[2]} with {size[1]}; get them again"
        )
    parts = _parts(raw.y, folds, seed)
    validation = (fold - 1) % folds
    rest = [part for number, part in enumerate(parts) if number not in (fold, validation)]
    splits = {"train": torch.cat(rest), "validation": parts[validation], "test": parts[fold]}
    task = GraphTask(graphs, splits, y=raw.y, name=name.lower(), readout=readout, batch_size=batch_size, seed=seed)
    task.settings = {"fold": fold, "folds": folds, "features": features}
    return task


def _parts(y: Tensor, folds: int, seed: int) -> list[Tensor]:
    from sklearn.model_selection import StratifiedKFold

    try:
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y.numpy())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a class with fewer graphs than parts
            return [torch.from_numpy(test) for _, test in parts]
    except ValueError as error:
        raise GraphnasError(f"{len(y)} graphs cannot be split into {folds} folds: {error}") from None


def _features(raw: RawGraphs, features: str, name: str) -> tuple[Tensor, tuple[int, ...] | None]:
    """Node features, and the number of values of each column where they are categories."""
    if features == "constant":
        return torch.ones(int(raw.nodes.sum()), 1), None
    if features == "degree":
        first = torch.cumsum(raw.nodes, 0) - raw.nodes
        sources = raw.edge_index[0] + torch.repeat_interleave(first, raw.edges)
        degree = torch.bincount(sources, minlength=int(raw.nodes.sum()))
        return degree.unsqueeze(1), (int(degree.max()) + 1,)
    if raw.x is None or (raw.labels == 0 and features == "labels"):
        raise GraphnasError(f"the nodes of {name} have no {features}; use features='degree' or 'constant'")
    if features == "attributes" and raw.attributes == 0:
        raise GraphnasError(f"the nodes of {name} have no attributes; use features='labels'")
    return raw.x[:, raw.attributes :] if features == "labels" else raw.x, None


class RawGraphs(NamedTuple):
    """What the files of a TU data set hold.

    Attributes:
        x: attributes and then labels of all nodes as indicator columns, ``[sum N, F]``; None where there are neither.
        edge_index: ``[2, sum E]``, counted within each graph; neither self-loops nor duplicates.
        nodes, edges: sizes of the graphs, ``[G]``.
        y: classes (int64) or targets of the graphs.
        attributes, labels: how many columns of ``x`` are of either kind.
    """

    x: Tensor | None
    edge_index: Tensor
    nodes: Tensor
    edges: Tensor
    y: Tensor | None
    attributes: int
    labels: int


def read_tu(name: str) -> RawGraphs:
    """The graphs of a TU data set, read by PyG from the official text files (see ``tu`` for where they are).

    Raises:
        GraphnasError: the files are missing and cannot be fetched, or are unreadable.
    """
    from torch_geometric.io import read_tu_data

    if not name.replace("-", "").replace("_", "").isalnum():
        raise GraphnasError(f"{name!r} is no name of a TU data set; names are like MUTAG and IMDB-BINARY")
    with _folder(name) as folder:
        try:
            data, slices, sizes = read_tu_data(str(folder), name)
            nodes = torch.tensor(data._num_nodes) if data.x is None else torch.diff(slices["x"])
            edges = torch.zeros_like(nodes)
            counted = torch.diff(slices["edge_index"])  # up to the last graph that has edges
            edges[: len(counted)] = counted
            return RawGraphs(
                data.x,
                data.edge_index,
                nodes,
                edges,
                data.y,
                sizes["num_node_attributes"],
                sizes["num_node_labels"],
            )
        except Exception as error:  # parts that do not fit together fail anywhere in PyG
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise GraphnasError(f"the files of {name} are no TU data set ({reason}); get them again") from None


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """The folder of the text files, unpacked for as long as it is needed where only an archive is there."""
    for relative in (f"tu/{name}/raw", f"tu/{name}"):
        found = find(relative)
        if found is not None and (found / f"{name}_A.txt").is_file():
            yield found
            return
    archive = find(f"tu/{name}.zip") or find(f"tu/{name}.tar.xz")
    if archive is None:
        archive = cache_path(f"tu/{name}.zip")
        fetch(f"{_URL}/{name}.zip", archive, f"{name}.zip")
    with tempfile.TemporaryDirectory() as temporary:
        place = safe_extract(archive, Path(temporary) / "files", max_bytes=_MAX_UNPACKED)
        tables = sorted(place.rglob(f"{name}_A.txt"))
        if not tables:
            raise GraphnasError(f"{archive} has no {name}_A.txt; get the official archive again")
        yield tables[0].parent
