"""Image tasks: splits, standardisation, augmentation, metrics, and what bad input is answered with."""

import pickle
import tarfile

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.tasks.augment import Augmentation
from graphnas.tasks.image import ImageTask
from graphnas.tasks.image_data import cifar10_16px, digits, read_cifar10
from graphnas.tasks.images import channel_statistics
from graphnas.tasks.splits import split_per_class, stratified_order, stratified_split


def pictures(seed, n=40, classes=4, shape=(3, 6, 5), scale=1.0):
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=(n, *shape)) + 3).astype(np.float32), np.arange(n) % classes


def rows_of(batches):
    """Every image and label that the batches hold, in their order."""
    parts = [(batch.inputs[0], batch.target) for batch in batches]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


class Fixed(nn.Module):
    """Returns the given logits, row after row."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.at = logits, 0

    def forward(self, x):
        self.at += len(x)
        return self.logits[self.at - len(x) : self.at]


# -- splits -----------------------------------------------------------------------------------


def test_stratified_split_has_exact_counts_and_covers_all_rows_once():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    parts = stratified_split(labels, (0.6, 0.3, 0.1), np.random.default_rng(0))
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[30, 18, 12], [15, 9, 6], [5, 3, 2]]
    assert sorted(np.concatenate(parts)) == list(range(100))


@pytest.mark.parametrize("seed", range(5))
def test_every_prefix_of_a_stratified_order_has_the_class_shares_within_one_row(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, size=173)
    order = stratified_order(labels, rng)
    counts = np.cumsum(np.eye(5)[labels[order]], axis=0)
    ideal = np.arange(1, 174)[:, None] * np.bincount(labels) / 173
    assert np.abs(counts - ideal).max() < 3  # 5 classes round by at most 1/2 each
    assert sorted(order) == list(range(173))


def test_splits_depend_on_the_seed_alone():
    labels = np.arange(90) % 3
    first, again, other = (stratified_split(labels, (0.5, 0.5), np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])


def test_split_per_class_takes_the_same_number_of_every_class():
    labels = np.repeat([0, 1], [60, 100])
    train, validation, test = split_per_class(labels, (20, 30), np.random.default_rng(0))
    assert [np.bincount(labels[part]).tolist() for part in (train, validation, test)] == [[20, 20], [30, 30], [10, 50]]
    assert sorted(np.concatenate([train, validation, test])) == list(range(160))
    with pytest.raises(GraphnasError, match="class 0 has 60 rows"):
        split_per_class(labels, (20, 40), np.random.default_rng(0))


def test_validation_is_set_aside_when_none_is_given():
    x, y = pictures(0, n=100)
    x[:, 0, 0, 0] = np.arange(100)  # names each image
    task = ImageTask((x, y), validation_share=0.2, seed=3)
    seen = {split: task.images(split).x[:, 0, 0, 0].int().tolist() for split in task.splits}
    assert set(seen) == {"train", "validation"}
    assert sorted(seen["train"] + seen["validation"]) == list(range(100))
    assert np.bincount(task.images("validation").y).tolist() == [5, 5, 5, 5]
    for split, names in seen.items():
        assert y[names].tolist() == task.images(split).y.tolist()
    again = ImageTask((x, y), validation_share=0.2, seed=3)
    assert again.images("validation").x[:, 0, 0, 0].int().tolist() == seen["validation"]


def test_share_is_a_fixed_nested_stratified_subset_of_the_training_split_only():
    x, y = pictures(0, n=80)
    x[:, 0, 0, 0] = np.arange(80)
    task = ImageTask((x, y), pictures(1), standardise=False, batch_size=7)

    def names(split, share, generator=None):
        return rows_of(task.batches(split, generator, share))[0][:, 0, 0, 0].int().tolist()

    small, large = names("train", 0.25), names("train", 0.5)
    assert set(small) < set(large)
    assert np.bincount(y[small]).tolist() == [5, 5, 5, 5]
    assert np.bincount(y[large]).tolist() == [10, 10, 10, 10]
    shuffled = names("train", 0.25, torch.Generator().manual_seed(0))
    assert shuffled != small
    assert sorted(shuffled) == sorted(small)
    assert len(names("validation", 0.25)) == 40
    with pytest.raises(GraphnasError, match="share of the training data is 0"):
        task.batches("train", share=0)


# -- standardisation and augmentation -----------------------------------------------------------


def test_standardisation_uses_training_statistics_only():
    train, validation = pictures(0), pictures(1, scale=7.0)
    task = ImageTask(train, validation, validation)
    mean, std = train[0].mean(axis=(0, 2, 3), keepdims=True), train[0].std(axis=(0, 2, 3), keepdims=True)
    seen, _ = rows_of(task.batches("train"))
    assert np.allclose(seen.mean(dim=(0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(seen.std(dim=(0, 2, 3), correction=0), 1, atol=1e-5)
    for split in ("validation", "test"):
        assert np.allclose(rows_of(task.batches(split))[0], (validation[0] - mean) / std, atol=1e-5)


def test_statistics_survive_a_large_offset_and_a_constant_channel():
    x = torch.randn(5000, 2, 3, 3, generator=torch.Generator().manual_seed(0)) + 1000
    x[:, 1] = 5.0
    mean, std = channel_statistics(x)
    wanted = x[:, 0].double().numpy()
    assert mean.tolist() == pytest.approx([wanted.mean(), 5.0], rel=1e-6)
    assert std.tolist() == pytest.approx([wanted.std(), 1.0], rel=1e-5)


def test_bytes_stay_bytes_in_memory_and_are_standardised_exactly():
    x = np.random.default_rng(0).integers(0, 256, size=(30, 1, 4, 4), dtype=np.uint8)
    task = ImageTask((x, np.arange(30) % 3), (x, np.arange(30) % 3))
    assert task.images("train").x.dtype == torch.uint8
    wanted = (x.astype(np.float64) - x.mean()) / x.std()
    assert np.allclose(rows_of(task.batches("train"))[0], wanted, atol=1e-5)


def test_augmentation_needs_a_generator_and_touches_training_only():
    data = pictures(0)
    task = ImageTask(data, data, standardise=False, augmentation=Augmentation(padding=2), batch_size=40)
    plain, _ = rows_of(task.batches("train"))
    assert torch.equal(plain, torch.from_numpy(data[0]))
    first, again, other = (rows_of(task.batches("train", torch.Generator().manual_seed(s)))[0] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    kept = {tuple(image.flatten().tolist()) for image in plain}
    assert any(tuple(image.flatten().tolist()) not in kept for image in first)
    validation, _ = rows_of(task.batches("validation", torch.Generator().manual_seed(0)))
    assert {tuple(image.flatten().tolist()) for image in validation} == kept


def test_every_augmented_image_is_a_crop_of_the_padded_image_or_of_its_mirror():
    x = torch.rand(300, 2, 5, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    seen = Augmentation(padding=1)(x, torch.Generator().manual_seed(1))
    offsets = set()
    for image, result in zip(x, seen, strict=True):
        found = [
            (mirrored, i, j)
            for mirrored in (False, True)
            for i in range(3)
            for j in range(3)
            if torch.equal(
                functional.pad(image.flip(2) if mirrored else image, (1,) * 4)[:, i : i + 5, j : j + 4], result
            )
        ]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) == 18  # all crops of both mirrors occur among 300 draws


def test_a_last_batch_of_one_image_joins_the_one_before():
    task = ImageTask(pictures(0, n=33), pictures(1), batch_size=8)
    assert [len(batch.target) for batch in task.batches("train")] == [8, 8, 8, 9]


# -- forms of input -----------------------------------------------------------------------------


def test_arrays_tensors_data_sets_and_loaders_give_the_same_task():
    x, y = pictures(0)
    dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    forms = [(x, y), [torch.from_numpy(x), torch.from_numpy(y)], dataset, DataLoader(dataset, batch_size=7), [(x, y)]]
    for form in forms:
        task = ImageTask(form, pictures(1))
        assert torch.equal(task.images("train").x, torch.from_numpy(x))
        assert torch.equal(task.images("train").y, torch.from_numpy(y))
        assert task.signature.input == (3, 6, 5)
        assert task.signature.outputs == 4


def test_the_task_does_not_see_later_changes_of_the_user_s_arrays():
    x, y = pictures(0)
    task = ImageTask((x, y), (x, y))
    before = task.images("train").x.clone()
    x[:] = 0
    assert torch.equal(task.images("train").x, before)


X, Y = pictures(0)
NAN = X.copy()
NAN[3, 0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        ((X, Y[:-1]), {}, "40 images but 39 labels"),
        ((X[:, 0], Y), {}, r"shape \[40, 6, 5\]; it must be \[N, C, H, W\]; add the channel axis"),
        ((X, Y), {"classes": 3}, "has the label 3; labels must be between 0 and 2"),
        ((X, Y - 1), {}, "has the label -1"),
        ((NAN, Y), {}, "holds NaN or infinite values"),
        ((X.astype(np.float64) * 1e300, Y), {}, "holds NaN or infinite values"),
        ((X[:0], Y[:0]), {}, "train split is empty"),
        ((X, Y.astype(float)), {}, "must be integer class numbers"),
        ((X, np.eye(4)[Y]), {}, r"shape \[40, 4\]; it must be \[N\]"),
        (7, {}, "train split is a int"),
        ([1, 2, 3], {}, "every batch must be a pair"),
        ([(X, Y), (X[:, :, :3], Y)], {}, "resize them to one shape"),
        ((X, Y), {"batch_size": 0}, "batch size is 0"),
        ((X, Y), {"validation_share": 1.0, "validation": None}, "validation share is 1.0"),
        ((X, Y), {"validation": (X[:, :, :4], Y)}, r"validation split have shape \[3, 4, 5\]"),
        ((X, Y), {"test": (X, Y + 1)}, "test split has the label 4"),
    ],
)
def test_bad_input_is_answered_with_one_sentence(train, options, message):
    with pytest.raises(GraphnasError, match=message) as caught:
        ImageTask(train, **{"validation": (X, Y), **options})
    assert "\n" not in str(caught.value)


def test_unknown_split_names_those_that_there_are():
    task = ImageTask((X, Y), (X, Y))
    with pytest.raises(GraphnasError, match="unknown split"):
        task.batches("test")


# -- loss and metrics ---------------------------------------------------------------------------


def test_metrics_equal_scikit_learn_on_stored_predictions():
    x, y = pictures(2, n=700)  # more than one batch of evaluation
    logits = torch.randn(700, 4, generator=torch.Generator().manual_seed(0))
    metrics = ImageTask((X, Y), (x, y)).evaluate(Fixed(logits), "validation")
    assert metrics["accuracy"] == pytest.approx(100 * accuracy_score(y, logits.argmax(1)), abs=1e-9)
    assert metrics["cross_entropy"] == pytest.approx(log_loss(y, logits.double().softmax(1)), rel=1e-9)


def test_a_network_with_nan_outputs_has_no_accuracy():
    logits = torch.zeros(40, 4)
    logits[0, 0] = float("nan")  # argmax returns class 0, which would count as right
    assert np.isnan(ImageTask((X, Y), (X, Y)).evaluate(Fixed(logits), "validation")["accuracy"])


def test_evaluation_leaves_modes_gradients_and_statistics_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ImageTask((X, Y), (X, Y)).evaluate(network, "validation")
    assert [module.training for module in network] == [True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_wrong_output_shape_is_named():
    with pytest.raises(GraphnasError, match=r"returned shape \[40, 3\], but the task needs \[40, 4\]"):
        ImageTask((X, Y), (X, Y)).evaluate(Fixed(torch.zeros(40, 3)), "validation")


# -- built-in data ------------------------------------------------------------------------------


def test_digits_has_the_published_size_and_a_stratified_split():
    task = digits()
    sizes = {split: len(task.images(split).y) for split in task.splits}
    assert sizes == {"train": 1078, "validation": 360, "test": 359}
    assert task.signature.input == (1, 8, 8)
    images = {x.numpy().tobytes() for split in task.splits for x in task.images(split).x}
    assert len(images) == 1797  # all images differ, so the splits are disjoint
    share = [np.bincount(task.images(split).y) / sizes[split] for split in task.splits]
    assert np.abs(share[0] - share[1]).max() < 0.005


def test_cifar10_16px_takes_validation_from_the_training_file():
    for part in ("train3k", "test1k"):
        if find(f"images/cifar10_16px_{part}.npz") is None:
            pytest.skip(f"images/cifar10_16px_{part}.npz is not below GRAPHNAS_DATA")
    task = cifar10_16px()
    assert [np.bincount(task.images(split).y).tolist() for split in task.splits] == [[240] * 10, [60] * 10, [100] * 10]
    train = np.load(find("images/cifar10_16px_train3k.npz"), allow_pickle=False)
    given = {image.transpose(2, 0, 1).tobytes() for image in train["x"]}
    for split in ("train", "validation"):
        assert all(image.numpy().tobytes() in given for image in task.images(split).x)
    test = np.load(find("images/cifar10_16px_test1k.npz"), allow_pickle=False)
    assert np.array_equal(task.images("test").x.permute(0, 2, 3, 1), test["x"])


def write_cifar(folder, binary, records=4, hostile=None):
    """Six files in the official form, with random content; returns images and labels in file order."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    x, y = rng.integers(0, 256, (6, records, 3072), dtype=np.uint8), rng.integers(0, 10, (6, records), dtype=np.uint8)
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        if binary:
            (folder / f"{name}.bin").write_bytes(np.concatenate([y[i][:, None], x[i]], axis=1).tobytes())
        else:
            content = {"batch_label": name, "data": x[i], "labels": y[i].tolist()}
            (folder / name).write_bytes(pickle.dumps(hostile if hostile and i == 2 else content, protocol=2))
    return x.reshape(6, records, 3, 32, 32), y


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_cifar10_reads_every_official_form(tmp_path, binary, packed):
    path = tmp_path / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    x, y = write_cifar(path, binary)
    if packed:
        archive = tmp_path / ("cifar-10-binary.tar.gz" if binary else "cifar-10-python.tar.gz")
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(path, path.name)
        path = archive
    train, test = read_cifar10(path, records=4)
    assert np.array_equal(train[0], np.concatenate(x[:5]))
    assert np.array_equal(train[1], np.concatenate(y[:5]))
    assert np.array_equal(test[0], x[5])
    assert np.array_equal(test[1], y[5])


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_cifar10_refuses_a_hostile_pickle_and_broken_files(tmp_path):
    folder, target = tmp_path / "cifar-10-batches-py", tmp_path / "owned"
    write_cifar(folder, False, hostile=Hostile(target))
    with pytest.raises(GraphnasError, match=r"data_batch_3: .*refused the pickle"):
        read_cifar10(folder, records=4)
    assert not target.exists()
    binary = tmp_path / "cifar-10-batches-bin"
    write_cifar(binary, True)
    with pytest.raises(GraphnasError, match="12292 bytes instead of 15365"):
        read_cifar10(binary, records=5)
    (binary / "test_batch.bin").unlink()
    with pytest.raises(GraphnasError, match=r"lacks test_batch.bin"):
        read_cifar10(binary, records=4)
