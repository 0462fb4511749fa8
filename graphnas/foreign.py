"""Reading files that others made: archives and pickles, taken as hostile until shown otherwise."""

from __future__ import annotations

import bz2
import importlib
import io
import lzma
import pickle
import secrets
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from graphnas.errors import GraphnasError

_ARCHIVE_ERRORS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)

NUMBERS = frozenset(
    {
        "numpy.dtype",
        "numpy.ndarray",
        "numpy._core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.numeric._frombuffer",
        "collections.OrderedDict",
        "collections.defaultdict",
        "builtins.set",
        "builtins.frozenset",
        "builtins.list",
        "builtins.dict",
        "builtins.int",
        "builtins.float",
        "builtins.complex",
        "_codecs.encode",
    }
)
"""Globals of pickles that hold numbers, text and their containers (numpy 2 names; numpy 1 names are translated)."""

SPARSE = NUMBERS | {"scipy.sparse._csr.csr_matrix", "copyreg._reconstructor", "builtins.object"}
"""``NUMBERS`` and scipy's CSR matrices, as in Planetoid's files."""


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, by which old pickles write bytes; other codecs are not offered."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"refused the codec {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], allowed: Collection[str], encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if module == "numpy.core" or module.startswith("numpy.core."):
            module = "numpy._core" + module[len("numpy.core") :]
        module = {"__builtin__": "builtins", "copy_reg": "copyreg", "scipy.sparse.csr": "scipy.sparse._csr"}.get(
            module, module
        )
        full = f"{module}.{name}"
        if full not in self._allowed:
            raise GraphnasError(
                f"refused the pickle: it names {full!r}, which is not among what a file of this kind may hold"
            )
        if full == "_codecs.encode":
            return _encode
        try:
            owner = importlib.import_module(module)
        except ImportError:  # numpy before 2.0 has the old name only
            owner = importlib.import_module(module.replace("numpy._core", "numpy.core"))
        return getattr(owner, name)


def load_pickle(
    source: Path | bytes, allowed: Collection[str] = NUMBERS, *, max_bytes: int = 1 << 30, encoding: str = "ASCII"
) -> Any:
    """Read a pickle in which only the named globals may occur; nothing else is imported, called or built.

    This keeps foreign code out. It does not bound the memory that a file made for that purpose can ask for.

    Args:
        source: a file, or its content.
        allowed: full names, as in ``NUMBERS``. What they do when called with hostile arguments is trusted.
        max_bytes: largest size accepted.
        encoding: of Python 2 strings ("latin1" for Planetoid).

    Raises:
        GraphnasError: missing, too large, truncated, no pickle, or a global that is not allowed.
    """
    label = str(source) if isinstance(source, Path) else "the data"
    try:
        data = source if isinstance(source, bytes) else _read_bounded(source, max_bytes)
        if len(data) > max_bytes:
            raise GraphnasError(f"{label} has {len(data)} bytes; at most {max_bytes} are accepted")
        return _Unpickler(io.BytesIO(data), allowed, encoding).load()
    except GraphnasError as error:
        raise GraphnasError(str(error) if label in str(error) else f"{label}: {error}") from None
    except FileNotFoundError:
        raise GraphnasError(f"{label} does not exist") from None
    except Exception as error:  # a broken pickle can raise anything from inside the constructors
        raise GraphnasError(
            f"{label} is not a readable pickle ({type(error).__name__}: {error}); get it again"
        ) from None


def _read_bounded(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise GraphnasError(f"{path} has more than the {max_bytes} bytes that are accepted")
    return data


def unpack_bz2(data: bytes, label: str, max_bytes: int) -> bytes:
    """The content of one bzip2 stream, with bounded memory.

    Raises:
        GraphnasError: not bzip2, truncated, or larger than ``max_bytes``.
    """
    decompressor = bz2.BZ2Decompressor()
    try:
        result = decompressor.decompress(data, max_bytes + 1)
    except (OSError, ValueError, EOFError) as error:
        raise GraphnasError(f"{label} is not bzip2 data ({error})") from None
    if len(result) > max_bytes:
        raise GraphnasError(f"{label} unpacks to more than the {max_bytes} bytes that are accepted")
    if not decompressor.eof:
        raise GraphnasError(f"{label} is truncated: its bzip2 stream does not end")
    return result


def read_tar(
    path: Path, *, max_member_bytes: int, max_total_bytes: int, max_members: int = 1_000_000
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the regular files of a tar archive (any compression), one at a time, nothing on disk.

    Raises:
        GraphnasError: missing, no tar archive, truncated, or beyond a bound.
    """
    total = 0
    try:
        with tarfile.open(path, "r|*") as archive:
            for count, member in enumerate(archive, start=1):
                total += member.size
                if count > max_members or total > max_total_bytes:
                    raise GraphnasError(
                        f"{path} has more than {max_members} members or {max_total_bytes} bytes; it was refused"
                    )
                if not member.isreg():
                    continue
                if member.size > max_member_bytes:
                    raise GraphnasError(
                        f"{member.name} in {path} has {member.size} bytes; at most {max_member_bytes} are accepted"
                    )
                file = archive.extractfile(member)
                data = file.read() if file is not None else b""
                if len(data) != member.size:
                    raise GraphnasError(f"{path} is truncated in its member {member.name}; get it again")
                yield member.name, data
    except FileNotFoundError:
        raise GraphnasError(f"{path} does not exist") from None
    except _ARCHIVE_ERRORS as error:
        raise GraphnasError(f"{path} is not a readable tar archive ({error}); get it again") from None


def read_tar_member(path: Path, name: str, *, max_bytes: int) -> bytes:
    """The content of one regular file of a tar archive.

    Raises:
        GraphnasError: as ``read_tar``, or there is no such file.
    """
    for found, data in read_tar(path, max_member_bytes=max_bytes, max_total_bytes=64 * max_bytes):
        if found.removeprefix("./") == name:
            return data
    raise GraphnasError(f"{path} has no file {name!r}")


def safe_extract(archive: Path, folder: Path, *, max_bytes: int, max_members: int = 100_000) -> Path:
    """Unpack a tar or zip archive into a new folder, whole or not at all, for libraries that need it on disk.

    Only regular files and folders with relative names that stay inside are written, with fresh permissions.

    Raises:
        GraphnasError: the folder exists, or the archive is unreadable, too large, or holds a link, a device, an
            absolute name or ``..``.
    """
    if folder.exists():
        raise GraphnasError(f"{folder} already exists; remove it to unpack {archive.name} again")
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    try:
        temporary.mkdir(parents=True)
        _extract(archive, temporary, max_bytes, max_members)
        temporary.rename(folder)
    except FileNotFoundError:
        raise GraphnasError(f"{archive} does not exist") from None
    except _ARCHIVE_ERRORS as error:
        raise GraphnasError(f"cannot unpack {archive} into {folder} ({error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _extract(archive: Path, folder: Path, max_bytes: int, max_members: int) -> None:
    total = count = 0

    def write(name: str, size: int, is_folder: bool, is_file: bool, read: Callable[[], IO[bytes] | None]) -> None:
        nonlocal total, count
        count, total = count + 1, total + size
        if count > max_members or total > max_bytes:
            raise GraphnasError(f"{archive} has more than {max_members} members or {max_bytes} bytes; it was refused")
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\\" in name or ":" in name or not (is_folder or is_file):
            raise GraphnasError(
                f"{archive} was refused: its member {name!r} is no plain file or folder inside the archive"
            )
        target = folder / place
        if is_folder:
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        source = read()
        with target.open("xb") as file:  # a second file of the same name is an error
            if source is not None:
                shutil.copyfileobj(source, file)
        if target.stat().st_size != size:
            raise GraphnasError(f"{archive} was refused: its member {name!r} is not of the size that it tells")

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                link = (info.external_attr >> 28) not in (0, 4, 8)  # the Unix file type: none, folder, regular
                write(info.filename, info.file_size, info.is_dir(), not link, partial(packed.open, info))
        return
    with tarfile.open(archive, "r|*") as packed_tar:
        for member in packed_tar:
            write(member.name, member.size, member.isdir(), member.isreg(), partial(packed_tar.extractfile, member))
