"""When the architecture steps: every n-th time, and at the rate of DARTS-PRIME's schedule (T6a)."""

from __future__ import annotations

import random

import pytest

from graphnas.errors import GraphnasError
from graphnas.oneshot.gates import Always, Every, FisherGate, Gate, Memory
from graphnas.oneshot.schedules import Clock


def openings(gate: Gate, clocks: list[Clock]) -> list[int]:
    memory: Memory = {}
    found = []
    for clock in clocks:
        opens, memory = gate(clock, memory, 0.0)
        if opens:
            found.append(clock.step)
    return found


def test_every_opens_between_warm_up_and_end() -> None:
    clocks = [Clock(step, 4, 10) for step in range(40)]
    assert openings(Always(), clocks) == list(range(40))
    assert openings(Every(10, warmup=0.2), clocks) == [10, 20, 30]
    assert openings(Every(1, until=0.3), clocks) == list(range(12))
    with pytest.raises(GraphnasError, match="0-th"):
        Every(0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("steps", [1, 5, 10])
def test_fisher_gate_opens_once_in_so_many_steps(steps: int, scale: float) -> None:
    gate, memory = FisherGate(steps), {}
    draw = random.Random(0)
    opened, late, n, burn = 0, 0, 20_000, 5_000
    for step in range(n + burn):
        # Gradients that fall tenfold over the search, with noise.
        fisher = scale * 10 ** (-step / (n + burn)) * draw.lognormvariate(0.0, 0.5)
        opens, memory = gate(Clock(step, 100, 1000), memory, fisher)
        opened += opens and step >= burn
        late += opens and step < burn
    rate = opened / n
    print("T6a", steps, scale, rate, 1 / (1 + steps))
    assert rate == pytest.approx(1 / (1 + steps), abs=0.005)
    assert late > 0


def test_fisher_gate_opens_in_flat_moments() -> None:
    gate, memory = FisherGate(5, smoothing=1.0), {}
    draw = random.Random(0)
    chosen, others = [], []
    for step in range(5_000):
        fisher = draw.lognormvariate(0.0, 1.0)
        opens, memory = gate(Clock(step, 100, 100), memory, fisher)
        (chosen if opens else others).append(fisher)
    assert sum(chosen) / len(chosen) < 0.5 * sum(others) / len(others)


def test_fisher_gate_stays_shut_before_the_first_gradient() -> None:
    opens, memory = FisherGate()(Clock(0, 1, 1), {}, 0.0)
    assert not opens
    assert memory == {"threshold": 1.05, "fisher": 0.0}
    opens, memory = FisherGate()(Clock(1, 1, 1), memory, 2.0)
    assert opens
    assert memory["fisher"] == pytest.approx(0.4)
    assert memory["threshold"] == pytest.approx(1.05 * 1.05**-10)
