"""Penn Treebank and WikiText-2 in their usual text files, as tasks; and any other text in the same form.

A line is a sentence (or a heading, or empty), its words are separated by spaces, and its end is a word of its own, ``<eos>``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from graphnas.data import find, require
from graphnas.errors import GraphnasError
from graphnas.foreign import read_tar
from graphnas.tasks.language import LanguageTask, Words

END = "<eos>"
UNKNOWN = "<unk>"
FILES = {
    split: (f"ptb.{short}.txt", f"wiki.{short}.tokens", f"{short}.txt")
    for split, short in (("train", "train"), ("validation", "valid"), ("test", "test"))
}
_MAX_FILE = 200 << 20


def penn_treebank(seed: int = 0) -> LanguageTask:
    """Penn Treebank as Mikolov et al. (Interspeech 2010) prepared it: 929,589 / 73,760 / 82,430 words, 10,000 different ones.

    Looked for as the folder or archive ``text/ptb``. Batches of 64 columns, segments of about 35 words.

    Raises:
        GraphnasError: it is not there, or a file is not as it should be.
    """
    how = "put ptb.train.txt, ptb.valid.txt and ptb.test.txt there"
    return language_task(_located("text/ptb", how), name="ptb")


def wikitext2(seed: int = 0) -> LanguageTask:
    """WikiText-2 (Merity et al., ICLR 2017): 2,088,628 / 217,646 / 245,569 words, 33,278 different ones.

    Looked for as the folder or archive ``text/wikitext-2`` or ``text/wikitext-2-v1.zip``.

    Raises:
        GraphnasError: it is not there, or a file is not as it should be.
    """
    how = "put wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens there"
    return language_task(_located("text/wikitext-2", how), name="wikitext-2")


def _located(name: str, how: str) -> Path:
    for ending in ("", ".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip", "-v1.zip"):
        found = find(name + ending)
        if found is not None:
            return found
    return require(name, how)


def language_task(path: str | Path, *, name: str = "language", **settings: object) -> LanguageTask:
    """The texts of a folder or archive as a task; see ``read_texts`` and ``LanguageTask``."""
    texts, words = read_texts(Path(path))
    return LanguageTask(
        texts["train"],
        texts["validation"],
        texts.get("test"),
        words=words,
        name=name,
        **settings,  # type: ignore[arg-type]
    )


def read_texts(path: Path) -> tuple[dict[str, Words], list[str]]:
    """Word numbers of each split, and the words in the order in which the training text has them first.

    Words of the other texts that the training text does not have become ``<unk>``. Nothing is unpacked to disk.

    Args:
        path: a folder, tar or zip archive with the files ``ptb.*.txt``, ``wiki.*.tokens`` or ``*.txt``, where * is train, valid
            and test (which may be missing).

    Raises:
        GraphnasError: a file is missing, there twice, too large or no UTF-8 text, or an unknown word where there is no ``<unk>``.
    """
    wanted = {file: split for split, files in FILES.items() for file in files}
    contents: dict[str, bytes] = {}
    for file, data in _files(path, set(wanted)):
        if wanted[file] in contents:
            raise GraphnasError(f"{path} has two files of the {wanted[file]} text; leave one of them")
        contents[wanted[file]] = data
    for split in ("train", "validation"):
        if split not in contents:
            raise GraphnasError(f"{path} lacks the {split} text: one of {', '.join(FILES[split])}")
    number: dict[str, int] = {}
    texts = {}
    for split in ("train", "validation", "test"):
        if split in contents:
            texts[split] = _numbered(contents[split], f"the {split} text of {path}", number, split == "train")
    return texts, list(number)


def _files(path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted files, in whatever folder of an archive they lie."""
    if path.is_dir():
        for name in sorted(wanted):
            if (path / name).is_file():
                if (path / name).stat().st_size > _MAX_FILE:
                    raise GraphnasError(f"{path / name} has more than {_MAX_FILE} bytes; it was refused")
                yield name, (path / name).read_bytes()
    elif path.is_file() and zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    name = PurePosixPath(info.filename).name
                    if name in wanted and not info.is_dir():
                        with archive.open(info) as file:
                            data = file.read(_MAX_FILE + 1)
                        if len(data) > _MAX_FILE:
                            raise GraphnasError(f"{name} in {path} has more than {_MAX_FILE} bytes; it was refused")
                        yield name, data
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise GraphnasError(f"{path} is not a readable zip archive ({error}); get it again") from None
    else:
        members = read_tar(path, max_member_bytes=_MAX_FILE, max_total_bytes=4 * _MAX_FILE, max_members=1000)
        for member, data in members:
            if PurePosixPath(member).name in wanted:
                yield PurePosixPath(member).name, data


def _numbered(data: bytes, label: str, number: dict[str, int], grows: bool) -> Words:
    """The words of a text by their numbers; ``grows``: new words get the next number."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise GraphnasError(f"{label} is no UTF-8 text ({error.reason} at byte {error.start}); convert it") from None
    if lines[-1] == "":
        lines.pop()
    made: list[int] = []
    for line in lines:
        for word in (*line.split(), END):
            found = number.get(word)
            if found is None:
                if grows:
                    found = number[word] = len(number)
                elif UNKNOWN in number:
                    found = number[UNKNOWN]
                else:
                    raise GraphnasError(f"{label} has the word {word!r:.40}, which the training text does not have")
            made.append(found)
    return np.array(made, dtype=np.int64)
