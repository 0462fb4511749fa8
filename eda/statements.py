"""LEF, DEF and Bookshelf files as text, cut into statements; errors know their line.

Reading stays fast because nothing is looked at character by character: comments and quoted strings are found by
searching for their first character, and the rest is cut by ``str.split``.
"""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from graphnas.errors import GraphnasError

MAX_BYTES = 4 << 30
_BLOCK = 4 << 20
_CHUNK = 1 << 20
# Inside quotes and after a backslash, a semicolon or a space ends nothing: these stand for them until they are shown.
_HIDE = str.maketrans({";": "\x01", " ": "\x02", "\t": "\x03", "\n": "\x04", "#": "\x05"})
_SHOW = str.maketrans({"\x01": ";", "\x02": " ", "\x03": "\t", "\x04": "\n", "\x05": "#"})
_EXTENSION = re.compile(r"(?<!\S)BEGINEXT\s.*?(?<!\S)ENDEXT(?!\S)", re.S)


class BadStatement(Exception):
    """What is wrong with a statement; whoever knows its place turns it into a GraphnasError."""


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The text of a file; gzip and xz are unpacked, whatever the file is called.

    Raises:
        GraphnasError: missing, unreadable, cut short, no text, or larger than ``max_bytes`` when unpacked.
    """
    parts: list[bytes] = []
    size = 0
    try:
        with path.open("rb") as raw:
            magic = raw.read(6)
            raw.seek(0)
            packed = gzip.open if magic[:2] == b"\x1f\x8b" else lzma.open if magic == b"\xfd7zXZ\x00" else None
            with packed(raw) if packed else raw as file:
                while chunk := file.read(_CHUNK):
                    size += len(chunk)
                    if size > max_bytes:
                        raise GraphnasError(
                            f"{path} unpacks to more than {max_bytes} bytes; cut it, or raise the limit"
                        )
                    parts.append(chunk)
    except FileNotFoundError:
        raise GraphnasError(f"{path} does not exist") from None
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        line = sum(part.count(b"\n") for part in parts) + 1
        raise GraphnasError(f"{path}, line {line}: the packed file is damaged or cut short ({error})") from None
    except OSError as error:
        raise GraphnasError(f"cannot read {path} ({error.strerror or error})") from None
    data = b"".join(parts)
    for control in (b"\x00", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"):
        where = data.find(control)
        if where >= 0:
            line = data.count(b"\n", 0, where) + 1
            raise GraphnasError(f"{path}, line {line}: byte {control[0]} is in no text file; is this the right file?")
    return data.decode("utf-8", "surrogateescape")


class Document:
    """A text without comments, cut at semicolons.

    Args:
        path: named in errors.
        text: as read.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text, self.hidden = _clean(path, text)

    def blocks(self) -> Iterator[tuple[int, list[str]]]:
        """The statements (semicolons taken off) in lists of some megabytes, each with its place in the text."""
        text, start = self.text, 0
        while True:
            end = text.rfind(";", start, start + _BLOCK)
            if end < 0:
                end = text.find(";", start)
            if end < 0:
                return
            yield start, text[start:end].split(";")
            start = end + 1

    def tail(self) -> str:
        """What follows the last semicolon."""
        return self.text[self.text.rfind(";") + 1 :]

    def error(self, message: object, base: int, before: list[str], statement: str, word: int = 0) -> GraphnasError:
        """A GraphnasError for a statement.

        Args:
            message: what is wrong.
            base: place of the block.
            before: the block's statements before this one.
            statement: this one.
            word: which of its words to point at: closing words of the block before belong to no statement of their own.
        """
        place = base + sum(map(len, before)) + len(before)
        words = [match.start() for match in re.finditer(r"\S+", statement)]
        return self.error_at(message, place + (words[min(word, len(words) - 1)] if words else 0))

    def error_at(self, message: object, place: int) -> GraphnasError:
        """A GraphnasError for a place in the text."""
        line = self.text.count("\n", 0, place) + 1
        return GraphnasError(f"{self.path}, line {line}: {message}")

    def end_error(self, message: object) -> GraphnasError:
        """A GraphnasError for the last line that holds anything."""
        return self.error_at(message, len(self.text.rstrip()))


def shown(text: str) -> str:
    """Text as it was written: semicolons and spaces of quoted strings are back."""
    return text.translate(_SHOW)


def _clean(path: Path, text: str) -> tuple[str, bool]:
    """Comments out, quoted text and escaped semicolons hidden; whether anything was hidden. Line breaks keep their number."""
    hidden = False
    if "\\;" in text:
        text, hidden = text.replace("\\;", "\\\x01"), True
    parts = []
    start = 0
    quote, mark = text.find('"'), text.find("#")
    while quote >= 0 or mark >= 0:
        if mark >= 0 and (quote < 0 or mark < quote):
            if mark and not text[mark - 1].isspace():  # part of a name
                mark = text.find("#", mark + 1)
                continue
            end = text.find("\n", mark)
            end = len(text) if end < 0 else end
            parts.append(text[start:mark])
            start = end
        else:
            end = text.find('"', quote + 1)
            while end > 0 and text[end - 1] == "\\":
                end = text.find('"', end + 1)
            if end < 0:
                line = text.count("\n", 0, quote) + 1
                raise GraphnasError(f"{path}, line {line}: a quoted text that begins here never ends")
            inside = text[quote : end + 1]
            parts += [text[start:quote], inside.translate(_HIDE), "\n" * inside.count("\n")]
            hidden, end = True, end + 1
            start = end
        quote = text.find('"', end) if 0 <= quote < end else quote
        mark = text.find("#", end) if 0 <= mark < end else mark
    text = "".join([*parts, text[start:]]) if parts else text
    if "BEGINEXT" in text:
        text = _EXTENSION.sub(lambda match: "\n" * match[0].count("\n"), text)
    return text, hidden


def whole(token: str) -> int:
    """An integer; a number with decimals is rounded.

    Raises:
        BadStatement: no number, or beyond 2^52.
    """
    try:
        value = int(token)
    except ValueError:
        value = round(number(token))
    if abs(value) > 1 << 52:
        raise BadStatement(f"number {token} is too large")
    return value


def number(token: str) -> float:
    """A finite number.

    Raises:
        BadStatement: something else.
    """
    try:
        value = float(token)
    except ValueError:
        raise BadStatement(f"a number was expected, not {shown(token)!r}") from None
    if not abs(value) < 1e15:
        raise BadStatement(f"a finite number was expected, not {token!r}")
    return value
