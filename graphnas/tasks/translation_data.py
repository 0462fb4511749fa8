"""Parallel text as tasks; each function is registered under its name."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

from graphnas.data import find, require
from graphnas.tasks.translation import TranslationTask


class _Multi30k(TranslationTask):
    recipe = MappingProxyType({"learning_rate": 2e-3, "warmup": 1000, "clip": 1.0})


class _WMT14(TranslationTask):
    recipe = MappingProxyType({"warmup": 10_000})


def multi30k(seed: int = 0, metric: str = "bleu", vocabulary: int = 4000) -> TranslationTask:
    """Descriptions of images, English to German: 29,000, 1,014 and 1,000 pairs (Elliott et al., 2016; test set of 2016).

    4,000 subwords; a peak learning rate of 2e-3 after 1,000 steps, as its sentences are short and few.

    Raises:
        GraphnasError: a file is missing or unreadable.
    """
    parts = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    pairs: dict[str, Any] = {split: _pair("text/multi30k", (stem,)) for split, stem in parts.items()}
    return _Multi30k(**pairs, name="multi30k", vocabulary=vocabulary, batch_tokens=2000, metric=metric, seed=seed)


def wmt14(seed: int = 0, metric: str = "cross_entropy") -> TranslationTask:
    """WMT 2014, English to German, in its usual files ``train``, ``newstest2013`` (or ``valid``), ``newstest2014`` (or ``test``).

    ``.en`` and ``.de``, also with ``.gz``, below ``text/wmt14``. 32,000 subwords, batches of 5,000 tokens, 10,000 steps of
    warm-up (Zhao et al., 2021); selection by cross entropy, as translating takes long.

    Raises:
        GraphnasError: a file is missing or unreadable.
    """
    parts = {"train": ("train",), "validation": ("newstest2013", "valid"), "test": ("newstest2014", "test")}
    pairs: dict[str, Any] = {split: _pair("text/wmt14", stems) for split, stems in parts.items()}
    return _WMT14(**pairs, name="wmt14", vocabulary=32_000, batch_tokens=5000, metric=metric, seed=seed)


def _pair(folder: str, stems: tuple[str, ...]) -> tuple[Path, Path]:
    """The English and the German file with the first of these names that is there."""
    for stem in stems:
        for ending in ("", ".gz"):
            paths = [find(f"{folder}/{stem}.{language}{ending}") for language in ("en", "de")]
            if paths[0] is not None and paths[1] is not None:
                return paths[0], paths[1]
    missing = f"{folder}/{stems[0]}.en"
    first = require(missing, "put the parallel text there, one sentence a line (.en and .de, also .gz)")
    return first, require(f"{folder}/{stems[0]}.de", "put the German text beside the English one")
