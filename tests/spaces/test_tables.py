"""The benchmarks' tables against published facts and independent canonical forms."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from graphnas.architecture import Architecture
from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.table import TableEstimator
from graphnas.foreign import load_pickle
from spaces.nasbench101 import from_matrix, to_matrix
from spaces.nasbench201 import OPS as OPS201
from spaces.nasbench201 import from_string
from spaces.nasbench_graph import LINKS, OPS, from_number
from spaces.tables import nasbench101, nasbench201, nasbench_graph


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHNAS_CACHE", str(folder))
        yield folder


def data(name: str) -> Path:
    path = find(name)
    if path is None:
        pytest.skip(f"{name} is missing: set GRAPHNAS_DATA to a folder that holds it")
    return path


# -- NAS-Bench-201 --------------------------------------------------------------------------------

FACTORIES = {"c10": nasbench201.cifar10, "c100": nasbench201.cifar100, "in16": nasbench201.imagenet16_120}


@pytest.mark.parametrize(
    ("prefix", "name", "best", "all_skip"),
    [
        ("c10", "nasbench201/cifar10", 94.37, 54.30),
        ("c100", "nasbench201/cifar100", 73.51, 15.61),
        ("in16", "nasbench201/imagenet16-120", 47.31, 16.32),
    ],
)
def test_nasbench201_has_the_published_accuracies(prefix: str, name: str, best: float, all_skip: float) -> None:
    data("nb201.npz")
    estimator = FACTORIES[prefix]()
    assert estimator.name == name
    assert len(estimator.table) == 15_625
    assert estimator.table.columns["test"].max() == pytest.approx(best, abs=0.005)
    skips = from_string(
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    )
    assert estimator.test(skips)["test"] == pytest.approx(all_skip, abs=0.01)


@pytest.mark.parametrize("prefix", list(FACTORIES))
def test_nasbench201_rows_are_in_the_official_order(prefix: str) -> None:
    with np.load(data("nb201.npz"), allow_pickle=False) as raw:
        ops, names = raw["ops"], raw["op_names"].tolist()
        validation, test = raw[f"{prefix}_val200"], raw[f"{prefix}_test200"]
    estimator = FACTORIES[prefix]()
    for i, chosen in enumerate(ops.tolist()):
        a, b, c, d, e, f = (names[o] for o in chosen)
        architecture = from_string(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")
        assert estimator.row(architecture) == i
        assert estimator.evaluate(architecture).score == pytest.approx(float(validation[i]), abs=1e-5)
        if i % 100 == 0:
            assert estimator.test(architecture)["test"] == pytest.approx(float(test[i]), abs=1e-5)
    first = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    assert estimator.row(from_string(first)) == 0  # as the benchmark's own manual shows


def test_nasbench201_parameters_agree_with_their_closed_form() -> None:
    """Five cells at each of 16, 32 and 64 channels; a k x k convolution has k^2 C^2 + 2 C parameters."""
    data("nb201.npz")
    estimator = nasbench201.cifar10(metrics=["params", "flops"])
    params = {k: 5 * sum(k * k * c * c + 2 * c for c in (16, 32, 64)) for k in (1, 3)}
    multiply_adds = {k: 5 * sum((k * c * s) ** 2 for c, s in ((16, 32), (32, 16), (64, 8))) for k in (1, 3)}
    empty = estimator.evaluate(from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")).metrics
    for i in range(0, 15_625, 7):
        architecture = estimator.space.decode(estimator.table.decisions[i])
        used = Counter(OPS201[d] for d in estimator.table.decisions[i])
        ones, threes = used["nor_conv_1x1"], used["nor_conv_3x3"]
        metrics = estimator.evaluate(architecture).metrics
        assert metrics["params"] == empty["params"] + ones * params[1] + threes * params[3]
        assert metrics["flops"] == empty["flops"] + ones * multiply_adds[1] + threes * multiply_adds[3]


def test_nasbench201_latencies_belong_to_the_same_rows() -> None:
    data("nb201.npz"), data("nb201_latency_help.npz")
    table = nasbench201.table("cifar10", latencies=True)
    devices = [name for name in table.columns if name.startswith("latency/")]
    assert len(devices) == 27
    agreement = [spearmanr(table.columns["flops"], table.columns[name]).statistic for name in devices]
    assert np.median(agreement) > 0.7
    shuffled = np.random.default_rng(0).permutation(table.columns["flops"])
    assert abs(spearmanr(shuffled, table.columns[devices[0]]).statistic) < 0.05
    evaluation = nasbench201.cifar10(metrics=[devices[3]]).evaluate(table.space.decode(table.decisions[77]))
    assert evaluation.metrics == {devices[3]: pytest.approx(float(table.columns[devices[3]][77]))}


@pytest.mark.parametrize("damage", ["truncated", "short", "order", "range"])
def test_a_damaged_compact_file_is_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(data("nb201.npz"), allow_pickle=False) as raw:
        arrays = dict(raw)
    if damage == "short":
        arrays = {name: a[:-1] if len(a) == 15_625 else a for name, a in arrays.items()}
    elif damage == "order":
        arrays["op_names"] = arrays["op_names"][::-1]
    elif damage == "range":
        arrays["c10_val200"] = arrays["c10_val200"] * 2
    path = tmp_path / "nb201.npz"
    np.savez(path, **arrays)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path))
    with pytest.raises(GraphnasError, match=r"get it again|get or import it again") as caught:
        nasbench201.cifar10()
    assert "\n" not in str(caught.value)


def test_missing_tables_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    for factory, command in ((nasbench201.cifar10, "nasbench201"), (nasbench101.cifar10, "nasbench101")):
        with pytest.raises(GraphnasError, match=rf"is missing .*graphnas import {command} FILE"):
            factory()
    monkeypatch.setattr(nasbench_graph, "_PACKAGE", "a-package-that-is-not-there")
    with pytest.raises(GraphnasError, match="table of cora is missing; run `pip install"):
        nasbench_graph.cora()
    with pytest.raises(GraphnasError, match=r"'cifar'; nearest: cifar"):
        nasbench201.table("cifar")


# -- NAS-Bench-101 --------------------------------------------------------------------------------


def test_the_nasbench101_sample_is_looked_up_by_isomorphism_class() -> None:
    path = data("nb101_500.npz")
    estimator = nasbench101.cifar10(metrics=["params"])
    with np.load(path, allow_pickle=False) as raw:
        names = raw["op_names"].tolist()
        rows = list(zip(raw["adj"], raw["ops"], raw["val_accuracy"].tolist(), raw["params"].tolist(), strict=True))
    runs: dict[int, set[float]] = {}
    for matrix, ops, accuracy, params in rows:
        architecture = from_matrix(matrix, [names[o] for o in ops])
        pruned = from_matrix(*to_matrix(architecture))
        row = estimator.row(architecture)
        assert estimator.row(pruned) == estimator.row(estimator.space.canonical(architecture)) == row
        runs.setdefault(row, set()).add(accuracy)
        assert estimator.evaluate(architecture).metrics["params"] == pytest.approx(1e6 * params, rel=0.01)
        assert estimator.test(architecture) == {}
    assert sorted(runs) == list(range(len(estimator.table)))
    assert max(map(len, runs.values())) == 3  # the benchmark trained every cell three times
    for row, values in runs.items():
        assert estimator.table.columns["validation"][row] == pytest.approx(sum(values) / len(values), abs=1e-5)
    assert "sample of 500 runs" in estimator.describe()["description"]
    conv = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    missing = from_matrix(conv, ["input", "maxpool3x3", "output"])
    if estimator.space.key(missing) not in {
        estimator.space.key(estimator.space.decode(d)) for d in estimator.table.decisions
    }:
        with pytest.raises(GraphnasError, match=rf"nasbench101/cifar10 \({len(estimator.table)} architectures\)"):
            estimator.evaluate(missing)


# -- NAS-Bench-Graph ------------------------------------------------------------------------------


def tree(link: int, ops: tuple[int, ...]) -> str:
    """An independent canonical form: every node has one input, so the graph is a tree, written with sorted children.

    Skips are replaced by what they read; stars count how often a node feeds the output; the raw input does so alone.
    """
    parents = LINKS[link]
    stands_for = [0]
    for i, op in enumerate(ops, start=1):
        stands_for.append(stands_for[parents[i - 1]] if OPS[op] == "skip" else i)
    children: dict[int, list[int]] = {i: [] for i in range(5)}
    for i, op in enumerate(ops, start=1):
        if OPS[op] != "skip":
            children[stands_for[parents[i - 1]]].append(i)
    outputs = Counter(stands_for[i] for i in range(1, 5) if i not in parents)
    if len(outputs) > 1:
        del outputs[0]

    def write(i: int) -> str:
        label = OPS[ops[i - 1]] if i else "input"
        return f"{label}{'*' * outputs[i]}({','.join(sorted(map(write, children[i])))})"

    return write(0)


WRITINGS = list(itertools.product(range(9), repeat=5))


@pytest.fixture(scope="module")
def cora(cache: Path) -> TableEstimator:
    return nasbench_graph.cora()


def test_nasbench_graph_holds_exactly_the_architectures_of_the_space(cora: TableEstimator) -> None:
    space = cora.space
    held = {space.key(space.decode(d)) for d in cora.table.decisions}
    assert len(cora.table) == len(held) == 26_206
    assert held == {space.key(architecture) for architecture in space.enumerate()}


def test_every_writing_finds_the_row_of_its_independent_canonical_form(cora: TableEstimator) -> None:
    expected = {tree(link, tuple(ops)): row for row, (link, *ops) in enumerate(cora.table.decisions.tolist())}
    assert len(expected) == 26_206
    found = 0
    for link, *ops in WRITINGS:
        if ops == [8, 8, 8, 8]:
            with pytest.raises(GraphnasError, match="validity rule"):
                cora.space.decode((link, *ops))
            continue
        architecture = cora.space.decode((link, *ops))
        assert cora.row(architecture) == expected[tree(link, tuple(ops))]
        found += 1
    assert found == 9**5 - 9


def test_writings_find_the_row_that_the_package_itself_finds(cora: TableEstimator) -> None:
    reference = pytest.importorskip("nas_bench_graph", reason="the package nas-bench-graph is missing")
    rng = np.random.default_rng(0)
    for made in rng.integers(0, 9, (3000, 5)).tolist():
        if made[1:] == [8, 8, 8, 8]:
            continue
        number = reference.Arch(list(LINKS[made[0]]), [OPS[o] for o in made[1:]]).valid_hash()
        assert cora.row(cora.space.decode(made)) == cora.row(from_number(number))
        assert cora.table.decisions[cora.row(cora.space.decode(made))].tolist() == [
            number // 10**k % 10 for k in (4, 3, 2, 1, 0)
        ]


def test_twin_leaves_can_be_exchanged_in_any_writing(cora: TableEstimator) -> None:
    architecture = cora.space.decode((2, 0, 1, 2, 3))  # links (0, 0, 1, 1): the last two are leaves below the first
    other = cora.space.decode((2, 0, 1, 3, 2))
    different = cora.space.decode((2, 1, 0, 2, 3))
    assert cora.evaluate(architecture) == cora.evaluate(other)
    assert cora.row(architecture) != cora.row(different)
    assert cora.row(cora.space.canonical(architecture)) == cora.row(architecture)
    assert cora.row(Architecture.from_json(other.to_json())) == cora.row(architecture)


@pytest.mark.parametrize(
    ("dataset", "best"),
    [
        ("cora", 83.13),
        ("citeseer", 71.57),
        ("pubmed", 78.60),
        ("cs", 91.26),
        ("physics", 93.00),
        ("photo", 92.79),
        ("computers", 85.58),
        ("arxiv", 72.39),
        ("proteins", 79.26),
    ],
)
def test_nasbench_graph_has_the_published_best_results(dataset: str, best: float) -> None:
    factory = getattr(nasbench_graph, dataset)
    estimator: TableEstimator = factory()
    assert estimator.name == f"nasbench_graph/{dataset}"
    assert estimator.table.columns["test"].max() == pytest.approx(best, abs=0.0051)
    assert len(estimator.table) == (2_021 if dataset == "proteins" else 26_206)


def test_columns_are_those_of_the_official_file_before_and_after_caching(cora: TableEstimator, cache: Path) -> None:
    package = nasbench_graph._package()
    assert package is not None
    official = load_pickle(package[1] / "cora.bench")
    assert (cache / "tables" / "nasbench_graph" / "cora.npz").is_file()
    for table in (cora.table, nasbench_graph.table("cora")):
        for row in range(0, 26_206, 97):
            link, *ops = table.decisions[row].tolist()
            record = official[int("".join(map(str, (link, *ops))))]
            assert table.columns["validation"][row] == pytest.approx(100 * record["valid_perf"])
            assert table.columns["test"][row] == pytest.approx(100 * record["perf"])
            assert table.columns["latency"][row] == pytest.approx(1e3 * record["latency"])
            assert table.columns["params"][row] == round(1e6 * float(record["para"]))


def test_proteins_uses_the_same_numbers_but_five_operations(cora: TableEstimator) -> None:
    proteins = nasbench_graph.proteins()
    used = {OPS[o] for o in np.unique(proteins.table.decisions[:, 1:])}
    assert used == {"gcn", "sage", "arma", "fc", "skip"}
    rows = {cora.row(cora.space.decode(d)) for d in proteins.table.decisions}
    assert len(rows) == 2_021
    allowed = [w for w in WRITINGS if all(OPS[o] in used for o in w[1:]) and w[1:] != (8, 8, 8, 8)]
    possible = {tree(link, tuple(ops)) for link, *ops in allowed}
    assert {tree(link, tuple(ops)) for link, *ops in proteins.table.decisions.tolist()} == possible
    with pytest.raises(GraphnasError, match=r"nasbench_graph/proteins \(2021 architectures\) does not hold"):
        proteins.evaluate(from_number(0))


def test_a_table_of_another_package_version_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from graphnas.estimators.table_data import load_table, save_table

    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path))
    table = nasbench_graph.table("cora")
    path = tmp_path / "tables" / "nasbench_graph" / "cora.npz"
    wrong = {**table.columns, "validation": table.columns["validation"] * 0}
    for source, used in (
        ("nas-bench-graph 0.1, light/cora.bench", table.columns),
        ("NAS-Bench-Graph, cora0.bench", wrong),
    ):
        save_table(path, table.space, table.decisions, wrong, source)
        np.testing.assert_array_equal(nasbench_graph.table("cora").columns["validation"], used["validation"])
    path.write_bytes(b"broken")
    np.testing.assert_array_equal(nasbench_graph.table("cora").columns["validation"], table.columns["validation"])
    np.testing.assert_array_equal(load_table(path, table.space)[1]["validation"], table.columns["validation"])


def test_tables_import_neither_torch_nor_the_package(cora: TableEstimator, cache: Path) -> None:
    code = """
import sys
from spaces.tables import nasbench_graph
nasbench_graph.cora()
nasbench_graph.proteins()
print(sorted({"torch", "nas_bench_graph", "networkx", "pandas"} & set(sys.modules)))
"""
    made = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == "[]"
