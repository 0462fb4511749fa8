"""Spaces: decisions and nodes say the same, templates with holes of every kind, and refusals in one sentence."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from graphnas import registry
from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Space
from graphnas.tasks.base import Signature
from graphnas.testing import check_space

OPS = Choice("op", ("conv", "pool"), "op")
WIDTH = Choice("width", (8, 16, 32), "width")
SOURCE = Choice("source", (0, 1), "edge")
EXTRA = Choice("extra", (False, True), "edge")


def every_kind(**options: Any) -> Space:
    """An open op, parameter, input, and an edge that may be missing; ``width`` stands at two places."""
    nodes = [
        node("input"),
        node(OPS, [0], width=WIDTH),
        node("dense", [SOURCE], width=WIDTH.at("s", "m", "l")),
        node("sum", [EXTRA.at(None, 0), 1, 2]),
        node("output", [3]),
    ]
    return Space("every kind", nodes, **options)


def test_decoding_fills_every_hole() -> None:
    space = every_kind()
    assert [c.name for c in space.choices] == ["op", "width", "source", "extra"]
    assert space.size == space.writings == 2 * 3 * 2 * 2
    assert space.decode([1, 2, 0, 1]) == Architecture(
        [
            node("input"),
            node("pool", [0], width=32),
            node("dense", [0], width="l"),
            node("sum", [0, 1, 2]),
            node("output", [3]),
        ]
    )
    assert space.decode([0, 0, 1, 0]).nodes[2:4] == (node("dense", [1], width="s"), node("sum", [1, 2]))
    assert space.describe(space.decode([1, 2, 0, 1])) == {"op": "pool", "width": 32, "source": 0, "extra": True}
    check_space(space)


def test_encoding_reads_the_decisions_off_the_nodes() -> None:
    space = every_kind()
    for decisions in itertools.product(*map(range, space.radices)):
        plain = Architecture(space.decode(decisions).nodes)
        assert plain.decisions_in(space) is None
        assert space.encode(plain) == decisions


def test_missing_edges_are_matched_with_backtracking() -> None:
    """Slots (none or 0), (none or 1), (0 or 1): what is written decides which slots are empty, all together."""
    a, b, c = Choice("a", (0, 1)), Choice("b", (0, 1)), Choice("c", (0, 1))
    nodes = [node("input"), node("x", [0]), node("sum", [a.at(None, 0), b.at(None, 1), c]), node("output", [2])]
    space = Space("slots", nodes)
    for decisions in itertools.product(range(2), repeat=3):
        made = Architecture(space.decode(decisions).nodes)
        assert space.decode(space.encode(made)) == made


def test_the_order_of_decisions_can_be_given() -> None:
    space = every_kind(order=[EXTRA, SOURCE, WIDTH, OPS])
    assert space.decode([1, 0, 2, 1]) == every_kind().decode([1, 2, 0, 1])
    check_space(space)


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ([0, 0, 0], "has 4 decisions, but 3 are given"),
        ([0, 0, 0, 0, 0], "has 4 decisions, but 5 are given"),
        ([2, 0, 0, 0], "decision 'op' is 2; it must be between 0 and 1"),
        ([0, -1, 0, 0], "decision 'width' is -1; it must be between 0 and 2"),
        ([0, 0, 10**30, 0], "decision 'source' is 1000"),
    ],
)
def test_wrong_decisions_are_refused(decisions: list[int], said: str) -> None:
    with pytest.raises(GraphnasError, match=said):
        every_kind().decode(decisions)


@pytest.mark.parametrize("decisions", ["abcd", [float("nan")] * 4, [0.7, 0, 0, 0]])
def test_decisions_that_are_no_integers_are_refused(decisions: Any) -> None:
    with pytest.raises(GraphnasError):
        every_kind().decode(decisions)


def test_numpy_integers_are_decisions() -> None:
    space = every_kind()
    assert space.decode(np.array([1, 2, 0, 1])).decisions_in(space) == (1, 2, 0, 1)


def test_the_validity_rule_is_kept() -> None:
    space = every_kind(valid=lambda d: d[0] == d[2])
    assert space.size == 12
    with pytest.raises(GraphnasError, match=r"decisions \[0, 0, 1, 0\] break the validity rule"):
        space.decode([0, 0, 1, 0])
    assert not space.contains(every_kind().decode([0, 0, 1, 0]))
    assert space.contains(every_kind().decode([1, 0, 1, 0]))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("input"), node("output", [0])],
        [node("input"), node("conv", [0], width=64), node("output", [1])],
        [node("input"), node("no_such_op", [0]), node("output", [1])],
    ],
)
def test_foreign_architectures_are_refused(nodes: list[Node]) -> None:
    space = every_kind()
    assert not space.contains(Architecture(nodes))
    with pytest.raises(GraphnasError, match="is not a member of space 'every kind'"):
        space.encode(Architecture(nodes))


def test_members_of_another_writing_are_found_by_their_key() -> None:
    space = registry.get_space("nasbench201")
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = space.sample(rng)
        form = space.canonical(a)
        read = Architecture.from_json(json.dumps(json.loads(form.to_json())))
        assert space.key(space.decode(space.encode(read))) == space.key(a)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: every_kind(order=[OPS, WIDTH]), r"the order of choices lacks \['extra', 'source'\]"),
        (lambda: OPS.at(1, 2, 3), "choice 'op' has 2 options, but 3 values are given"),
        (
            lambda: Space("s", [node("input"), node(OPS, [0]), node(Choice("op", (1,)), [1]), node("output", [2])]),
            "two choices of the same name",
        ),
    ],
)
def test_inconsistent_spaces_are_refused(make: Any, said: str) -> None:
    with pytest.raises(GraphnasError, match=said):
        make()


def test_large_spaces_are_not_enumerated() -> None:
    inner = [node(Choice(f"c{i}", tuple("abcdefgh")), (i,)) for i in range(8)]
    nodes = [node("input"), *inner, node("output", (8,))]
    space = Space("large", nodes, valid=lambda d: d[0] < 4)
    assert not space.enumerable
    with pytest.raises(GraphnasError, match=r"1\.68e\+07 writings: too many to enumerate"):
        _ = space.representatives
    with pytest.raises(GraphnasError, match="pass count="):
        _ = space.size
    assert Space("large", nodes).size == 8**8
    check_space(Space("large", nodes, count=3), samples=5)


def test_an_architecture_without_neighbours_cannot_be_mutated() -> None:
    space = every_kind(valid=lambda d: d == (0, 0, 0, 0))
    a = space.decode([0, 0, 0, 0])
    rng = np.random.default_rng(0)
    assert list(space.neighbours(a)) == []
    with pytest.raises(GraphnasError, match="no valid neighbour"):
        space.mutate(a, rng)
    with pytest.raises(GraphnasError, match="no open decision in group 'colour'"):
        every_kind().mutate(a, rng, "colour")


def test_rare_valid_changes_are_found() -> None:
    """One of many changes is valid: rejection gives up, the neighbourhood does not."""
    inner = [node(Choice(f"c{i}", tuple(range(50)), "op"), (i,), kind=0) for i in range(4)]
    allowed = {(0, 0, 0, 0), (0, 0, 0, 49)}
    space = Space("rare", [node("input"), *[n._replace(op="x", params=(("k", n.op),)) for n in inner], node("output", [4])],
                  valid=allowed.__contains__)  # fmt: skip
    rng = np.random.default_rng(0)
    for _ in range(3):
        assert space.encode(space.mutate(space.decode([0, 0, 0, 0]), rng)) == (0, 0, 0, 49)


def test_a_distinct_space_counts_keys() -> None:
    inner = [node(Choice(f"c{i}", ("a", "b", "skip"), "op"), (i,)) for i in range(3)]
    nodes = [node("input"), *inner, node("output", (3,))]
    semantics = Semantics(identity_ops=frozenset({"skip"}))
    assert Space("words", nodes, semantics=semantics).size == 27
    space = Space("words", nodes, semantics=semantics, distinct=True)
    assert space.size == 1 + 2 + 4 + 8
    check_space(space)


def test_networks_are_refused_in_one_sentence() -> None:
    space = registry.get_space("nasbench201")
    a = space.decode([3] * 6)
    with pytest.raises(GraphnasError, match="defines no networks"):
        every_kind().network(every_kind().decode([0] * 4), Signature("image", (3, 8, 8), 10))
    with pytest.raises(GraphnasError, match="builds networks for image tasks, not for 'node'"):
        space.network(a, Signature("node", (12,), 3, 20, 40))
    with pytest.raises(GraphnasError, match="unknown size of nasbench201 networks 'chanels'; nearest: channels"):
        space.network(a, Signature("image", (3, 8, 8), 10), chanels=3)
