"""Language modelling: the next word of a text, by truncated backpropagation through time with a state that is carried on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.base import SPLITS, Batch, Metric, Signature, Task
from graphnas.tasks.image import share_of
from graphnas.tasks.measure import device_of, evaluating
from graphnas.tasks.segments import segment, table

if TYPE_CHECKING:
    from graphnas.oneshot.streams import Streams

Words = NDArray[np.int64]


class LanguageTask(Task):
    """Words of a text in their order; selection is by validation perplexity, which is minimised.

    A text is cut into ``batch_size`` columns of equal length, which are read side by side, ``length`` words at a time; a rest that
    fills no row is left out. Networks take words ``[B, T]`` and the state before them (``[B, 0]``: the beginning) and return the
    scores of the next words ``[B, T, V]`` and all states ``[B, T, H]``, of which the last one is carried to the next batch, without
    its gradient.

    Args:
        train, validation, test: word numbers, one after another.
        words: the vocabulary.
        name: for settings and reports.
        batch_size: columns in training.
        length: words of a segment.
        vary: draw the lengths of training segments around ``length`` (once in twenty around half of it), and scale the
            learning rate in proportion (Merity, Keskar & Socher, ICLR 2018, section 4.1).
        validation_batch, test_batch: columns in measuring; the papers take 10 and 1.
        slowness: weight of the mean square of changes between successive states in training (the same, section 4.6).

    Raises:
        GraphnasError: numbers beyond the vocabulary, or a text that does not fill two words of every column.
    """

    metric = Metric("perplexity", maximise=False)

    def __init__(
        self,
        train: Words,
        validation: Words,
        test: Words | None = None,
        *,
        words: Sequence[str],
        name: str = "language",
        batch_size: int = 64,
        length: int = 35,
        vary: bool = True,
        validation_batch: int = 10,
        test_batch: int = 1,
        slowness: float = 1e-3,
    ) -> None:
        if min(batch_size, length, validation_batch, test_batch) < 1 or not slowness >= 0:
            raise GraphnasError(
                f"batch sizes ({batch_size}, {validation_batch}, {test_batch}) and length ({length}) must be at least 1, "
                f"slowness ({slowness}) at least 0"
            )
        self.name = name
        self.words = tuple(words)
        self.batch_size, self.length, self.vary, self.slowness = batch_size, length, vary, slowness
        self.columns = {"train": batch_size, "validation": validation_batch, "test": test_batch}
        given = {"train": train, "validation": validation, **({} if test is None else {"test": test})}
        self._texts = {split: _checked(text, split, len(self.words)) for split, text in given.items()}
        for split in self._texts:
            self._table(split)
        self.signature = Signature("text", (length,), len(self.words))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are; "test" may be missing."""
        return tuple(split for split in SPLITS if split in self._texts)

    def text(self, split: str) -> Tensor:
        """The word numbers of a split.

        Raises:
            GraphnasError: there is no such split.
        """
        if split not in self._texts:
            raise unknown(f"split of task {self.name}:", split, self.splits)
        return self._texts[split]

    def _table(self, split: str) -> Tensor:
        return table(self.text(split), self.columns[split], f"the {split} text of {self.name}")

    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass over a split, in its order: words ``[B, T]`` with an empty state ``[B, 0]``, and next words ``[B, T]``.

        A generator draws the lengths of training segments. ``share`` is the beginning of every column.

        Raises:
            GraphnasError: there is no such split, or the share is not in (0, 1].
        """
        rows = self._table(split)
        if split == "train":
            rows = rows[:, : 1 + share_of(rows.shape[1] - 1, share)]
        start, end = 0, rows.shape[1] - 1
        while start < end:
            length = self.length
            if split == "train" and generator is not None and self.vary:
                length = self._drawn_length(generator)
            yield segment(rows, start, length)
            start += length

    def _drawn_length(self, generator: torch.Generator) -> int:
        mean = self.length if float(torch.rand((), generator=generator)) < 0.95 else self.length / 2
        drawn = int(mean + 5 * float(torch.randn((), generator=generator)))
        return min(max(drawn, 5), self.length + 20)

    def pace(self, batch: Batch) -> float:
        """The length of a segment in units of ``length``, so that short ones count less."""
        return batch.target.shape[1] / self.length

    def carried(self, output: Any) -> tuple[Tensor, ...]:
        """The last state, without its gradient."""
        return (output[1][:, -1].detach(),)

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """Mean cross entropy of the next words in nats, and ``slowness`` times the mean squared change of the states."""
        scores, states = self._parts(output, batch)
        total = functional.cross_entropy(scores.flatten(0, 1), batch.target.flatten())
        if self.slowness and states.shape[1] > 1:
            total = total + self.slowness * (states[:, 1:] - states[:, :-1]).square().mean()
        return total

    def _parts(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        wanted = [*batch.target.shape, self.signature.outputs]
        if not (isinstance(output, tuple) and len(output) == 2 and list(output[0].shape) == wanted):
            raise GraphnasError(f"task {self.name} needs a network that returns scores {wanted} and all states")
        scores, states = output
        return scores, states

    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """``perplexity``, and the mean ``cross_entropy`` in nats, over all words of a split but the first of each column."""
        rows, device = self._table(split).to(device_of(network)), device_of(network)
        nats, count = 0.0, 0
        carried: tuple[Tensor, ...] = (torch.zeros(len(rows), 0, device=device),)
        with evaluating(network):
            for start in range(0, rows.shape[1] - 1, self.length):
                batch = segment(rows, start, self.length)
                output = network(batch.inputs[0], *carried)
                scores, _ = self._parts(output, batch)
                log = functional.cross_entropy(scores.flatten(0, 1).double(), batch.target.flatten(), reduction="sum")
                nats, count, carried = nats + float(log), count + batch.target.numel(), self.carried(output)
        mean = nats / count
        return {"perplexity": math.exp(mean) if mean < 700 else math.inf, "cross_entropy": mean}

    def streams(self, batch: int, portion: float | None = 0.5, seed: int = 0) -> Streams:
        """Segments for a gradient-based search: the beginning of the training text is inner, the rest outer."""
        from graphnas.oneshot.text_streams import TextStreams

        return TextStreams(self.text("train"), self.length, batch, portion, seed, name=self.name)

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, as JSON values."""
        return {
            "name": self.name,
            "words": len(self.words),
            "sizes": {split: len(text) for split, text in self._texts.items()},
            "columns": dict(self.columns),
            "length": self.length,
            "vary": self.vary,
            "slowness": self.slowness,
        }


def _checked(text: Words, split: str, words: int) -> Tensor:
    made = torch.as_tensor(text)
    if made.ndim != 1 or made.is_floating_point() or made.is_complex() or len(made) == 0:
        raise GraphnasError(f"the {split} text must be a row of word numbers, not of shape {list(made.shape)}")
    if int(made.min()) < 0 or int(made.max()) >= words:
        wrong = int(made.min()) if int(made.min()) < 0 else int(made.max())
        raise GraphnasError(f"the {split} text has the word number {wrong}; there are {words} words, from 0")
    return made.long()
