"""The raw files of published graphs: found or fetched, checked before PyG reads them."""

from __future__ import annotations

import http.client
import urllib.request
import warnings
from pathlib import Path
from typing import Any

from graphnas.data import DATA_VARIABLE, cache_folder, cache_path, find
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, replacing
from graphnas.foreign import SPARSE, load_pickle

PLANETOID = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
_PLANETOID_URL = "https://github.com/kimiyoung/planetoid/raw/master/data"
_SHCHUR_URL = "https://github.com/shchur/gnn-benchmark/raw/master/data/npz"
_MAX_DOWNLOAD = 1 << 28
_MAX_ENTRIES = 1 << 30  # of a dense feature matrix


def read_planetoid(name: str) -> Any:
    """A PyG ``Data`` of "Cora", "CiteSeer" or "PubMed" with the public split (Yang et al., 2016).

    The raw files are looked for in ``planetoid/<name>/raw`` and read where they are; PyG unpickles them only after a
    restricted unpickler has accepted every one.

    Raises:
        GraphnasError: the files are missing and cannot be fetched, or hold anything but matrices and lists of numbers.
    """
    files = [f"ind.{name.lower()}.{part}" for part in PLANETOID]
    relative = f"planetoid/{name}/raw"
    found = find(relative)
    if found is None or not all((found / file).is_file() for file in files):
        found = cache_path(relative)
        for file in files:
            fetch(f"{_PLANETOID_URL}/{file}", found / file, f"the eight files {files[0]} to {files[-1]}")
    for part, file in zip(PLANETOID, files, strict=True):
        if part != "test.index":
            _check_pickle(found / file, part)
    from torch_geometric.io import read_planetoid_data

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old names of scipy's matrix classes
            return read_planetoid_data(str(found), name)
    except Exception as error:  # parts that are well-formed but do not fit together fail anywhere in PyG
        reason = f"{type(error).__name__}: {error}"
        raise GraphnasError(f"{found} is no {name} graph ({reason}); get its files again") from None


def _check_pickle(path: Path, part: str) -> None:
    value = load_pickle(path, SPARSE, encoding="latin1")
    if part == "graph":
        fine = isinstance(value, dict) and all(
            isinstance(node, int) and isinstance(near, list) and all(isinstance(i, int) for i in near)
            for node, near in value.items()
        )
        if not fine:
            raise GraphnasError(f"{path} does not hold lists of neighbours; get it again")
        return
    import numpy as np

    if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "iufb":
        return
    _check_sparse(value, path, dense=True)


def _check_sparse(matrix: Any, path: Path, dense: bool) -> None:
    """Refuse a matrix for which scipy's C++ code would read beyond its arrays."""
    from scipy.sparse import csr_matrix

    try:
        if not isinstance(matrix, csr_matrix):
            raise TypeError(f"a {type(matrix).__name__} instead of a matrix")
        matrix.check_format(full_check=True)
        if dense and matrix.shape[0] * matrix.shape[1] > _MAX_ENTRIES:
            raise ValueError(f"{matrix.shape} is too large to be dense")
    except Exception as error:  # attributes of any kind, or none, may come out of a pickle
        raise GraphnasError(f"{path} holds no valid matrix ({error}); get it again") from None


def read_shchur(file: str) -> Any:
    """A PyG ``Data`` of one npz file of Shchur et al. (2018): Amazon co-purchases, Coauthor graphs; binary features.

    The file is looked for in ``gnn-benchmark/``.

    Raises:
        GraphnasError: the file is missing and cannot be fetched, or is no graph.
    """
    relative = f"gnn-benchmark/{file}"
    found = find(relative)
    if found is None:
        found = cache_path(relative)
        fetch(f"{_SHCHUR_URL}/{file}", found, file)
    names = [f"{kind}_{part}" for kind in ("adj", "attr") for part in ("data", "indices", "indptr", "shape")]
    arrays = load_npz(found, [*names, "labels"])
    from scipy.sparse import csr_matrix
    from torch_geometric.io.npz import parse_npz

    try:
        for kind in ("adj", "attr"):
            data, indices, indptr, shape = (arrays[f"{kind}_{part}"] for part in ("data", "indices", "indptr", "shape"))
            matrix = csr_matrix((data, indices, indptr), tuple(shape.tolist()))
            _check_sparse(matrix, found, dense=kind == "attr")
        return parse_npz(arrays)
    except GraphnasError:
        raise
    except Exception as error:  # arrays that do not fit together fail anywhere in scipy or PyG
        raise GraphnasError(f"{found} is no graph of the expected form ({error}); get it again") from None


def fetch(url: str, target: Path, needed: str) -> None:
    """Download a file for which no digest is published; what it holds is checked by its reader."""
    if target.is_file():
        return
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            data = response.read(_MAX_DOWNLOAD + 1)
    except (http.client.HTTPException, OSError) as error:
        below = target.relative_to(cache_folder()).parent
        raise GraphnasError(
            f"cannot download {url} ({getattr(error, 'reason', None) or error}); without a network, put {needed} "
            f"into {target.parent}, or into {below} below the folder that {DATA_VARIABLE} names"
        ) from None
    if len(data) > _MAX_DOWNLOAD:
        raise GraphnasError(f"{url} is larger than {_MAX_DOWNLOAD} bytes; nothing was stored")
    with replacing(target) as file:
        file.write(data)


def check_size(data: Any, name: str, nodes: int, features: int, classes: int) -> Any:
    """The graph, if it has the published size.

    Raises:
        GraphnasError: it has another one, so the files are not those of the data set.
    """
    seen = (int(data.x.shape[0]), int(data.x.shape[1]), int(data.y.max()) + 1)
    if seen != (nodes, features, classes):
        raise GraphnasError(
            f"the files of {name} hold {seen[0]} nodes, {seen[1]} features and {seen[2]} classes instead of {nodes}, "
            f"{features} and {classes}; get them again"
        )
    return data
