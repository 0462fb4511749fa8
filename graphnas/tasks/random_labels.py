"""A task whose labels say nothing: drawn once for each example, and fixed from then on."""

from __future__ import annotations

import copy

import numpy as np
import torch

from graphnas.errors import GraphnasError
from graphnas.tasks.base import Task
from graphnas.tasks.image import ImageTask
from graphnas.tasks.images import Images
from graphnas.tasks.node import NodeTask
from graphnas.tasks.splits import stratified_order

_HIDDEN = ("train", "validation")


def random_labels(task: Task, seed: int = 0) -> ImageTask | NodeTask:
    """The task with uniformly drawn training and validation labels (Zhang et al., "RLNAS", CVPR 2021).

    Every example gets one of the classes with equal probability, once: it is the same in every epoch, and follows from the
    seed and the place of the example alone, never from its content or its true label. The test split keeps its labels.

    Args:
        task: classification of images, or of the nodes of one graph. It is not changed.
        seed: of the labels.

    Raises:
        GraphnasError: another kind of task.
    """
    made: ImageTask | NodeTask
    if isinstance(task, ImageTask):
        made = _images(task, seed)
    elif isinstance(task, NodeTask):
        made = _nodes(task, seed)
    else:
        raise GraphnasError(f"random labels need a task of image or node classification, not {task.name!r}")
    made.name = f"{task.name} with random labels of seed {seed}"
    return made


def _images(task: ImageTask, seed: int) -> ImageTask:
    made = copy.copy(task)
    made._images = dict(task._images)
    for number, split in enumerate(_HIDDEN):
        images = made._images[split]
        made._images[split] = Images(images.x, _drawn(len(images.y), task.signature.outputs, seed, number))
    made._order = _stratified(made._images["train"].y, task.seed)
    return made


def _nodes(task: NodeTask, seed: int) -> NodeTask:
    made = copy.copy(task)
    made.y = task.y.clone()
    for number, split in enumerate(_HIDDEN):
        rows = task.rows(split)
        made.y[rows] = _drawn(len(rows), task.signature.outputs, seed, number)
    train = task.rows("train")
    made._order = train[_stratified(made.y[train], task.seed)]
    return made


def _drawn(count: int, classes: int, seed: int, number: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, 19, number]).integers(classes, size=count))


def _stratified(labels: torch.Tensor, seed: int) -> torch.Tensor:
    """The order of subsets, which must not follow the true labels either."""
    return torch.from_numpy(stratified_order(labels.numpy(), np.random.default_rng([seed, 1])))
