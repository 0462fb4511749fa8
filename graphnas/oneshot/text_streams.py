"""The segments of a text as the two streams of a gradient-based search."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.task_streams import Drawn, Following
from graphnas.tasks.segments import segment, table


class TextStreams:
    """Successive segments of two parts of the training text, each from its beginning again when it is over.

    Args:
        text: word numbers ``[N]``, the training text.
        length: words of a segment.
        batch: columns.
        portion: of the text that is inner, from its beginning; the architecture reads the rest. None: both read all.
        seed: of the dropout.
        name: of the task, for errors.

    Raises:
        GraphnasError: a portion that is not within (0, 1), or too short a text.
    """

    def __init__(
        self, text: Tensor, length: int, batch: int, portion: float | None, seed: int, name: str = "language"
    ) -> None:
        if portion is not None and not 0 < portion < 1:
            raise GraphnasError(f"the inner portion of the text must lie between 0 and 1, not {portion}")
        cut = len(text) if portion is None else round(len(text) * portion)
        parts = (text, text) if portion is None else (text[:cut], text[cut:])
        self.rows = [table(part, batch, f"a part of the training text of {name}") for part in parts]
        self.batch, self.words, self.seed = batch, length, seed
        self.noise = 0  # processes that share a batch have dropout of their own

    @property
    def length(self) -> int:
        """Inner segments of an epoch."""
        return self._segments(0)

    @property
    def outer_length(self) -> int:
        """Outer segments of an epoch."""
        return self._segments(1)

    def _segments(self, part: int) -> int:
        return -(-(self.rows[part].shape[1] - 1) // self.words)

    def inner(self, index: int) -> Drawn:
        """A segment of the inner part."""
        return self._drawn(0, index)

    def outer(self, index: int) -> Drawn:
        """A segment of the outer part."""
        return self._drawn(1, index)

    def _drawn(self, part: int, index: int) -> Drawn:
        place = index % self._segments(part)
        seed = int(np.random.SeedSequence([self.seed, 3 + part, index]).generate_state(1)[0])
        kind = Following if place else Drawn
        return kind(segment(self.rows[part], place * self.words, self.words), seed + self.noise)
