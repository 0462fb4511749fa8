"""Writings and tokens: what a decoder has to write."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from graphnas import registry
from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Space
from graphnas.testing.rules import shuffled
from predictors.nao_tokens import START, DecisionTokens
from predictors.nao_writings import MOST_LISTED, Writings, draw
from spaces import nasbench101, nasbench201


@pytest.mark.parametrize("name", registry.names("space"))
def test_a_writing_is_valid_and_keeps_the_key(name: str) -> None:
    space = registry.get_space(name)
    writings, rng = Writings(space), np.random.default_rng(0)
    for _ in range(15):
        a = space.sample(rng)
        for made in (writings.canonical(a), writings.other(a, rng)):
            assert space.key(space.decode(made)) == space.key(a)


@pytest.mark.parametrize("space", [nasbench101.space(), nasbench101.small_space(4), nasbench201.space()], ids=repr)
def test_the_canonical_writing_is_one_for_all_writings(space: Space) -> None:
    writings, rng = Writings(space), np.random.default_rng(1)
    moved = 0
    for _ in range(30):
        a = space.sample(rng)
        b = space.decode(writings.other(a, rng))
        moved += a != b
        foreign = shuffled(Architecture(space.canonical(a).nodes), rng)
        assert writings.canonical(a) == writings.canonical(b) == writings.canonical(foreign)
    assert moved


def test_in_a_listed_space_other_writings_are_uniform_over_the_class() -> None:
    space = nasbench201.space()
    classes: dict[str, list[Decisions]] = defaultdict(list)
    for a in space.enumerate():
        classes[space.key(a)].append(space.encode(a))
    some = next(c for c in classes.values() if len(c) == 4)
    writings, rng = Writings(space), np.random.default_rng(2)
    assert writings.canonical(space.decode(some[2])) == min(some)
    found = Counter(writings.other(space.decode(some[1]), rng) for _ in range(800))
    assert set(found) == set(some)
    assert all(abs(n - 200) < 5 * np.sqrt(800 * 0.25 * 0.75) for n in found.values())


def test_where_nothing_recovers_a_writing_what_does_not_matter_is_put_first() -> None:
    # The last of nine choices says which of the others is read: 4^8 * 8 decisions, 4 * 8 architectures.
    ops = [Choice(f"c{i}", tuple("abcd"), "op") for i in range(8)]
    which = Choice("which", tuple(range(1, 9)), "input")
    template = [node("input"), *[node(c, (0,)) for c in ops], node("output", (which,))]
    space = Space("wide", template)
    assert space.writings > MOST_LISTED
    a = space.decode([3, 1, 2, 3, 0, 1, 2, 3, 2])
    assert Writings(space).canonical(a) == (0, 0, 2, 0, 0, 0, 0, 0, 2)
    rng = np.random.default_rng(0)
    b = space.decode(Writings(space).other(a, rng))
    assert b != a
    assert space.key(b) == space.key(a)


def test_draws_are_distinct_and_unknown() -> None:
    space, rng = nasbench101.small_space(3), np.random.default_rng(0)
    everything = {space.key(a) for a in space.enumerate()}
    assert len(everything) == 7
    known = set(sorted(everything)[:2])
    keys = [space.key(a) for a in draw(space, 100, known, rng)]
    assert sorted(keys) == sorted(everything - known)
    assert len(draw(space, 3, known, rng)) == 3


def test_an_architecture_of_another_space_has_no_writing() -> None:
    small, rng = nasbench101.small_space(4), np.random.default_rng(3)
    members = {small.key(a) for a in small.enumerate()}
    drawn = (nasbench101.space().sample(rng) for _ in range(100))
    stranger = next(a for a in drawn if small.key(a) not in members)
    with pytest.raises(GraphnasError, match="not a member of space 'nasbench101-4'"):
        Writings(small).canonical(stranger)


def test_equal_options_of_a_group_share_a_token() -> None:
    choices = [
        Choice("a", ("x", "y"), "op"),
        Choice("b", (0, 1, 2), "edge"),
        Choice("c", ("y", "z"), "op"),
        Choice("d", (0,)),
    ]
    template = [node("input"), *[node(c.at(*[f"{c.name}{o}" for o in c.options]), (0,)) for c in choices]]
    space = Space("mixed", [*template, node("output", range(1, 5))], order=choices)
    tokens = DecisionTokens(space)
    everything = torch.tensor(list(itertools.product(range(2), range(3), range(2), range(1))))
    ids = tokens.ids(everything)
    assert len(tokens) == 1 + 3 + 3 + 1
    assert ids[0].tolist()[0] == ids[-1].tolist()[0] - 1  # x, y
    assert (ids[everything[:, 0] == 1, 0].unique() == ids[everything[:, 2] == 0, 2].unique()).all()  # y is y
    assert len({tuple(row) for row in ids.tolist()}) == len(everything)
    assert (ids != START).all()
    for place, choice in enumerate(choices):
        allowed = torch.isfinite(tokens.allowed[place]).nonzero().flatten()
        assert set(allowed.tolist()) == set(ids[:, place].tolist())
        assert len(allowed) == len(choice.options)
