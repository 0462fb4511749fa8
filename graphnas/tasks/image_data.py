"""Image data sets as tasks; each function is registered under its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from graphnas.data import cache_path, download, find, require
from graphnas.errors import GraphnasError
from graphnas.files import load_npz
from graphnas.foreign import NUMBERS, load_pickle, read_tar
from graphnas.tasks.augment import Augmentation
from graphnas.tasks.image import ImageTask
from graphnas.tasks.splits import stratified_split

_BINARY = "cifar-10-batches-bin"
_PYTHON = "cifar-10-batches-py"
_ARCHIVES = {"cifar-10-binary.tar.gz": _BINARY, "cifar-10-python.tar.gz": _PYTHON}
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_RECORD = 1 + 3 * 32 * 32  # bytes: the class, then the red, green and blue planes
_MAX_FILE = 40 << 20

Arrays = tuple[np.ndarray, np.ndarray]


def digits(seed: int = 0) -> ImageTask:
    """The 1,797 handwritten digits of scikit-learn, 1x8x8, in 10 classes; needs no files.

    A stratified 60/20/20 split, drawn from ``seed`` (Alpaydin & Kaynak, 1998, for the data).
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = data.images[:, None].astype(np.uint8), data.target
    parts = stratified_split(y, (0.6, 0.2, 0.2), np.random.default_rng(seed))
    train, validation, test = ((x[rows], y[rows]) for rows in parts)
    return ImageTask(train, validation, test, name="digits", classes=10, batch_size=64, seed=seed)


def cifar10_16px(seed: int = 0) -> ImageTask:
    """A balanced sample of CIFAR-10 averaged to 3x16x16: 2,400 training, 600 validation and 1,000 test images.

    Validation is a stratified fifth of the training file, drawn from ``seed``. Batches of 64; crops of 2 pixels and
    flips.

    Raises:
        GraphnasError: a file is missing or unreadable.
    """
    train, test = (_channels_first(f"images/cifar10_16px_{part}.npz") for part in ("train3k", "test1k"))
    augmentation = Augmentation(padding=2)
    return ImageTask(train, None, test, name="cifar10-16px", classes=10, augmentation=augmentation, seed=seed)


def _channels_first(relative: str) -> Arrays:
    path = require(relative, "use the task cifar10, which is downloaded")
    arrays = load_npz(path, ["x", "y"])
    x, y = arrays["x"], arrays["y"]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] != 3:
        raise GraphnasError(f"{path} holds x of shape {list(x.shape)} and type {x.dtype}; expected uint8 [N, H, W, 3]")
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y


def cifar10(seed: int = 0) -> ImageTask:
    """CIFAR-10: 40,000 training, 10,000 validation and 10,000 test images, 3x32x32, in 10 classes (Krizhevsky, 2009).

    Validation is a stratified fifth of the five training files, drawn from ``seed``: the sizes of NAS-Bench-101 (Ying
    et al., 2019). Looked for as the official binary or Python archive or the folder that it unpacks to; otherwise the
    binary archive is downloaded and verified. Batches of 128; crops of 4 pixels and flips.

    Raises:
        GraphnasError: not there and no network, or a file is not as it should be.
    """
    train, test = read_cifar10(_locate())
    return ImageTask(
        train, None, test, name="cifar10", classes=10, batch_size=128, augmentation=Augmentation(), seed=seed
    )


def _locate() -> Path:
    for name in (_BINARY, "cifar-10-binary.tar.gz", _PYTHON, "cifar-10-python.tar.gz"):
        for relative in (name, f"images/{name}"):
            found = find(relative)
            if found is not None:
                return found
    return download(_URL, _SHA256, cache_path("cifar-10-binary.tar.gz"), max_bytes=200 << 20)


def read_cifar10(path: Path, records: int = 10_000) -> tuple[Arrays, Arrays]:
    """Training and test images ``x[N, 3, 32, 32]`` (uint8) and classes ``y[N]`` in the order of the official files.

    Args:
        path: an official archive, or the folder ``cifar-10-batches-bin`` or ``cifar-10-batches-py``.
        records: images that each of the six files must hold.

    Raises:
        GraphnasError: a file is missing, of another size, or a pickle with anything but numbers in it.
    """
    folder = _ARCHIVES.get(path.name, path.name)
    suffix, read = (".bin", _read_binary) if folder == _BINARY else ("", _read_python)
    files = [f"data_batch_{i}{suffix}" for i in range(1, 6)] + [f"test_batch{suffix}"]
    contents: Mapping[str, bytes]
    if path.is_dir():
        contents = {file: _read_file(path / file) for file in files if (path / file).is_file()}
    else:
        members = read_tar(path, max_member_bytes=_MAX_FILE, max_total_bytes=8 * _MAX_FILE, max_members=100)
        wanted = {f"{folder}/{file}": file for file in files}
        contents = {wanted[name]: data for name, data in members if name in wanted}
    missing = [file for file in files if file not in contents]
    if missing:
        raise GraphnasError(f"{path} lacks {missing[0]}; get the official files of CIFAR-10 again")
    parts = [read(contents[file], f"{path}/{file}", records) for file in files]
    x, y = (np.concatenate([part[k] for part in parts[:5]]) for k in (0, 1))
    return (x, y), parts[5]


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE:
        raise GraphnasError(f"{path} has more than {_MAX_FILE} bytes; it is no file of CIFAR-10")
    return path.read_bytes()


def _read_binary(data: bytes, label: str, records: int) -> Arrays:
    if len(data) != records * _RECORD:
        raise GraphnasError(f"{label} has {len(data)} bytes instead of {records * _RECORD}; get it again")
    table = np.frombuffer(data, dtype=np.uint8).reshape(records, _RECORD)
    return table[:, 1:].reshape(records, 3, 32, 32), table[:, 0]


def _read_python(data: bytes, label: str, records: int) -> Arrays:
    try:
        value = load_pickle(data, NUMBERS, max_bytes=_MAX_FILE, encoding="latin1")
    except GraphnasError as error:
        raise GraphnasError(f"{label}: {error}") from None
    fields = value if isinstance(value, dict) else {}
    x, y = fields.get("data"), fields.get("labels")
    if not (
        isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.shape == (records, _RECORD - 1) and isinstance(y, list)
    ):
        raise GraphnasError(f'{label} does not hold "data" of {records} images and "labels"; get it again')
    labels = np.asarray(y)
    if labels.shape != (records,) or labels.dtype.kind != "i":
        raise GraphnasError(f"{label} does not hold {records} integer labels; get it again")
    return x.reshape(records, 3, 32, 32), labels
