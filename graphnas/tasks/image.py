"""Image classification: any labelled images as a Task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.augment import Augmentation
from graphnas.tasks.base import SPLITS, Batch, Metric, Signature, Task
from graphnas.tasks.images import Images, channel_statistics, read_images
from graphnas.tasks.measure import Classification, check_output, device_of, evaluating
from graphnas.tasks.splits import stratified_order, stratified_split

_MEASURE_BATCH = 256
AUXILIARY = 0.4
"""Weight of an auxiliary head's loss (Liu, Simonyan & Yang, ICLR 2019, appendix A.2)."""


class ImageTask(Task):
    """Classification of images that fit in memory; selection is by validation accuracy (in %).

    A split is a pair of arrays ``(x[N, C, H, W], y[N])``, a torch Dataset of ``(x[C, H, W], y)``, or any iterable of
    such batches ``(x[B, C, H, W], y[B])``, for instance a DataLoader. Images stay uint8 where they are uint8. Mean and
    standard deviation of each channel come from the training split alone.

    Args:
        train, validation, test: the splits. Without ``validation``, a stratified part of ``train`` is set aside.
        name: for settings and reports.
        classes: number of classes; by default one more than the largest training or validation label.
        batch_size: images a training batch.
        standardise: subtract the mean and divide by the standard deviation of each channel.
        augmentation: applied to training batches that are drawn with a generator; None for none.
        validation_share: what part of ``train`` is set aside when there is no ``validation``.
        seed: of that split and of the subsets that ``share`` selects.

    Raises:
        GraphnasError: lengths that differ, labels out of range, values that are not finite, an empty split or a wrong
            rank.
    """

    metric = Metric("accuracy")

    def __init__(
        self,
        train: Any,
        validation: Any = None,
        test: Any = None,
        *,
        name: str = "image",
        classes: int | None = None,
        batch_size: int = 64,
        standardise: bool = True,
        augmentation: Augmentation | None = None,
        validation_share: float = 0.2,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise GraphnasError(f"the batch size is {batch_size}; it must be at least 1")
        self.name = name
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.seed = seed
        self._images = {"train": read_images(train, "train")}
        if validation is not None:
            self._images["validation"] = read_images(validation, "validation")
        else:
            self._set_aside(validation_share)
        if classes is None:
            classes = 1 + max(int(images.y.max()) for images in self._images.values())
        if test is not None:
            self._images["test"] = read_images(test, "test")
        shape = tuple(self._images["train"].x.shape[1:])
        for split, images in self._images.items():
            _check_split(images, split, shape, classes)
        self.signature = Signature("image", shape, classes)
        self.standardise = standardise
        self.mean, self.std = channel_statistics(self._images["train"].x)
        rng = np.random.default_rng([seed, 1])
        self._order = torch.from_numpy(stratified_order(self._images["train"].y.numpy(), rng))

    def _set_aside(self, share: float) -> None:
        if not 0 < share < 1:
            raise GraphnasError(f"the validation share is {share}; it must lie between 0 and 1")
        whole = self._images["train"]
        parts = stratified_split(whole.y.numpy(), (1 - share, share), np.random.default_rng([self.seed, 0]))
        for split, rows in zip(("train", "validation"), parts, strict=True):
            self._images[split] = whole.at(torch.from_numpy(rows))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are; "test" may be missing."""
        return tuple(split for split in SPLITS if split in self._images)

    def images(self, split: str) -> Images:
        """The images of a split as given, neither standardised nor augmented.

        Raises:
            GraphnasError: there is no such split.
        """
        if split not in self._images:
            raise unknown(f"split of task {self.name}:", split, self.splits)
        return self._images[split]

    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass over a split, in batches ``x[B, C, H, W]`` (float32), ``y[B]``.

        With a generator the order is drawn, and training images are augmented. ``share`` of the training split is a
        fixed stratified subset; a smaller share is contained in a larger one.

        Raises:
            GraphnasError: there is no such split, or the share is not in (0, 1].
        """
        images = self.images(split)
        rows = torch.arange(len(images.y))
        if split == "train":
            rows = self._order[: share_of(len(rows), share)].sort().values
        return self._iterate(images, rows, generator, self.augmentation if split == "train" else None)

    def _iterate(
        self, images: Images, rows: Tensor, generator: torch.Generator | None, augmentation: Augmentation | None
    ) -> Iterator[Batch]:
        if generator is not None:
            rows = rows[torch.randperm(len(rows), generator=generator)]
        for part in parts_of(rows, self.batch_size):
            x, y = images.at(part)
            if generator is not None and augmentation is not None:
                x = augmentation(x, generator)
            yield Batch((self.prepare(x),), y)

    def prepare(self, x: Tensor) -> Tensor:
        """What the network sees of images ``x[B, C, H, W]``: float32, standardised if the task says so."""
        x = x.float()
        return (x - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1) if self.standardise else x

    def loss(self, output: Tensor | tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """Mean cross entropy in nats; that of an auxiliary head, the second of two results, counts ``AUXILIARY`` times."""
        main, *side = output if isinstance(output, tuple) else (output,)
        total = self._cross_entropy(main, batch)
        return total + AUXILIARY * self._cross_entropy(side[0], batch) if side else total

    def _cross_entropy(self, output: Tensor, batch: Batch) -> Tensor:
        check_output(output, len(batch.target), self.signature.outputs)
        return functional.cross_entropy(output, batch.target)

    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """``accuracy`` in % and mean ``cross_entropy`` in nats on a split."""
        images, device, meter = self.images(split), device_of(network), Classification()
        with evaluating(network):
            for x, y in zip(torch.split(images.x, _MEASURE_BATCH), torch.split(images.y, _MEASURE_BATCH), strict=True):
                output = network(self.prepare(x).to(device))
                output = output[0] if isinstance(output, tuple) else output
                check_output(output, len(y), self.signature.outputs)
                meter.add(output, y.to(device))
        return meter.result()

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, as JSON values."""
        return {
            "name": self.name,
            "classes": self.signature.outputs,
            "sizes": {split: len(images.y) for split, images in self._images.items()},
            "batch_size": self.batch_size,
            "standardise": self.standardise,
            "augmentation": None if self.augmentation is None else asdict(self.augmentation),
            "seed": self.seed,
        }


def share_of(count: int, share: float) -> int:
    """How many of ``count`` rows a share is: rounded, at least one.

    Raises:
        GraphnasError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise GraphnasError(f"the share of the training data is {share}; it must be above 0 and at most 1")
    return max(1, round(share * count))


def parts_of(rows: Tensor, size: int) -> list[Tensor]:
    """Rows in batches; a last batch of one row joins the one before, as batch normalisation cannot train on one row."""
    parts = list(torch.split(rows, size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _check_split(images: Images, split: str, shape: tuple[int, ...], classes: int) -> None:
    if tuple(images.x.shape[1:]) != shape:
        raise GraphnasError(
            f"images of the {split} split have shape {list(images.x.shape[1:])}, but those of train have {list(shape)}"
        )
    low, high = int(images.y.min()), int(images.y.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise GraphnasError(f"the {split} split has the label {wrong}; labels must be between 0 and {classes - 1}")
