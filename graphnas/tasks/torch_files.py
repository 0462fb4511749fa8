"""Arrays in files of ``torch.save``, read without trust: what ``torch.load`` refuses of OGB's splits, and nothing else.

Their pickles are of protocol 4 in some releases, which ``torch.load(weights_only=True)`` does not read.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
import zlib
from pathlib import Path
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.foreign import NUMBERS, load_pickle

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file before torch 1.6
_HEADER = 3  # pickles before the object in such a file: magic number, version, sizes of C types


def load_saved(path: Path, max_bytes: int = 1 << 32) -> Any:
    """The object of a file of ``torch.save``, made of numpy arrays, numbers, text and their containers, or of tensors.

    Args:
        path: in the zip format of today or the older one.
        max_bytes: largest unpacked size accepted.

    Raises:
        GraphnasError: missing, too large, broken, or it holds anything else.
    """
    try:
        return load_pickle(_pickle_of(path, max_bytes), NUMBERS, max_bytes=max_bytes)
    except GraphnasError as refused:
        import torch

        try:  # tensors are stored beside the pickle
            return torch.load(path, weights_only=True, map_location="cpu")
        except Exception:  # whatever is wrong with it, the first reason is the clearer one
            raise GraphnasError(f"{path}: {str(refused).removeprefix('the data: ')}") from None


def _pickle_of(path: Path, max_bytes: int) -> bytes:
    """The bytes of the object, and possibly more after them."""
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f"it has more than {max_bytes} bytes")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                member = next(
                    i for i in archive.infolist() if i.filename.count("/") == 1 and i.filename.endswith("/data.pkl")
                )
                if member.file_size > max_bytes:
                    raise ValueError(f"it unpacks to more than {max_bytes} bytes")
                return archive.read(member)
        data = path.read_bytes()
        file = io.BytesIO(data)
        if load_pickle(data, frozenset()) != _MAGIC:
            raise ValueError("it has no magic number")
        for _ in range(_HEADER):
            for _ in pickletools.genops(file):
                pass
        return data[file.tell() :]
    except (
        OSError,
        ValueError,
        StopIteration,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise GraphnasError(f"it is no file of torch.save ({error})") from None
