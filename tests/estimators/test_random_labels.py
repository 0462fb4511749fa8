"""Labels that say nothing: uniform, fixed, and independent of the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from graphnas.errors import GraphnasError
from graphnas.oneshot.task_streams import streams_of
from graphnas.tasks.image import ImageTask
from graphnas.tasks.image_data import digits
from graphnas.tasks.node_data import karate
from graphnas.tasks.random_labels import random_labels


def labels(task, split="train"):
    return task.images(split).y.numpy()


def test_labels_are_uniform_and_independent_of_the_true_ones():
    task = digits()
    for seed in range(3):
        drawn = labels(random_labels(task, seed))
        assert chisquare(np.bincount(drawn, minlength=10)).pvalue > 1e-3
        table = np.histogram2d(drawn, labels(task), bins=10)[0]
        assert chi2_contingency(table).pvalue > 1e-3


def test_labels_do_not_depend_on_the_images():
    x = np.random.default_rng(0).normal(size=(40, 1, 4, 4)).astype(np.float32)
    y = np.arange(40) % 4
    one = ImageTask((x, y), (x, y), classes=4)
    other = ImageTask((x[::-1].copy() * 5, (y + 1) % 4), (x, y), classes=4)
    assert np.array_equal(labels(random_labels(one, 7)), labels(random_labels(other, 7)))
    assert not np.array_equal(labels(random_labels(one, 7)), labels(random_labels(one, 8)))


def test_an_image_has_the_same_label_in_every_epoch():
    task = random_labels(digits(), 3)
    streams = streams_of(task, 64, None, 0)
    known: dict[bytes, int] = {}
    seen = 0
    for step in range(3 * streams.length):
        batch = streams.inner(step).batch
        for image, label in zip(batch.inputs[0], batch.target.tolist(), strict=True):
            seen += 1
            assert known.setdefault(image.numpy().tobytes(), label) == label
    assert seen > 2 * len(known)


def test_the_task_itself_and_its_test_split_stay_as_they_are():
    task = digits()
    before = {split: task.images(split).y.clone() for split in task.splits}
    made = random_labels(task, 0)
    assert all(torch.equal(before[split], task.images(split).y) for split in task.splits)
    assert torch.equal(made.images("test").y, before["test"])
    assert not torch.equal(made.images("validation").y, before["validation"])
    assert made.describe()["name"] != task.describe()["name"]


def test_nodes_have_drawn_labels_too():
    task = karate()
    made = random_labels(task, 1)
    train = task.rows("train")
    assert torch.equal(made.y[task.rows("test")], task.y[task.rows("test")])
    assert any(not torch.equal(random_labels(task, seed).y[train], task.y[train]) for seed in range(5))
    (batch,) = made.batches("train")
    assert torch.equal(batch.target, made.y)


def test_other_tasks_are_refused():
    from graphnas.tasks.base import Metric, Signature, Task

    class Other(Task):
        name, signature, metric = "other", Signature("image", (1, 1, 1), 2), Metric("accuracy")
        batches = loss = evaluate = None

    Other.__abstractmethods__ = frozenset()
    with pytest.raises(GraphnasError, match="image or node"):
        random_labels(Other())
