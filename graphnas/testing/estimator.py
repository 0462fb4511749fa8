"""The rules that every Estimator keeps."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.testing.rules import expect, global_randomness_untouched


def check_estimator(
    estimator: Estimator,
    seed: int = 0,
    *,
    architectures: Sequence[Architecture] | None = None,
    fresh_process: bool = False,
) -> None:
    """Check that an estimator is a pure function of architecture and seed, and says what it is.

    Args:
        estimator: the estimator to check.
        seed: of the random architectures and the evaluations.
        architectures: what to evaluate; three random architectures of its space by default.
        fresh_process: also evaluate in a new process and compare (this takes seconds).

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    rng = np.random.default_rng(seed)
    chosen = [estimator.space.sample(rng) for _ in range(3)] if architectures is None else list(architectures)
    expect(estimator.batch >= 1, f"batch is {estimator.batch}; it must be at least 1")
    described = _described(estimator)
    found = [estimator.evaluate(a, seed=seed) for a in chosen]  # unwatched: imports at first use may draw random names
    with global_randomness_untouched(f"estimator {estimator.name!r}"):
        again = [estimator.evaluate(a, seed=seed) for a in reversed(chosen)][::-1]
    for a, first, second in zip(chosen, found, again, strict=True):
        _evaluation(first, a)
        expect(same(first, second), f"the same architecture and seed gave {first} and then {second}")
    expect(_described(estimator) == described, "describe() must not change by evaluating")
    copied = pickle.loads(pickle.dumps(estimator))  # our own bytes
    expect(_described(copied) == described, "describe() must be the same for a pickled copy")
    from_copy = [copied.evaluate(a, seed=seed) for a in chosen]
    expect(all(map(same, found, from_copy)), "a pickled copy must give the same evaluations")
    if fresh_process:
        elsewhere = _in_new_process(estimator, chosen, seed)
        expect(all(map(same, found, elsewhere)), "a new process must give the same evaluations")


def same(a: Evaluation, b: Evaluation) -> bool:
    """Whether two evaluations are equal bit by bit, NaN metrics included."""

    def text(e: Evaluation) -> str:
        return repr((float(e.score), sorted((k, float(v)) for k, v in e.metrics.items()), float(e.cost)))

    return text(a) == text(b)


def _described(estimator: Estimator) -> str:
    described = estimator.describe()
    expect(isinstance(described, Mapping) and "name" in described, 'describe() must be a mapping with a "name"')
    try:
        return json.dumps(described, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"describe() must consist of JSON values ({error})") from None


def _evaluation(found: Evaluation, a: Architecture) -> None:
    expect(math.isfinite(found.score), f"the score of {a!r:.200} is {found.score}; it must be finite")
    expect(found.cost >= 0, f"the cost of {a!r:.200} is {found.cost}; it must be at least 0")
    for name, value in found.metrics.items():
        numeric = isinstance(name, str) and isinstance(value, (int, float))
        expect(numeric, f"metric {name!r} is {value!r:.80}; names are text and values are numbers")


def _in_new_process(estimator: Estimator, architectures: list[Architecture], seed: int) -> list[Evaluation]:
    payload = pickle.dumps((estimator, architectures, seed))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"import {__name__} as module; module._serve()"]
    done = subprocess.run(command, input=payload, capture_output=True, env=environment, check=False)
    expect(done.returncode == 0, f"evaluating in a new process failed: {done.stderr.decode(errors='replace')[-2000:]}")
    found: list[Evaluation] = pickle.loads(done.stdout)  # written by the child process
    return found


def _serve() -> None:
    """The other end of ``_in_new_process``."""
    channel = sys.stdout.buffer
    sys.stdout = sys.stderr  # what an estimator prints must not mix with the answer
    estimator, architectures, seed = pickle.load(sys.stdin.buffer)
    channel.write(pickle.dumps([estimator.evaluate(a, seed=seed) for a in architectures]))
    channel.flush()
