"""Files that appear whole or not at all, and npz archives that are checked before they are believed."""

from __future__ import annotations

import contextlib
import io
import math
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from graphnas.errors import GraphnasError

MAX_NPZ_BYTES = 1 << 30


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes ``path`` when the block ends well; otherwise ``path`` stays as it was.

    It is written in the same folder (made when missing), forced to disk and moved into place in one step.

    Raises:
        GraphnasError: the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its files are private to the user, and a data folder may be shared.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise GraphnasError(
            f"cannot write {path} ({error.strerror or error}); choose a folder that can be written"
        ) from None


def save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays as a compressed npz archive, whole or not at all.

    Raises:
        GraphnasError: an array of Python objects, or the folder cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise GraphnasError(f"array {name!r} holds Python objects; an npz archive takes numbers and text only")
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
            # A fixed date makes equal arrays give equal files.
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue(), zipfile.ZIP_DEFLATED
            )
    return path


def load_npz(
    path: Path, names: Sequence[str] | None = None, *, max_bytes: int = MAX_NPZ_BYTES
) -> dict[str, np.ndarray]:
    """Read arrays of an npz archive, without pickle and with bounded memory.

    Args:
        path: the archive.
        names: which arrays (all by default); each must be there.
        max_bytes: bound on the unpacked size of all that is read.

    Raises:
        GraphnasError: missing, no npz archive, truncated, too large, an array absent or made of Python objects.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
            wanted = list(members) if names is None else list(names)
            absent = [name for name in wanted if name not in members]
            if absent:
                raise GraphnasError(f"{path} lacks the array {absent[0]!r}; it is no file of the expected kind")
            total = sum(members[name].file_size for name in wanted)
            if total > max_bytes:
                raise GraphnasError(f"{path} unpacks to {total} bytes; at most {max_bytes} are accepted")
            for name in wanted:
                with archive.open(members[name]) as member:
                    arrays[name] = _read_array(member.read(members[name].file_size))
    except FileNotFoundError:
        raise GraphnasError(f"{path} does not exist") from None
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise GraphnasError(f"{path} is not a readable npz archive ({error}); get or import it again") from None
    return arrays


def _read_array(data: bytes) -> Any:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"array format {version} is not supported")
    # The header is checked against what is there before numpy allocates what it claims.
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError("an array is not of the size that its header tells, or holds Python objects")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
