"""Tables in memory, on disk and behind the Estimator interface, on small spaces with classes in closed form."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphnas.architecture import Architecture, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.estimators.index import Classes, KeyIndex, fingerprint, ranks_of, table_keys
from graphnas.estimators.table import Table, TableEstimator
from graphnas.estimators.table_data import load_table, save_table
from graphnas.files import load_npz, save_npz
from graphnas.space import Choice, Decisions, Space

OPS = ("a", "b", "c", "skip")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GRAPHNAS_DATA", raising=False)
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fan(
    leaves: int,
    *,
    distinct: bool = True,
    valid: Callable[[Decisions], bool] | None = None,
    name: str = "fan",
    skip: str = "skip",
) -> Space:
    """``leaves`` operations on one input, summed: writings are isomorphic exactly when they are permutations."""
    ops = [Choice(f"op{i}", OPS, "op") for i in range(leaves)]
    nodes = [
        node("input"),
        *(node(op, (0,)) for op in ops),
        node("sum", range(1, leaves + 1)),
        node("output", (leaves + 1,)),
    ]
    return Space(name, nodes, semantics=Semantics(identity_ops=frozenset({skip})), distinct=distinct, valid=valid)


def multisets(leaves: int, seed: int = 0) -> tuple[np.ndarray, dict[tuple[int, ...], int]]:
    """One writing of each class, in a random order and randomly permuted, and the row of each sorted writing."""
    rng = np.random.default_rng(seed)
    rows = np.array(list(itertools.combinations_with_replacement(range(len(OPS)), leaves)))
    rows = rng.permuted(rows[rng.permutation(len(rows))], axis=1)
    return rows, {tuple(sorted(row)): i for i, row in enumerate(rows.tolist())}


def table_of(space: Space, decisions: np.ndarray, **more: object) -> Table:
    n = len(decisions)
    columns = {"validation": np.arange(n) * 0.5, "test": np.arange(n) * 0.25, "params": np.arange(n) * 3}
    return Table("tiny/set", space, decisions, columns, **more)  # type: ignore[arg-type]


def test_ranks_follow_the_order_of_the_product() -> None:
    space = Space(
        "mixed",
        [
            node("input"),
            node(Choice("x", ("a", "b", "c")), (0,)),
            node(Choice("y", ("d", "e")), (1,)),
            node("output", (2,)),
        ],
    )
    every = np.array(list(itertools.product(*map(range, space.radices))))
    np.testing.assert_array_equal(ranks_of(space, every), np.arange(6))


def test_every_writing_of_a_class_finds_the_row_of_the_class() -> None:
    space = fan(4)
    decisions, expected = multisets(4)
    estimator = TableEstimator(table_of(space, decisions, cache="tables/fan.npz"), metrics=["params"])
    for made in itertools.product(range(4), repeat=4):
        row = expected[tuple(sorted(made))]
        evaluation = estimator.evaluate(space.decode(made), seed=7)
        assert evaluation.score == 0.5 * row
        assert evaluation.metrics == {"params": 3 * row}
        assert estimator.test(space.decode(made)) == {"test": 0.25 * row}


def test_architectures_that_do_not_carry_decisions_are_found_by_key() -> None:
    space = fan(4)
    decisions, expected = multisets(4)
    for cache in ("", "tables/fan.npz", "tables/fan.npz"):  # computed, computed and stored, read
        estimator = TableEstimator(table_of(space, decisions, cache=cache))
        for made in ((0, 1, 2, 2), (3, 0, 3, 1), (3, 3, 3, 3)):
            written = space.canonical(space.decode(made))
            assert written.decisions_in(space) is None
            assert estimator.row(written) == expected[tuple(sorted(made))]
            assert estimator.row(Architecture.from_json(space.decode(made).to_json())) == expected[tuple(sorted(made))]


def test_a_space_of_all_writings_has_a_row_for_each() -> None:
    space = fan(3, distinct=False)
    every = np.array(list(itertools.product(range(4), repeat=3)))
    estimator = TableEstimator(table_of(space, every))
    for row, made in enumerate(every.tolist()):
        assert estimator.row(space.decode(made)) == row
        assert estimator.row(Architecture.from_json(space.decode(made).to_json())) == row


def test_a_large_space_is_indexed_by_key_alone() -> None:
    space = fan(12)  # 4^12 writings are too many for an array of ranks
    rng = np.random.default_rng(1)
    sorted_rows = {tuple(sorted(r)) for r in rng.integers(0, 4, (40, 12)).tolist()}
    decisions = np.array(sorted(sorted_rows))
    for _ in range(2):  # computed, then read from the cache
        estimator = TableEstimator(table_of(space, decisions, cache="tables/large.npz"))
        for row, made in enumerate(decisions.tolist()):
            assert estimator.row(space.decode(rng.permutation(made))) == row
    with pytest.raises(GraphnasError, match="too many to index"):
        Classes(space)


def test_what_is_not_in_the_table_is_an_error_that_names_it() -> None:
    decisions, _ = multisets(4)
    space = fan(4)
    keep = [i for i, row in enumerate(decisions.tolist()) if sorted(row) != [0, 0, 1, 2]]
    estimator = TableEstimator(table_of(space, decisions[keep]))
    absent = space.decode((2, 0, 1, 0))
    other = Architecture([node("input"), node("z", (0,)), node("output", (1,))])
    for architecture in (absent, space.canonical(absent), other):
        with pytest.raises(GraphnasError, match=r"table tiny/set \(34 architectures\) does not hold"):
            estimator.evaluate(architecture)


def test_test_columns_are_kept_from_the_search() -> None:
    decisions, _ = multisets(3)
    table = table_of(fan(3), decisions)
    assert TableEstimator(table, score="params").evaluate(table.space.decode(decisions[4])).score == 12
    for arguments in ({"score": "test"}, {"metrics": ["params", "test"]}):
        with pytest.raises(GraphnasError, match="must not see it"):
            TableEstimator(table, **arguments)  # type: ignore[arg-type]
    with pytest.raises(GraphnasError, match="'param'; nearest: params"):
        TableEstimator(table, metrics=["param"])
    assert TableEstimator(table_of(fan(3), decisions, test=())).test(table.space.decode(decisions[0])) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, c: (d[:, :2], c), r"integers \[n, 3\] are expected"),
        (lambda d, c: (d.astype(float), c), r"integers \[n, 3\] are expected"),
        (lambda d, c: (d[:0], {k: v[:0] for k, v in c.items()}), r"integers \[n, 3\] are expected"),
        (lambda d, c: (d + 1, c), "out of the range"),
        (lambda d, c: (d - 1, c), "out of the range"),
        (lambda d, c: (d, {**c, "params": c["params"][1:]}), "'params' has shape"),
        (lambda d, c: (d, {**c, "params": c["params"].astype(str)}), "20 numbers are expected"),
        (
            lambda d, c: (d, {**c, "test": np.where(c["test"] == 1, np.nan, c["test"])}),
            "'test' has values that are not finite",
        ),
        (lambda d, c: (d, {"validation": c["validation"]}), "'test'"),
    ],
)
def test_a_malformed_table_is_refused(
    change: Callable[..., tuple[np.ndarray, dict[str, np.ndarray]]], message: str
) -> None:
    decisions, _ = multisets(3)
    table = table_of(fan(3), decisions)
    changed, columns = change(decisions, dict(table.columns))
    with pytest.raises(GraphnasError, match=message):
        Table("tiny/set", table.space, changed, columns)


def test_two_rows_for_one_architecture_are_refused() -> None:
    with pytest.raises(GraphnasError, match="two rows for one architecture"):
        TableEstimator(table_of(fan(3), np.array([[0, 1, 2], [2, 1, 0]])))
    TableEstimator(table_of(fan(3, distinct=False), np.array([[0, 1, 2], [2, 1, 0]])))
    with pytest.raises(GraphnasError, match="two rows for one architecture"):
        TableEstimator(table_of(fan(12), np.array([[0] * 11 + [1], [1] + [0] * 11])))
    with pytest.raises(GraphnasError, match="breaks the validity rule"):
        TableEstimator(table_of(fan(3, valid=lambda d: d != (0, 1, 2)), np.array([[0, 1, 2]])))


def test_a_stale_or_broken_cache_is_recomputed_and_a_current_one_is_used(cache: Path) -> None:
    space = fan(3)
    truth = Classes(space, "c.npz").first
    path = cache / "c.npz"
    stored = load_npz(path)
    lie = np.zeros_like(truth)
    save_npz(path, {**stored, "first": lie})  # the right fingerprint: believed, which shows that the file is read
    np.testing.assert_array_equal(Classes(space, "c.npz").first, lie)
    for wrong in (
        {"fingerprint": np.array("0" * 32)},
        {"first": lie[1:]},
        {"first": lie.astype(np.int64)},
        {"first": lie + 64},
    ):
        save_npz(path, {**stored, "first": lie, **wrong})
        np.testing.assert_array_equal(Classes(space, "c.npz").first, truth)
        np.testing.assert_array_equal(load_npz(path)["first"], truth)  # and the file is repaired
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(Classes(space, "c.npz").first, truth)
    keys = table_keys(space, np.array([[0, 1, 2]]), "k.npz")
    assert table_keys(space, np.array([[2, 1, 0]]), "k.npz") == keys
    assert table_keys(space, np.array([[2, 1, 1]]), "k.npz") != keys


def test_without_a_writable_cache_everything_still_works(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    decisions, expected = multisets(3)
    estimator = TableEstimator(table_of(fan(3), decisions, cache="c.npz"))
    assert estimator.row(estimator.space.canonical(estimator.space.decode((2, 0, 1)))) == expected[0, 1, 2]


def test_the_fingerprint_changes_with_everything_that_changes_classes() -> None:
    spaces = [
        fan(3),
        fan(3, skip="a"),
        fan(3, valid=lambda d: d != (3, 3, 3)),
        fan(3, distinct=False),
        fan(2),
        fan(3, name="x"),
    ]
    assert len({fingerprint(space) for space in spaces}) == len(spaces)
    assert fingerprint(fan(3)) == fingerprint(fan(3))
    assert fingerprint(fan(12)) == fingerprint(fan(12)) != fingerprint(fan(12, skip="a"))


def test_the_fingerprint_is_the_same_in_another_process(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = """
from graphnas.estimators.index import fingerprint
from spaces.nasbench201 import space
print(fingerprint(space()))
"""
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "GRAPHNAS_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1


def test_the_key_index_agrees_with_a_dictionary() -> None:
    rng = np.random.default_rng(0)
    keys = [rng.bytes(16).hex() for _ in range(500)]
    numbers = rng.permutation(500)
    index = KeyIndex(np.array(keys, dtype="S32"), numbers)
    assert [index.find(k) for k in keys] == numbers.tolist()
    assert [index.find(w) for w in ("0" * 32, "f" * 32, keys[0][:-1], keys[0] + "0", "")] == [-1] * 5


def test_a_pickled_estimator_gives_the_same_evaluations() -> None:
    from spaces.nasbench201 import space

    rng = np.random.default_rng(0)
    decisions = np.unique(rng.integers(0, 5, (50, 6)), axis=0)
    estimator = TableEstimator(table_of(space(), decisions), metrics=["params"])
    copy = pickle.loads(pickle.dumps(estimator))
    for made in decisions.tolist():
        architecture = space().decode(made)
        assert copy.evaluate(pickle.loads(pickle.dumps(architecture))) == estimator.evaluate(architecture)
    assert copy.describe() == estimator.describe()


def test_the_digest_follows_decisions_and_scores_only() -> None:
    decisions, _ = multisets(3)
    table = table_of(fan(3), decisions)
    other = {**table.columns, "params": table.columns["params"] + 1}
    assert Table("x", table.space, decisions.astype(np.uint8), other).digest() == table.digest()
    for changed in ({**table.columns, "validation": table.columns["validation"] + 1e-9},):
        assert Table("x", table.space, decisions, changed).digest() != table.digest()
    assert table_of(fan(3), decisions[:, ::-1]).digest() != table.digest()


# -- files ----------------------------------------------------------------------------------------


def test_tables_survive_the_disk(tmp_path: Path) -> None:
    decisions, _ = multisets(3)
    table = table_of(fan(3), decisions)
    path = save_table(tmp_path / "t.npz", table.space, decisions, table.columns, "from here")
    read, columns, source = load_table(path, fan(3))
    np.testing.assert_array_equal(read, decisions)
    assert source == "from here"
    assert list(columns) == list(table.columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, table.columns[name])


def test_bad_table_files_give_one_sentence_and_are_not_written(tmp_path: Path) -> None:
    decisions, _ = multisets(3)
    space = fan(3)
    table = table_of(space, decisions)
    path = save_table(tmp_path / "t.npz", space, decisions, table.columns, "x")
    whole, arrays = path.read_bytes(), load_npz(path)
    renamed = Space("fan", [node("input"), node(Choice("op0", (*OPS[:3], "other")), (0,)), node("output", (1,))])
    for other in (fan(4), fan(3, name="y"), renamed):
        with pytest.raises(GraphnasError, match="another format or another form of space"):
            load_table(path, other)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphnasError, match="not a readable npz"):
        load_table(path, space)
    cases = [
        ({"decisions": arrays["decisions"] + 2}, "out of the range"),
        ({"decisions": arrays["decisions"][:-1]}, "is not 19 numbers"),
        ({"decisions": arrays["decisions"].astype(np.float32)}, "integers"),
        ({"column:test": arrays["column:test"][None]}, "'test' is not 20 numbers"),
        ({"column:test": arrays["column:test"].astype(str)}, "'test' is not 20 numbers"),
        ({"header": np.array("{")}, "no table of graphnas"),
        ({"header": np.array("[1]")}, "no table of graphnas"),
    ]
    for change, message in cases:
        save_npz(path, {**arrays, **change})
        with pytest.raises(GraphnasError, match=message):
            load_table(path, space)
    with pytest.raises(GraphnasError, match="'x' has shape"):
        save_table(tmp_path / "new.npz", space, decisions, {"x": np.zeros(3)}, "")
    assert not (tmp_path / "new.npz").exists()
