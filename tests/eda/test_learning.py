"""Tasks, metrics, baselines and manual models, on made-up placements whose labels follow from their maps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from eda.baselines import HOTSPOTS, NETS, placement_statistics, tile_statistics
from eda.dataset import Dataset, Sample, SampleLabel
from eda.metrics import hotspot_metrics, nets_metrics, over_designs
from eda.models.convolutional import FLNet, JNet, UNet
from eda.models.pros import PROS
from eda.models.routenet import RouteNetCount, RouteNetFCN
from eda.preparation import Preparation, stacked
from eda.route import Recipe
from eda.tasks import HotspotTask, NetsTask
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.fit import train
from graphnas.estimators.training import TrainingEstimator
from graphnas.search import Search
from spaces import routability

MAPS = ("rudy", "pins")


def sample(design: str, number: int, part: str) -> Sample:
    """Hot where the first map is above 1; the rate is the share of hot tiles."""
    rng = np.random.default_rng([number, *design.encode()])
    height, width = rng.integers(7, 14, 2)
    maps = np.stack([rng.gamma(2.0, 0.2 + 0.06 * number, (height, width)), rng.random((height, width))]).astype(
        np.float32
    )
    hot = (maps[0] > 1).astype(np.int32)
    label = SampleLabel(10, int(hot.sum()), hot.size, hot, np.zeros((0, 3), dtype=np.int16), 0)
    return Sample(f"{design}_{number}", design, design, part, maps, {10: label}, Recipe(layers=3 + number % 2))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    parts = {"train": "abcde", "validation": "fg", "test": "hi"}
    samples = [sample(d, n, part) for part, designs in parts.items() for d in designs for n in range(8)]
    return Dataset(MAPS, tuple(samples))


def test_tau_against_counted_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 40).astype(float), rng.integers(0, 4, 40).astype(float)
    designs = ["ab"[i % 2] for i in range(40)]

    def tau_b(x: np.ndarray, y: np.ndarray) -> float:
        signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in itertools.combinations(range(len(x)), 2)]
        untied_x, untied_y = (sum(s[k] != 0 for s in signs) for k in (0, 1))
        return float(sum(a * b for a, b in signs) / math.sqrt(untied_x * untied_y))

    found = nets_metrics(x, y, designs)
    assert found["tau"] == pytest.approx(tau_b(x, y))
    assert found["tau_within"] == pytest.approx((tau_b(x[::2], y[::2]) + tau_b(x[1::2], y[1::2])) / 2)
    assert nets_metrics(np.zeros(40), y, designs)["tau"] == 0
    assert math.isnan(nets_metrics([math.nan, *x[1:]], y, designs)["tau"])
    only = nets_metrics(x[:4], [0, 0, 0, 1], ["a", "a", "a", "b"])
    assert math.isnan(only["tau_within"])


def test_areas_against_counted_pairs() -> None:
    rng = np.random.default_rng(1)
    scores = [rng.integers(0, 5, shape).astype(float) for shape in ((4, 5), (3, 3), (6, 2))]
    hot = [rng.random(s.shape) < p for s, p in zip(scores, (0.3, 0.5, 0.0), strict=True)]

    def area(scores: np.ndarray, hot: np.ndarray) -> float:
        pairs = scores[hot][:, None] - scores[~hot]
        return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())

    found = hotspot_metrics(scores, hot)
    assert found["auc"] == pytest.approx(
        area(np.concatenate([s.ravel() for s in scores]), np.concatenate([h.ravel() for h in hot]))
    )
    assert found["auc_placement"] == pytest.approx(
        np.mean([area(s, h) for s, h in zip(scores[:2], hot[:2], strict=True)])
    )
    flat = [np.zeros_like(s) for s in scores]
    share = np.concatenate([h.ravel() for h in hot]).mean()
    assert hotspot_metrics(flat, hot)["auc"] == 0.5
    assert hotspot_metrics(flat, hot)["pr_auc"] == pytest.approx(share)
    assert math.isnan(hotspot_metrics(scores, [np.zeros_like(h) for h in hot])["auc"])


def test_intervals_draw_designs() -> None:
    designs = ["a"] * 30 + ["b"] * 30
    values = np.array([0.0] * 30 + [1.0] * 30)
    found = over_designs(lambda rows: {"mean": float(values[rows].mean())}, designs, np.random.default_rng(0))["mean"]
    # Two designs: a resample has none, half or all of b; placements drawn one by one would stay near one half.
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_preparation_scales_by_the_training_part_alone(dataset: Dataset) -> None:
    preparation = Preparation.of(dataset)
    tiles = np.concatenate([s.features.reshape(2, -1) for s in dataset.part("train")], axis=1)
    np.testing.assert_allclose(preparation.scale, np.quantile(tiles, 0.99, axis=1), rtol=1e-6)
    one = dataset.part("test")[1]
    made = preparation.of_sample(one)
    np.testing.assert_allclose(
        made[:2], np.minimum(one.features / np.array(preparation.scale)[:, None, None], 4), rtol=1e-5
    )
    assert (made[2] == one.recipe.layers - 3).all()
    assert (made[3] == 1).all()
    assert Preparation.from_json(preparation.describe()) == preparation
    assert (preparation.layers, preparation.tile) == ((3, 4), 20.0)
    with pytest.raises(GraphnasError, match="one positive scale for each map"):
        Preparation.from_json({**preparation.describe(), "maps": ["a"], "scale": [0]})
    with pytest.raises(GraphnasError, match="got 1 feature maps, but 2 are needed: rudy, pins"):
        preparation(one.features[:1], 3)


def test_batches_hold_every_placement_once_with_its_label(dataset: Dataset) -> None:
    task = HotspotTask(dataset, batch_size=9, mirror=False)
    for generator in (None, torch.Generator().manual_seed(0)):
        seen = []
        for batch in task.batches("train", generator):
            x, y = batch.inputs[0], batch.target
            assert x.shape[0] == y.shape[0] >= 2
            assert x.shape[2:] == y.shape[2:]
            assert all(side % 8 == 0 for side in x.shape[2:])
            inside = x[:, 3:] == 1
            assert torch.equal(inside, y != -1)
            scale = task.preparation.scale[0]
            assert torch.equal((x[:, :1] * scale > 1) & inside, y == 1)
            seen += [round(float(total), 3) for total in (x[:, :2] * inside).double().sum((1, 2, 3))]
        expected = [
            round(float(task.preparation.of_sample(s)[:2].astype(float).sum()), 3) for s in dataset.part("train")
        ]
        np.testing.assert_allclose(sorted(seen), sorted(expected), atol=2e-3)


def test_mirroring_moves_maps_and_labels_together(dataset: Dataset) -> None:
    task = HotspotTask(dataset)
    moved = False
    for batch in task.batches("train", torch.Generator().manual_seed(1)):
        x, y = batch.inputs[0], batch.target
        assert torch.equal((x[:, :1] * task.preparation.scale[0] > 1) & (x[:, 3:] == 1), y == 1)
        moved |= bool((x[:, 3, 0, 0] == 0).any())  # padding comes last unless mirrored
    assert moved


def test_losses_against_the_formulas(dataset: Dataset) -> None:
    task = HotspotTask(dataset)
    batch = next(task.batches("validation"))
    logits = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(0))
    p, y = torch.sigmoid(logits), batch.target
    inside = y >= 0
    expected = -(y * p.log() + (1 - y) * (1 - p).log())[inside].mean()
    torch.testing.assert_close(task.loss(logits, batch), expected)
    nets = NetsTask(dataset, rank=0.5)
    batch = next(nets.batches("validation"))
    said = torch.randn(len(batch.target), 1, generator=torch.Generator().manual_seed(0))
    y = batch.target.view(-1)
    rates = [s.labels[10].rate ** 0.5 for s in dataset.part("validation")]
    np.testing.assert_allclose(y.numpy(), rates[: len(y)], rtol=1e-6)
    pairs = [
        float(torch.log1p(torch.exp(-(said[i, 0] - said[j, 0]) / 0.1)))
        for i in range(len(y))
        for j in range(len(y))
        if y[i] > y[j]
    ]
    expected = ((said[:, 0] - y) ** 2).mean() + 0.5 * np.mean(pairs)
    assert float(nets.loss(said, batch)) == pytest.approx(float(expected), rel=1e-4)


class Known(nn.Module):
    """Says what it should: the first map, or the share of tiles where it is above the threshold."""

    def __init__(self, threshold: float | None) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.threshold is None:
            return x[:, :1]
        inside = x[:, 3:] == 1
        return (((x[:, :1] > self.threshold) & inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))).unsqueeze(1)


def test_a_network_that_knows_has_the_best_metrics(dataset: Dataset) -> None:
    task = HotspotTask(dataset)
    assert task.evaluate(Known(None), "test") == pytest.approx({"auc": 1.0, "auc_placement": 1.0, "pr_auc": 1.0})
    nets = NetsTask(dataset)
    found = nets.evaluate(Known(1 / nets.preparation.scale[0]), "test")
    assert found["tau"] == pytest.approx(1)
    assert found["tau_within"] == pytest.approx(1)
    with pytest.raises(GraphnasError, match="no labels of effort 50; it has 10"):
        NetsTask(dataset, effort=50)


def test_baselines_say_what_they_are_named_after(dataset: Dataset) -> None:
    test = dataset.part("test")
    assert not NETS["zero"](dataset, 10, 0)(test).any()
    np.testing.assert_allclose(NETS["mean RUDY"](dataset, 10, 0)(test)[0], test[0].features[0].mean(), rtol=1e-6)
    hot = [s.labels[10].hotspots > 0 for s in test]
    assert hotspot_metrics(HOTSPOTS["zero"](dataset, 10, 0)(test), hot)["auc"] == 0.5
    assert hotspot_metrics(HOTSPOTS["tile RUDY"](dataset, 10, 0)(test), hot)["auc"] == 1
    assert hotspot_metrics(HOTSPOTS["gradient boosting"](dataset, 10, 0)(test), hot)["auc"] > 0.99
    boosted = NETS["gradient boosting"](dataset, 10, 0)(test)
    assert nets_metrics(boosted, [s.labels[10].rate for s in test], [s.design for s in test])["tau"] > 0.6


def test_statistics_of_neighbourhoods(dataset: Dataset) -> None:
    one = dataset.samples[0]
    columns, (_, height, width) = tile_statistics(one), one.features.shape
    padded = np.pad(one.features[1].astype(float), 3, mode="edge")
    row, column = height // 2, 1
    place = row * width + column
    assert columns.shape == (height * width, 7)
    assert columns[place, 1] == one.features[1, row, column]
    assert columns[place, 3] == pytest.approx(padded[row + 2 : row + 5, column + 2 : column + 5].mean())
    assert columns[place, 5] == pytest.approx(padded[row : row + 7, column : column + 7].mean())
    assert placement_statistics(one)[0] == pytest.approx(one.features[0].mean())


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        # Weights of the convolutions and two numbers a normalised channel, added up by hand from the descriptions.
        (lambda: FLNet(11), 11 * 64 * 81 + 64 + 64 * 81 + 1),
        (
            lambda: RouteNetFCN(11),
            2 * 11 + 11 * 32 * 81 + 2 * 32 + 32 * 64 * 49 + 2 * 64 + 64 * 32 * 81 + 2 * 32 + 32 * 32 * 49 + 2 * 32
            + 32 * 16 * 81 + 2 * 16 + 48 * 16 * 25 + 2 * 16 + 16 * 4 * 25 + 2 * 4 + 4 * 9 + 1,
        ),
        (lambda: PROS(11), None),
        (lambda: UNet(11), None),
        (lambda: JNet(11), None),
    ],
)  # fmt: skip
def test_manual_models_keep_the_size_of_the_map(network: type[nn.Module], parameters: int | None) -> None:
    torch.manual_seed(0)
    made = network().eval()
    assert made(torch.randn(2, 11, 13, 22)).shape == (2, 1, 13, 22)
    if parameters is not None:
        assert sum(p.numel() for p in made.parameters()) == parameters


def test_the_counting_network_is_a_resnet_18() -> None:
    # torchvision's resnet18 has 11,689,512 parameters with 3 channels and 1,000 classes.
    assert sum(p.numel() for p in RouteNetCount(3).parameters()) == 11_689_512 - 512 * 1000 - 1000 + 512 + 1
    assert RouteNetCount(11, 8).eval()(torch.randn(2, 11, 13, 22)).shape == (2, 1)


def test_a_search_over_the_space_beats_its_start(dataset: Dataset) -> None:
    """The whole way: space, task, training, guide-DAG search; and the best is better than a map that says nothing."""
    task, space = HotspotTask(dataset, batch_size=8), routability.hotspots()
    estimator = TrainingEstimator(space, task, fidelity=Fidelity(12, size={"channels": 8}))
    run = Search(space, estimator, "guide_dag", options={"warm": 2}, budget=4, seed=0, batch=2)
    best = run.run().best
    assert best is not None
    assert best.score > 0.6


def test_training_does_not_touch_the_test_part(dataset: Dataset) -> None:
    task = NetsTask(dataset)
    asked = []
    samples = task.samples
    task.samples = lambda split: asked.append(split) or samples(split)  # type: ignore[method-assign, func-returns-value]
    train(RouteNetCount(4, 4), task, fidelity=Fidelity(1))
    assert set(asked) == {"train", "validation"}


def test_stacked_pads_at_the_end() -> None:
    made = stacked([np.ones((1, 2, 3), np.float32), np.ones((1, 5, 1), np.float32)], 4, -1)
    assert made.shape == (2, 1, 8, 4)
    assert (made[0, 0, :2, :3] == 1).all()
    assert (made == -1).sum() == made.size - 6 - 5
