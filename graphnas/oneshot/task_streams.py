"""The training data of a task as the two streams of a gradient-based search."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.acting import Acting
from graphnas.oneshot.streams import Split, Streams
from graphnas.tasks.base import Batch, Task
from graphnas.tasks.control.task import ControlTask
from graphnas.tasks.image import ImageTask
from graphnas.tasks.node import NodeTask


class Drawn(NamedTuple):
    """A batch with the seed of the randomness that the network has on it (dropout, noise)."""

    batch: Batch
    seed: int


class Following(Drawn):
    """A batch that goes on where the one before it in its stream ended: networks carry their state on (``Task.carried``)."""


def streams_of(task: Task, batch: int, portion: float | None = 0.5, seed: int = 0) -> Streams:
    """Inner and outer batches from the training split of a task; its validation and test splits are not touched.

    Images are augmented as in training. In a graph, a batch is the whole graph with some of the training nodes. In control,
    both streams are played.

    Args:
        task: of images, of control or of the nodes of one graph.
        batch: size; in a graph whose training nodes do not fill it, all nodes of a part.
        portion: of the examples that are inner; None: all are both.
        seed: of the division, the orders and the augmentation.

    Raises:
        GraphnasError: a task of another kind, or with fewer examples than fill a batch.
    """
    if isinstance(task, ImageTask):
        return Split(len(task.images("train").y), batch, _Pictures(task), portion, seed)
    if isinstance(task, NodeTask) and task.batch is None:
        rows = task.rows("train")
        smaller = (
            len(rows) if portion is None else min(round(len(rows) * portion), len(rows) - round(len(rows) * portion))
        )
        return Split(len(rows), min(batch, max(1, smaller)), _Nodes(task, rows), portion, seed)
    if isinstance(task, ControlTask):
        return Acting(task, batch, seed)
    streams = getattr(task, "streams", None)
    if streams is not None:
        return streams(batch, portion, seed)  # type: ignore[no-any-return]
    raise GraphnasError(
        f"gradient-based search needs a task of images, of text or of the nodes of one graph in one piece, not {task.name}"
    )


class _Pictures:
    def __init__(self, task: ImageTask) -> None:
        self.task = task
        self.images = task.images("train")

    def __call__(self, indices: Tensor, seed: int) -> Drawn:
        task, (x, y) = self.task, self.images.at(indices)
        if task.augmentation is not None:
            x = task.augmentation(x, torch.Generator().manual_seed(seed))
        return Drawn(Batch((task.prepare(x),), y), seed)


class _Nodes:
    def __init__(self, task: NodeTask, rows: Tensor) -> None:
        self.rows = rows
        self.whole = next(iter(task.batches("train")))

    def __call__(self, indices: Tensor, seed: int) -> Drawn:
        return Drawn(self.whole._replace(rows=self.rows[indices].sort().values), seed)
