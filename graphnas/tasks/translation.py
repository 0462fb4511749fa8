"""Translation: pairs of sentences as a Task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphnas.errors import GraphnasError, unknown
from graphnas.ops.sequence import PADDING
from graphnas.tasks.base import SPLITS, Batch, Metric, Signature, Task
from graphnas.tasks.beam_search import NextToken, beam_search
from graphnas.tasks.image import share_of
from graphnas.tasks.measure import device_of, evaluating
from graphnas.tasks.subwords import BEGIN, END, UNKNOWN, Sentences, Subwords, read_pair

if TYPE_CHECKING:
    from graphnas.oneshot.streams import Streams

METRICS = {"bleu": True, "cross_entropy": False}
_SEARCHES = 64
"""Sentences that are translated side by side."""


class TranslationTask(Task):
    """From sentences of one language to those of another; selection is by validation BLEU.

    Networks read tokens ``source[B, S]``, which end with an end token, and ``target[B, T]``, which start with a begin token, and
    return scores ``[B, T, tokens]`` of the tokens that follow those of the target. Both languages share one vocabulary of subwords, learned
    from the training text. Shorter sentences of a batch are filled up with token 0.

    Args:
        train, validation, test: the splits, each a pair of sentences and translations: lists, or files of one sentence a
            line (UTF-8, also ``.gz``). Test may be missing.
        name: for settings and reports.
        vocabulary: how many subwords to learn, or Subwords that are there.
        batch_tokens: a batch has sentences of about one length, as many as give so many tokens on the longer side, padding
            included.
        max_length: training pairs with more tokens on a side, or with an empty side, are left out.
        smoothing: the part of the target's probability that is spread over all tokens (Szegedy et al., CVPR 2016).
        beam: sequences of a beam search, for test and ``translate``; validation is translated greedily.
        alpha: of the length penalty.
        metric: what selects, "bleu" or "cross_entropy" (without smoothing). With the latter, nothing is translated to measure
            the training and validation splits, which then takes a small part of the time.
        seed: of the subsets that ``share`` selects.

    Raises:
        GraphnasError: files that cannot be read or do not belong together, or settings out of range.
    """

    def __init__(
        self,
        train: Any,
        validation: Any,
        test: Any = None,
        *,
        name: str = "translation",
        vocabulary: int | Subwords = 8000,
        batch_tokens: int = 2000,
        max_length: int = 100,
        smoothing: float = 0.1,
        beam: int = 4,
        alpha: float = 0.6,
        metric: str = "bleu",
        seed: int = 0,
    ) -> None:
        if metric not in METRICS:
            raise unknown("metric of a translation", metric, METRICS)
        if not 0 <= smoothing < 1:
            raise GraphnasError(f"the label smoothing is {smoothing}; it must be at least 0 and below 1")
        if min(batch_tokens, max_length, beam) < 1:
            raise GraphnasError(
                f"batch_tokens ({batch_tokens}), max_length ({max_length}) and beam ({beam}) must be at least 1"
            )
        self.name, self.metric = name, Metric(metric, METRICS[metric])
        self.batch_tokens, self.max_length, self.smoothing = batch_tokens, max_length, smoothing
        self.beam, self.alpha, self.seed = beam, alpha, seed
        given = {"train": train, "validation": validation, "test": test}
        text = {split: read_pair(split, pair) for split, pair in given.items() if pair is not None}
        if isinstance(vocabulary, int):
            vocabulary = Subwords.learn((line for side in text["train"] for line in side), vocabulary)
        self.subwords = vocabulary
        self.text = {split: pair for split, pair in text.items() if split != "train"}
        self._pairs = {split: (vocabulary.encode(a), vocabulary.encode(b)) for split, (a, b) in text.items()}
        sizes = [side.lengths for side in self._pairs["train"]]
        self._kept = np.flatnonzero((np.minimum(*sizes) > 0) & (np.maximum(*sizes) <= max_length))
        if not len(self._kept):
            raise GraphnasError(f"no training pair of {name} has 1 to {max_length} tokens on both sides")
        usual = tuple(1 + round(float(size[self._kept].mean())) for size in sizes)
        self.signature = Signature("translation", usual, len(vocabulary))
        self._order = self._kept[np.random.default_rng([seed, 1]).permutation(len(self._kept))]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are; "test" may be missing."""
        return tuple(split for split in SPLITS if split in self._pairs)

    def pairs(self, split: str) -> tuple[Sentences, Sentences]:
        """The tokens of a split's sentences and translations.

        Raises:
            GraphnasError: there is no such split.
        """
        if split not in self._pairs:
            raise unknown(f"split of task {self.name}:", split, self.splits)
        return self._pairs[split]

    @property
    def training_rows(self) -> np.ndarray:
        """The training pairs that are not left out."""
        return self._kept

    # -- batches ----------------------------------------------------------------------------------

    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass over a split; inputs ``source[B, S]``, ``target[B, T]``, and the tokens that follow, ``[B, T]``.

        With a generator, which sentences of one length are together is drawn, and the order of the batches.
        """
        sides = self.pairs(split)
        if split == "train":
            rows = np.sort(self._order[: share_of(len(self._order), share)])
        else:
            rows = np.arange(len(sides[0]))
        if generator is not None:
            rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        parts = self._parts(split, rows)
        order = range(len(parts)) if generator is None else torch.randperm(len(parts), generator=generator).tolist()
        return (self.batch(split, parts[i]) for i in order)

    def _parts(self, split: str, rows: np.ndarray) -> list[np.ndarray]:
        """Rows by length, cut where a batch is full."""
        source, target = (side.lengths[rows] + 1 for side in self.pairs(split))
        by_length = np.lexsort((target, source))
        widest = np.maximum(source, target)[by_length]
        cuts, first, longest = [0], 0, 0
        for i, size in enumerate(widest.tolist()):
            longest = max(longest, size)
            if i > first and longest * (i + 1 - first) > self.batch_tokens:
                cuts.append(i)
                first, longest = i, size
        return np.split(rows[by_length], cuts[1:])

    def batch(self, split: str, rows: Sequence[int] | np.ndarray) -> Batch:
        """The batch of these pairs of a split."""
        source, target = self.pairs(split)
        inputs = source.padded(rows, end=True), target.padded(rows, begin=True)
        return Batch(tuple(map(torch.from_numpy, inputs)), torch.from_numpy(target.padded(rows, end=True)))

    def streams(self, batch: int, portion: float | None = 0.5, seed: int = 0) -> Streams:
        """Inner and outer batches of so many pairs for a gradient-based search; see ``graphnas.oneshot.task_streams``."""
        from graphnas.tasks.translation_streams import ByLength

        rows = self.training_rows
        lengths = np.stack([side.lengths[rows] for side in self.pairs("train")], axis=1)
        return ByLength(lengths, lambda indices: self.batch("train", rows[indices]), batch, portion, seed)

    # -- figures ----------------------------------------------------------------------------------

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean cross entropy of the tokens in nats, with label smoothing; padding does not count."""
        return self._cross_entropy(output, batch, self.smoothing)

    def _cross_entropy(self, output: Tensor, batch: Batch, smoothing: float, reduction: str = "mean") -> Tensor:
        wanted = (*batch.target.shape, self.signature.outputs)
        if tuple(output.shape) != wanted:
            raise GraphnasError(f"the network returned shape {list(output.shape)}, but the task needs {list(wanted)}")
        return functional.cross_entropy(
            output.flatten(0, 1),
            batch.target.flatten(),
            ignore_index=PADDING,
            label_smoothing=smoothing,
            reduction=reduction,
        )

    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """``cross_entropy`` a token in nats, without smoothing, and ``bleu`` (see ``metric``) on a split."""
        device, nats, count = device_of(network), 0.0, 0
        with evaluating(network):
            for batch in self.batches(split):
                batch = batch.to(device)
                nats += float(self._cross_entropy(network(*batch.inputs).double(), batch, 0.0, "sum"))
                count += int((batch.target != PADDING).sum())
        values = {"cross_entropy": nats / count}
        if self.metric.name == "bleu" or split == "test":
            values["bleu"] = self._bleu(network, split) if math.isfinite(nats) else math.nan
        return values

    def _bleu(self, network: nn.Module, split: str) -> float:
        sources, targets = self.pairs(split)
        if split == "train":
            made = self._translated(network, self.subset("train", sources), 1)
            return bleu(made, self.subwords.decode([s.tolist() for s in self.subset("train", targets)]))
        every = [sources.tokens[a:b] for a, b in zip(sources.bounds[:-1], sources.bounds[1:], strict=True)]
        return bleu(self._translated(network, every, self.beam if split == "test" else 1), self.text[split][1])

    def subset(self, split: str, side: Sentences, most: int = 1000) -> list[np.ndarray]:
        """The tokens of the first training pairs in a fixed random order."""
        rows = self._order[:most]
        return [side.tokens[side.bounds[i] : side.bounds[i + 1]] for i in rows]

    def translate(self, network: nn.Module, sentences: Sequence[str], beam: int | None = None) -> list[str]:
        """Translations of sentences by a network; ``beam`` is by default the task's."""
        made = self.subwords.encode(read_lines_of(sentences))
        tokens = [made.tokens[a:b] for a, b in zip(made.bounds[:-1], made.bounds[1:], strict=True)]
        return self._translated(network, tokens, self.beam if beam is None else beam)

    def _translated(self, network: nn.Module, sources: Sequence[np.ndarray], beam: int) -> list[str]:
        """Sources in batches of about one length; at most half as long again and ten tokens more."""
        order = np.argsort([len(s) for s in sources], kind="stable")
        found: dict[int, tuple[int, ...]] = {}
        device = device_of(network)
        with evaluating(network):
            for start in range(0, len(order), _SEARCHES):
                rows = order[start : start + _SEARCHES].tolist()
                bounds = np.cumsum([0, *(len(sources[i]) for i in rows)])
                joined = Sentences(np.concatenate([sources[i] for i in rows]), bounds)
                source = torch.from_numpy(joined.padded(range(len(rows)), end=True)).to(device)
                longest = [10 + len(sources[i]) * 3 // 2 for i in rows]
                step = NextToken(network, source.repeat_interleave(beam, 0))
                barred = (PADDING, UNKNOWN, BEGIN)
                best = beam_search(step, longest, beam=beam, begin=BEGIN, end=END, alpha=self.alpha, barred=barred)
                found.update(zip(rows, (hypothesis.tokens for hypothesis in best), strict=True))
        return self.subwords.decode([found[i] for i in range(len(sources))])

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, as JSON values."""
        return {
            "name": self.name,
            "sizes": {split: len(source) for split, (source, _) in self._pairs.items()},
            "vocabulary": len(self.subwords),
            "batch_tokens": self.batch_tokens,
            "max_length": self.max_length,
            "smoothing": self.smoothing,
            "beam": self.beam,
            "alpha": self.alpha,
            "metric": self.metric.name,
            "seed": self.seed,
        }


def read_lines_of(sentences: Sequence[str]) -> list[str]:
    """Sentences that are to be translated.

    Raises:
        GraphnasError: one text in place of several.
    """
    if isinstance(sentences, str):
        raise GraphnasError(f"give a list of sentences to translate, not the one text {sentences!r:.40}")
    return list(sentences)


def bleu(translations: Sequence[str], *references: Sequence[str]) -> float:
    """BLEU from 0 to 100 as sacreBLEU reports it (Post, WMT 2018), for one or several references of every sentence.

    Raises:
        GraphnasError: sacreBLEU is not installed.
    """
    try:
        import sacrebleu
    except ImportError:
        raise GraphnasError("translation needs more packages: pip install 'graphnas[translation]'") from None
    return float(sacrebleu.corpus_bleu(list(translations), [list(r) for r in references], force=True).score)
