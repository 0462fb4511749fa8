"""NAS-Bench-101's TFRecord files, framed by an independent checksum and encoded by Google's protobuf."""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphnas.errors import GraphnasError
from spaces.nasbench101 import from_matrix
from spaces.tables import nasbench101
from spaces.tables.import_nasbench101 import convert
from spaces.tables.importers import import_benchmark
from spaces.tables.tfrecord import crc32c, message_fields


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GRAPHNAS_DATA", raising=False)
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refused(benchmark: str, source: Path, message: str, cache: Path, partial: bool = True) -> None:
    """The import fails with one sentence and leaves no table."""
    with pytest.raises(GraphnasError, match=message) as caught:
        import_benchmark(benchmark, source, partial=partial)
    assert "\n" not in str(caught.value)
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_crc32c_has_the_values_of_rfc_3720() -> None:
    vectors = {
        bytes(32): 0x8A9136AA,
        b"\xff" * 32: 0x62A8AB43,
        bytes(range(32)): 0x46DD794E,
        bytes(range(31, -1, -1)): 0x113FDB5C,
        b"123456789": 0xE3069283,
        b"": 0,
    }
    for order in itertools.islice(itertools.permutations(vectors), 0, 720, 100):
        assert crc32c(order).tolist() == [vectors[text] for text in order]


def slow_crc32c(data: bytes) -> int:
    """Bit by bit, as long division."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    def mask(crc: int) -> int:
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) % (1 << 32)

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", mask(slow_crc32c(length))) + data + struct.pack("<I", mask(slow_crc32c(data)))


def metrics_class() -> Any:
    """ModelMetrics of the benchmark's model_metrics.proto, made by Google's library."""
    pytest.importorskip("google.protobuf", reason="protobuf (pip install protobuf) is missing")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="model_metrics.proto", package="nasbench", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    evaluation = file.message_type.add(name="EvaluationData")
    names = ["current_epoch", "training_time", "train_accuracy", "validation_accuracy", "test_accuracy"]
    for number, name in enumerate(names, start=1):
        evaluation.field.add(name=name, number=number, type=kinds.TYPE_DOUBLE, label=kinds.LABEL_OPTIONAL)
    evaluation.field.add(name="checkpoint_path", number=6, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    model = file.message_type.add(name="ModelMetrics")
    model.field.add(
        name="evaluation_data",
        number=1,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_REPEATED,
        type_name=".nasbench.EvaluationData",
    )
    model.field.add(name="trainable_parameters", number=2, type=kinds.TYPE_INT32, label=kinds.LABEL_OPTIONAL)
    model.field.add(name="total_time", number=3, type=kinds.TYPE_DOUBLE, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("nasbench.ModelMetrics"))


CELLS = [
    ("0100", "input,output", 227_274),
    ("010001000", "input,conv3x3-bn-relu,output", 8_000_000),
    ("0110000100010000", "input,conv1x1-bn-relu,maxpool3x3,output", 2_000_000),
    ("0110001100010000", "input,conv3x3-bn-relu,conv1x1-bn-relu,output", 3_000_000),
]


def record(name: str, epochs: int, cell: tuple[str, str, int], final: Sequence[float], evaluations: int = 3) -> bytes:
    metrics = metrics_class()(trainable_parameters=cell[2], total_time=9.0)
    for i in range(evaluations):
        valid, test, seconds = final if i == evaluations - 1 else (0.1, 0.2, 1.0)
        metrics.evaluation_data.add(
            current_epoch=epochs * i / 2,
            training_time=seconds,
            train_accuracy=1.0,
            validation_accuracy=valid,
            test_accuracy=test,
            checkpoint_path="x/y",
        )
    return json.dumps([name, epochs, cell[0], cell[1], base64.b64encode(metrics.SerializeToString()).decode()]).encode()


def tfrecord(path: Path, epochs: Sequence[int] = (108,)) -> tuple[Path, dict[tuple[int, int], np.ndarray]]:
    rng = np.random.default_rng(0)
    results = {(c, e): rng.random((3, 3)) for c in range(len(CELLS)) for e in epochs}
    frames = [
        frame(record(f"{c:032x}", e, CELLS[c], runs[run].tolist()))
        for run in range(3)
        for (c, e), runs in results.items()
    ]
    path.write_bytes(b"".join(frames))
    return path, results


def test_messages_of_googles_library_are_read_field_by_field() -> None:
    metrics = metrics_class()(trainable_parameters=300, total_time=2.5)
    metrics.evaluation_data.add(validation_accuracy=0.125, checkpoint_path="abc")
    fields = list(message_fields(metrics.SerializeToString()))
    assert fields[1:] == [(2, 300), (3, 2.5)]
    assert list(message_fields(fields[0][1])) == [(4, 0.125), (6, b"abc")]  # type: ignore[arg-type]
    for size in (1, 4, 12, 20):
        with pytest.raises(ValueError, match="truncated"):
            list(message_fields(metrics.SerializeToString()[:-1][:size]))
    with pytest.raises(ValueError, match="ten bytes"):
        list(message_fields(b"\x08" + b"\xff" * 11))


@pytest.mark.parametrize("epochs", [(108,), (4, 12, 36, 108)])
def test_nasbench101_records_become_means_over_runs(tmp_path: Path, cache: Path, epochs: tuple[int, ...]) -> None:
    source, results = tfrecord(tmp_path / "nasbench_only108.tfrecord", epochs)
    assert (
        convert(source, partial=True)
        == import_benchmark("nasbench101", source, partial=True)
        == cache / "tables" / "nasbench101.npz"
    )
    lower = [f"validation_{e}" for e in epochs if e != 108]
    estimator = nasbench101.cifar10(metrics=["params", "training_time", *lower])
    assert len(estimator.table) == len(CELLS)
    for c, (bits, ops, params) in enumerate(CELLS):
        size = len(ops.split(","))
        matrix = np.array(list(map(int, bits))).reshape(size, size)
        architecture = estimator.space.canonical(from_matrix(matrix, ops.split(",")))
        valid, test, seconds = results[c, 108].mean(axis=0)
        evaluation = estimator.evaluate(architecture)
        assert evaluation.score == pytest.approx(100 * valid)
        assert estimator.test(architecture) == {"test": pytest.approx(100 * test)}
        assert evaluation.metrics["params"] == params
        assert evaluation.metrics["training_time"] == pytest.approx(seconds)
        for e in epochs[:-1]:
            assert evaluation.metrics[f"validation_{e}"] == pytest.approx(100 * results[c, e][:, 0].mean())


def test_damaged_nasbench101_files_are_refused(tmp_path: Path, cache: Path) -> None:
    source, _ = tfrecord(tmp_path / "x.tfrecord")
    whole = source.read_bytes()
    refused("nasbench101", source, "holds 4 cells; the complete benchmark has 423624", cache, partial=False)
    for place in range(0, len(whole), 997):
        changed = bytearray(whole)
        changed[place] ^= 4
        source.write_bytes(changed)
        refused("nasbench101", source, "wrong checksum|truncated", cache)
    for size in (5, 11, 100, len(whole) - 1):
        source.write_bytes(whole[:size])
        refused("nasbench101", source, "truncated", cache)
    source.write_bytes(struct.pack("<QI", 1 << 40, 0) + bytes(100))
    refused("nasbench101", source, "truncated or no TFRecord", cache)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: b"not json",
        lambda: b"[1, 2, 3]",
        lambda: json.dumps(["f" * 32, 108, "0100", "input,output", "!!!"]).encode(),
        lambda: record("f" * 32, 109, CELLS[0], (0.5, 0.5, 1)),
        lambda: record("f" * 32, 108, CELLS[0], (1.5, 0.5, 1)),
        lambda: record("f" * 32, 108, CELLS[0], (0.5, float("nan"), 1)),
        lambda: record("f" * 32, 108, CELLS[0], (0.5, 0.5, 1), evaluations=2),
        lambda: record("f" * 32, 108, ("0100", "input,output,output", 5), (0.5, 0.5, 1)),
        lambda: record("f" * 32, 108, ("010001000", "input,conv7x7,output", 5), (0.5, 0.5, 1)),
        lambda: record("f" * 32, 108, ("0010", "input,output", 5), (0.5, 0.5, 1)),
        lambda: record("0" * 32, 108, ("0100", "input,output", 5), (0.5, 0.5, 1)),  # other parameters than before
    ],
)
def test_malformed_nasbench101_records_are_named(tmp_path: Path, cache: Path, bad: Any) -> None:
    source, _ = tfrecord(tmp_path / "x.tfrecord")
    source.write_bytes(source.read_bytes() + frame(bad()))
    refused("nasbench101", source, "record 12 is not one of NAS-Bench-101", cache)


def test_one_cell_under_two_hashes_is_refused(tmp_path: Path, cache: Path) -> None:
    twin = ("0110001000010000", "input,conv1x1-bn-relu,maxpool3x3,output", 5)  # input > conv > pool > out, input > pool
    source = tmp_path / "x.tfrecord"
    two_branches = ("0110000100010000", "input,maxpool3x3,conv1x1-bn-relu,output", CELLS[2][2])  # CELLS[2] exchanged
    frames = [
        frame(record("a" * 32, 108, CELLS[2], (0.5, 0.5, 1))),
        frame(record("b" * 32, 108, two_branches, (0.6, 0.5, 1))),
    ]
    source.write_bytes(b"".join(frames))
    refused("nasbench101", source, "one cell under two hashes", cache)
    source.write_bytes(frames[0] + frame(record("b" * 32, 108, twin, (0.6, 0.5, 1))))
    import_benchmark("nasbench101", source, partial=True)
