"""Where data lives: read-only data folders first, then one cache folder; and verified downloads into it.

``GRAPHNAS_DATA`` names one or several folders (separated as in ``PATH``) that are read and never written.
``GRAPHNAS_CACHE`` names the folder for everything that graphnas downloads, imports or computes once; by default it is
the user's cache folder of the platform.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from graphnas.errors import GraphnasError
from graphnas.files import replacing

DATA_VARIABLE = "GRAPHNAS_DATA"
CACHE_VARIABLE = "GRAPHNAS_CACHE"
_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte


def data_folders() -> tuple[Path, ...]:
    """The folders of ``GRAPHNAS_DATA``, in order; empty when it is not set."""
    return tuple(Path(part).expanduser() for part in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if part)


def cache_folder() -> Path:
    """The folder of ``GRAPHNAS_CACHE``, or the platform's cache folder; it need not exist."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("graphnas"))


def cache_path(relative: str) -> Path:
    """The place of a file in the cache folder; it need not exist.

    Raises:
        GraphnasError: ``relative`` is absolute or leaves the folder.
    """
    return cache_folder() / _checked(relative)


def find(relative: str) -> Path | None:
    """The first existing file or folder of this relative name in the data folders and then the cache, or None.

    Raises:
        GraphnasError: ``relative`` is absolute or leaves the folder.
    """
    name = _checked(relative)
    for folder in (*data_folders(), cache_folder()):
        path = folder / name
        if path.exists():
            return path
    return None


def require(relative: str, how: str) -> Path:
    """Like ``find``, but a missing file is an error.

    Args:
        relative: name below a data folder, with forward slashes.
        how: what gets the file, as the end of a sentence ("run `graphnas import ...`").

    Raises:
        GraphnasError: the file is nowhere; the sentence says where it was looked for and ends with ``how``.
    """
    found = find(relative)
    if found is None:
        places = ", ".join(str(folder) for folder in (*data_folders(), cache_folder()))
        raise GraphnasError(f"{relative} is missing (looked in {places}); set {DATA_VARIABLE} to its folder, or {how}")
    return found


def _checked(relative: str) -> PurePosixPath:
    name = PurePosixPath(relative)
    if not relative or name.is_absolute() or ".." in name.parts or "\\" in relative or ":" in relative:
        raise GraphnasError(f"{relative!r} must be a relative path with forward slashes that stays in its folder")
    return name


def file_sha256(path: Path) -> str:
    """The SHA-256 digest of a file in hexadecimal digits, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def download(url: str, sha256: str, target: Path, max_bytes: int) -> Path:
    """Fetch a file once, verify it and put it in place; an intact file that is already there is kept.

    Args:
        url: http or https address.
        sha256: the expected digest (64 hexadecimal digits); nothing else is ever put in place.
        target: the file to make; its folder is made too.
        max_bytes: the download stops with an error beyond this size.

    Raises:
        GraphnasError: no network, no such file, too large, another digest, or the folder cannot be written.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise GraphnasError(f"the SHA-256 digest for {url} must have 64 lower-case hexadecimal digits, got {sha256!r}")
    if not url.startswith(("https://", "http://")):
        raise GraphnasError(f"cannot download {url!r}: the address must start with https:// or http://")
    if target.is_file() and file_sha256(target) == sha256:
        return target
    import http.client
    import urllib.error
    import urllib.request

    digest, size = hashlib.sha256(), 0
    with replacing(target) as file:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                while block := response.read(_CHUNK):
                    size += len(block)
                    if size > max_bytes:
                        raise GraphnasError(f"{url} is larger than the {max_bytes} bytes expected; nothing was stored")
                    digest.update(block)
                    file.write(block)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise GraphnasError(
                f"cannot download {url} ({reason}); without a network, put the file at {target}"
            ) from None
        if digest.hexdigest() != sha256:
            raise GraphnasError(
                f"{url} has the SHA-256 digest {digest.hexdigest()}, expected {sha256}; nothing was stored: "
                "check the address, or fetch the file by another way"
            )
    return target
