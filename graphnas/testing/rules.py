"""What all checks share: saying which rule is broken, random relabellings, and watching global random state."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphnas.architecture import Architecture


def expect(condition: object, rule: str) -> None:
    """Raise AssertionError with the rule unless the condition holds (also under ``python -O``)."""
    if not condition:
        raise AssertionError(rule)


def shuffled(architecture: Architecture, rng: np.random.Generator) -> Architecture:
    """The same DAG with its nodes in a random topological order."""
    missing = [len(set(n.inputs)) for n in architecture.nodes]
    readers = [sorted(set(targets)) for targets in architecture.consumers()]
    ready = [i for i, count in enumerate(missing) if count == 0]
    order: list[int] = []
    while ready:
        node = ready.pop(int(rng.integers(len(ready))))
        order.append(node)
        for reader in readers[node]:
            missing[reader] -= 1
            if missing[reader] == 0:
                ready.append(reader)
    return architecture.relabel(order)


@contextmanager
def global_randomness_untouched(who: str) -> Iterator[None]:
    """Check that the global generators of Python, numpy and torch (if it is loaded) do not move inside the block."""
    before = _global_states()
    yield
    for name, state in _global_states().items():
        expect(
            before.get(name, state) == state,
            f"{who} draws from the global generator of {name}; draw from the generator or seed that is passed in",
        )


@contextmanager
def global_randomness_restored() -> Iterator[None]:
    """Put the global generators of Python and numpy back after the block."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _global_states() -> dict[str, Any]:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002  # the global generator is what is being watched
    states: dict[str, Any] = {
        "random": random.getstate(),
        "numpy": (numpy_state[1].tobytes(), *numpy_state[2:]),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.random.get_rng_state().numpy().tobytes()
    return states
