"""Parallel text: read from files, cut into subwords, and held as arrays."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphnas.errors import GraphnasError
from graphnas.ops.sequence import PADDING

UNKNOWN, BEGIN, END = 1, 2, 3
"""Tokens with a meaning, besides ``PADDING`` (0)."""

Side = Sequence[str] | str | Path
"""The sentences of one language, or the file that has one a line."""


def read_lines(source: Side) -> list[str]:
    """The sentences of one language; a file may be compressed (``.gz``) and must be UTF-8.

    Raises:
        GraphnasError: no such file, or not of this form.
    """
    if not isinstance(source, (str, Path)):
        lines = list(source)
        wrong = next((line for line in lines if not isinstance(line, str)), None)
        if wrong is not None:
            raise GraphnasError(f"sentences must be text, not {wrong!r:.60}")
        return lines
    path = Path(source)
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise GraphnasError(f"{path} cannot be read as lines of UTF-8 text ({error})") from None
    lines = text.split("\n")  # splitlines would also cut at other marks, and the two sides apart
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def read_pair(split: str, pair: Any) -> tuple[list[str], list[str]]:
    """Sentences and their translations, each a list or a file.

    Raises:
        GraphnasError: not a pair, of different lengths, or empty.
    """
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise GraphnasError(f"the {split} split must be a pair (sentences, translations) of lists or files")
    source, target = (read_lines(side) for side in pair)
    if len(source) != len(target) or not source:
        raise GraphnasError(
            f"the {split} split has {len(source)} sentences and {len(target)} translations; both files need the same lines"
        )
    return source, target


class Subwords:
    """Byte pair encoding (Sennrich et al., ACL 2016) by SentencePiece (Kudo & Richardson, EMNLP 2018).

    Args:
        model: what SentencePiece has learned, with padding 0, unknown 1, begin 2 and end 3.

    Raises:
        GraphnasError: SentencePiece is not installed, or the model is another one.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        try:
            self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model)
            found = tuple(getattr(self._processor, f"{name}_id")() for name in ("pad", "unk", "bos", "eos"))
        except (RuntimeError, ValueError, TypeError) as error:
            raise GraphnasError(f"this is no model of SentencePiece ({error})") from None
        if found != (PADDING, UNKNOWN, BEGIN, END):
            raise GraphnasError(
                f"the SentencePiece model has padding, unknown, begin and end at {found}; train it with "
                "--pad_id=0 --unk_id=1 --bos_id=2 --eos_id=3"
            )

    @classmethod
    def learn(cls, sentences: Iterable[str], size: int) -> Subwords:
        """Subwords of these sentences, all their characters among them.

        Raises:
            GraphnasError: the sentences do not give so many.
        """
        writer = io.BytesIO()
        try:
            _sentencepiece().SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=writer,
                vocab_size=size,
                model_type="bpe",
                character_coverage=1.0,
                pad_id=PADDING,
                unk_id=UNKNOWN,
                bos_id=BEGIN,
                eos_id=END,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).replace("\n", " ").rpartition("] ")[2]
            raise GraphnasError(f"no vocabulary of {size} subwords: {reason:.200}") from None
        return cls(writer.getvalue())

    def __reduce__(self) -> tuple[Any, ...]:
        return Subwords, (self.model,)

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    def encode(self, sentences: Sequence[str]) -> Sentences:
        """The tokens of sentences, without begin and end."""
        found: list[list[int]] = self._processor.encode(list(sentences))
        bounds = np.cumsum([0, *map(len, found)])
        return Sentences(np.fromiter((t for tokens in found for t in tokens), np.int32, int(bounds[-1])), bounds)

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Text again; tokens with a meaning of their own are left out."""
        kept = [[int(t) for t in sentence if t > END] for sentence in tokens]
        return [str(self._processor.decode(sentence)) for sentence in kept]


class Sentences(NamedTuple):
    """Tokens of all sentences one after the other (int32), and where each begins; the last bound is the end."""

    tokens: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sentence."""
        return np.diff(self.bounds)

    def padded(self, rows: Sequence[int] | np.ndarray, *, begin: bool = False, end: bool = False) -> np.ndarray:
        """Some sentences ``[B, L]`` (int64), filled up with padding."""
        spans = [(int(self.bounds[i]), int(self.bounds[i + 1])) for i in rows]
        made = np.full((len(spans), max(b - a for a, b in spans) + begin + end), PADDING, np.int64)
        for row, (a, b) in zip(made, spans, strict=True):
            row[begin : begin + b - a] = self.tokens[a:b]
            if end:
                row[begin + b - a] = END
        if begin:
            made[:, 0] = BEGIN
        return made


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise GraphnasError("translation needs more packages: pip install 'graphnas[translation]'") from None
    return sentencepiece
