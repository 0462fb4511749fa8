"""Costs as sums of terms: equal to the cost of every network, and fitted tables to the measured latencies of others."""

from __future__ import annotations

import itertools
import math
import zlib
from pathlib import Path

import numpy as np
import pytest

from graphnas import registry
from graphnas.architecture import Architecture, node
from graphnas.cost import LatencyTable, cost
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Space
from graphnas.tasks.base import Signature
from graphnas.terms import Terms, every_node, latency_terms, node_places

SMALL = Signature("image", (3, 16, 16), 10)


class Clock(dict[str, float]):
    """A machine on which every node takes a time of its own that depends on all of its description."""

    def __missing__(self, name: str) -> float:
        return 0.01 + zlib.crc32(name.encode()) % 9973 / 9973

    def __contains__(self, name: object) -> bool:
        return True


def clock() -> LatencyTable:
    table = LatencyTable()
    table.entries = Clock()
    return table


@pytest.mark.parametrize("name", ["proxylessnas", "accel_nasbench", "nasbench201"])
def test_terms_equal_the_table_of_every_network(name: str) -> None:
    space = registry.get_space(name)
    size = {"cells": 1} if name == "nasbench201" else {}
    table = clock()
    terms = latency_terms(space, table, SMALL, **size)
    rng = np.random.default_rng(1)
    sample = [space.sample(rng) for _ in range(40)]
    expected = [table.latency(space.network(a, SMALL, **size)) for a in sample]
    assert terms([space.encode(a) for a in sample]) == pytest.approx(expected, rel=1e-9)
    assert [terms.of(a) for a in sample] == pytest.approx(expected, rel=1e-9)
    assert np.ptp(expected) > 0.1 * np.mean(expected)


def test_interactions_of_neighbours_are_found() -> None:
    """In MnasNet's space the width of one block sets the cost of the next, and nothing else of it does."""
    space = registry.get_space("mnasnet")

    def params(a: Architecture) -> float:
        return float(cost(space.network(a, SMALL, channels=4, head=8)).params)

    blocks = [tuple(range(6 * i, 6 * i + 6)) for i in range(7)]
    with pytest.raises(GraphnasError, match="is no sum over its nodes"):
        Terms.exact(space, params, [block[:4] for block in blocks])
    last = Space(  # all blocks but the last two are at their first options
        "two blocks",
        [n if n.op != "mobile_block" or n.inputs[0] >= 5 else _first(n) for n in space.template],
        order=[space.choices[i] for block in blocks[5:] for i in block],
    )
    assert node_places(last) == [(tuple(range(6)), ()), (tuple(range(6, 12)), tuple(range(6)))]
    terms = Terms.exact(last, params)
    names = [[last.choices[i].name for i in term.places] for term in terms.terms]
    assert names[0] == [c.name for c in last.choices[:6]]
    assert names[1] == ["block6.channels", *[c.name for c in last.choices[6:]]]


def _first(n):  # type: ignore[no-untyped-def]
    params = {k: v.options[0] if isinstance(v, Choice) else v for k, v in n.params}
    return node(n.op, n.inputs, **params)


def test_the_anchored_decomposition_is_exact_for_overlapping_sets() -> None:
    """Any function that is a sum over sets of decisions is recovered, however the sets overlap."""
    choices = [Choice(f"c{i}", tuple(range(r)), "op") for i, r in enumerate((2, 3, 2, 4))]
    space = Space("four", [node("input"), *(node(c, (i,)) for i, c in enumerate(choices)), node("output", (4,))])
    rng = np.random.default_rng(2)
    sets = [(0, 1), (1, 2, 3), (0, 3), (2,)]
    tables = [rng.normal(size=[space.radices[i] for i in s]) for s in sets]

    def f(a: Architecture) -> float:
        d = space.encode(a)
        return sum(float(t[tuple(d[i] for i in s)]) for s, t in zip(sets, tables, strict=True))

    for order in itertools.permutations(range(4)):
        terms = Terms.exact(space, f, [sets[k] for k in order])
        every = list(space.enumerate())
        assert terms([space.encode(a) for a in every]) == pytest.approx([f(a) for a in every], abs=1e-9)
    with pytest.raises(GraphnasError, match="is no sum over its nodes"):
        Terms.exact(space, f, [(0, 1), (2, 3)])


def test_every_node_holds_what_a_table_must_measure() -> None:
    space = registry.get_space("proxylessnas")
    networks = [space.network(a, SMALL) for a in every_node(space)]
    table = LatencyTable({name: 1.0 for network in networks for name in names_of(network)})
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = space.sample(rng)
        assert table.latency(space.network(a, SMALL)) == len(names_of(space.network(a, SMALL)))


def names_of(network: Architecture) -> list[str]:
    return list(LatencyTable()._names(network).values())


def test_a_fitted_table_recovers_an_additive_clock_and_reports_its_errors() -> None:
    space = registry.get_space("nasbench201")
    rng = np.random.default_rng(3)
    weights = rng.uniform(0.1, 2.0, size=(6, 5))
    decisions = rng.integers(5, size=(200, 6))
    times = 1.5 + weights[np.arange(6), decisions].sum(axis=1)
    terms = Terms.fitted(space, decisions[:100], times[:100])
    assert np.abs(terms.relative_errors(decisions[100:], times[100:])).max() < 1e-9
    for bad in (np.where(np.arange(100) == 3, 0.0, times[:100]), times[:99], np.full(100, math.nan)):
        with pytest.raises(GraphnasError, match="do not fit"):
            Terms.fitted(space, decisions[:100], bad)


def test_measured_latencies_are_nearly_additive(data_folder: Path) -> None:
    """HELP's measurements of NAS-Bench-201: a table from 500 networks is off by less than 10 % on the others."""
    if not (data_folder / "nb201_latency_help.npz").exists():
        pytest.skip("nb201_latency_help.npz is missing")
    from spaces.tables.nasbench201 import table

    data = table("cifar10", latencies=True)
    order = np.random.default_rng(0).permutation(len(data))
    fit, rest = order[:500], order[500:]
    medians = []
    for name, values in data.columns.items():
        if name.startswith("latency/"):
            terms = Terms.fitted(data.space, data.decisions[fit], values[fit])
            medians.append(np.median(np.abs(terms.relative_errors(data.decisions[rest], values[rest]))))
    assert len(medians) == 27
    assert np.median(medians) < 0.03
    assert sum(m < 0.1 for m in medians) >= 24  # two phones and a Raspberry Pi are noisier


def test_a_table_is_brought_to_the_scale_of_whole_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where whole networks take a quarter more than their operations."""
    import graphnas.timing

    space, rng = registry.get_space("proxylessnas"), np.random.default_rng(0)
    networks = [space.network(space.sample(rng), SMALL, channels=4, head=8) for _ in range(4)]

    def params(module):  # type: ignore[no-untyped-def]
        return sum(p.numel() for p in module.parameters())

    def of_nodes(module, inputs, **options):  # type: ignore[no-untyped-def]
        layers = [n for n in module.graph.nodes if n.op == "call_module"]
        return {n.meta["place"]: 1e-3 * params(module.get_submodule(n.target)) for n in layers}

    monkeypatch.setattr(graphnas.timing, "latency", lambda module, *_, **__: 1.25e-3 * params(module))
    monkeypatch.setattr(graphnas.timing, "node_latencies", of_nodes)
    table = LatencyTable().measure(networks)
    assert [table.relative_error(network) for network in networks] == pytest.approx([-0.2] * 4)
    table.calibrate(networks[:2])
    assert table.scale == pytest.approx(1.25)
    assert [table.relative_error(network) for network in networks[2:]] == pytest.approx([0, 0])
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json").latency(networks[3]) == table.latency(networks[3])
    with pytest.raises(GraphnasError, match="at least one network"):
        table.calibrate([])
