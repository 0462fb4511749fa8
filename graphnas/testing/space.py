"""The rules that every Space keeps."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space
from graphnas.tasks.base import Signature
from graphnas.testing.rules import expect, global_randomness_untouched, shuffled

SMALL = 50_000
"""Up to this many writings a space is enumerated."""


def check_space(
    space: Space,
    seed: int = 0,
    samples: int = 50,
    *,
    signature: Signature | None = None,
    size: Mapping[str, float] | None = None,
) -> None:
    """Check that a space keeps the rules that strategies, tables and predictors rely on.

    Args:
        space: the space to check.
        seed: of the random architectures.
        samples: how many random architectures.
        signature: when given, networks are built and compiled for a task with this signature.
        size: the size of these networks; choose a small one.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    rng = np.random.default_rng(seed)
    with global_randomness_untouched(f"space {space.name!r}"):
        drawn = [space.sample(rng) for _ in range(samples)]
        _sampling(space, drawn, seed)
        for architecture in drawn:
            _writing(space, architecture)
            _equality(space, architecture, rng)
            _neighbourhood(space, architecture)
            _mutation(space, architecture, rng)
        for a, b in zip(drawn, reversed(drawn), strict=True):
            _crossover(space, a, b, rng)
        if space.writings <= SMALL:
            _enumeration(space, drawn, rng)
        _pickling(space, drawn)
        if signature is not None:
            for architecture in drawn[:5]:
                _networks(space, architecture, signature, dict(size or {}))


def _sampling(space: Space, drawn: Sequence[Architecture], seed: int) -> None:
    rng = np.random.default_rng(seed)
    again = [space.sample(rng) for _ in drawn]
    expect(again == list(drawn), "sample: the same seed must give the same architectures")
    for a in drawn:
        expect(space.is_valid(space.encode(a)), f"sample: {a!r:.200} breaks the validity rule")
        expect(space.contains(a), f"contains: {a!r:.200} was sampled, but is not contained")


def _writing(space: Space, a: Architecture) -> None:
    """Decisions, nodes and JSON say the same."""
    decisions = space.encode(a)
    expect(len(decisions) == len(space.choices), f"encode: {decisions} needs one decision for each choice")
    decoded = space.decode(decisions)
    expect(decoded == a, f"decode(encode(a)) must give the nodes of {a!r:.200}")
    expect(space.encode(decoded) == decisions, f"encode(decode(d)) must give d = {decisions}")
    plain = Architecture.from_json(a.to_json())
    expect(plain == a, f"to_json and from_json must give back {a!r:.200}")
    expect(space.contains(plain), f"contains: {a!r:.200} is not recognised after a round trip through JSON")
    expect(space.decode(space.encode(plain)) == a, f"encode: {a!r:.200} is misread after a round trip through JSON")
    described = space.describe(a)
    expect(list(described) == [c.name for c in space.choices], "describe must name all choices in their order")


def _equality(space: Space, a: Architecture, rng: np.random.Generator) -> None:
    """The key does not depend on how the DAG is written."""
    key = space.key(a)
    expect(space.key(space.decode(space.encode(a))) == key, f"decode(encode(a)) changes the key of {a!r:.200}")
    other = shuffled(Architecture(a.nodes), rng)
    expect(space.key(other) == key, f"key changes when the nodes are written in another order: {other!r:.200}")
    form = space.canonical(a)
    expect(space.key(form) == key, f"the canonical form of {a!r:.200} has another key")
    expect(space.canonical(other) == form, f"the canonical form depends on the order of the nodes: {other!r:.200}")
    expect(space.canonical(form) == form, f"the canonical form of a canonical form differs: {form!r:.200}")
    if space.writings <= SMALL:
        found = space.decode(space.encode(other))
        expect(space.key(found) == key, f"encode finds decisions with another key for {other!r:.200}")


def _changes(space: Space, decisions: Decisions, group: str | None = None) -> set[Decisions]:
    """All valid decisions that differ in one place, by definition."""
    return {
        made
        for i, choice in enumerate(space.choices)
        for d in range(len(choice.options))
        if d != decisions[i] and (group is None or choice.group == group)
        if space.is_valid(made := (*decisions[:i], d, *decisions[i + 1 :]))
    }


def _neighbourhood(space: Space, a: Architecture) -> None:
    decisions = space.encode(a)
    near = [space.encode(n) for n in space.neighbours(a)]
    expect(len(set(near)) == len(near), f"neighbours yields one change of {decisions} twice")
    expect(set(near) == _changes(space, decisions), f"neighbours of {decisions} are not all valid single changes")


def _mutation(space: Space, a: Architecture, rng: np.random.Generator) -> None:
    decisions = space.encode(a)
    groups = dict.fromkeys(c.group for c in space.choices if len(c.options) > 1)
    for group in (None, *groups):
        allowed = _changes(space, decisions, group)
        where = "" if group is None else f" of group {group!r}"
        try:
            made = space.encode(space.mutate(a, rng, group))
        except GraphnasError:
            expect(not allowed, f"mutate finds no valid change of {decisions}{where}, but there is one")
            continue
        expect(made in allowed, f"mutate must change exactly one decision{where}: {decisions} became {made}")


def _crossover(space: Space, a: Architecture, b: Architecture, rng: np.random.Generator) -> None:
    first, second = space.encode(a), space.encode(b)
    child = space.encode(space.crossover(a, b, rng))
    expect(space.is_valid(child), f"crossover of {first} and {second} gives the invalid {child}")
    inherited = all(d in pair for d, pair in zip(child, zip(first, second, strict=True), strict=True))
    expect(inherited, f"crossover must take every decision from a parent: {first} and {second} gave {child}")


def _enumeration(space: Space, drawn: Sequence[Architecture], rng: np.random.Generator) -> None:
    everything = list(space.enumerate())
    expect(len(everything) == space.size, f"enumerate yields {len(everything)} architectures, but size is {space.size}")
    written = {space.encode(a) for a in everything}
    expect(len(written) == space.size, "enumerate yields one architecture twice")
    expect(all(map(space.is_valid, written)), "enumerate yields an invalid architecture")
    keys = {space.key(a) for a in everything}
    if space.distinct:
        expect(len(keys) == space.size, "enumerate yields two writings of one key, although the space is distinct")
    expect(all(space.key(a) in keys for a in drawn), "sample gives an architecture that enumerate does not")


def _pickling(space: Space, drawn: Sequence[Architecture]) -> None:
    try:
        copied_space, copies = pickle.loads(pickle.dumps((space, list(drawn))))  # our own bytes
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"a space must be picklable, for worker processes; define its rules at module level ({error})"
        ) from None
    for a, copied in zip(drawn, copies, strict=True):
        expect(copied == a, f"pickling changes {a!r:.200}")
        expect(space.key(copied) == space.key(a), f"pickling changes the key of {a!r:.200}")
        same = copied_space.key(copied_space.decode(space.encode(a))) == space.key(a)
        expect(same, f"a pickled copy of the space gives {a!r:.200} another key")


def _networks(space: Space, a: Architecture, signature: Signature, size: Mapping[str, float]) -> None:
    from graphnas.compile import compile
    from graphnas.cost import cost

    network = space.network(a, signature, **size)
    built = sum(p.numel() for p in compile(network, seed=0).parameters() if p.requires_grad)
    counted = cost(network).params
    expect(built == counted, f"cost counts {counted} parameters, but the compiled network of {a!r:.200} has {built}")
