"""Random search draws uniformly and learns nothing."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

from graphnas.strategies.base import Trial
from graphnas.strategies.random_search import RandomSearch
from spaces.nasbench101 import small_space


def test_draws_are_uniform_and_do_not_depend_on_scores() -> None:
    space = small_space(4)  # 91 distinct cells
    told, silent = (RandomSearch(space, np.random.default_rng(0)) for _ in range(2))
    counts = dict.fromkeys((space.key(a) for a in space.enumerate()), 0)
    for number in range(1820):
        a, b = told.ask(5), silent.ask(5)
        assert a == b
        told.tell([Trial(5 * number + i, x, space.key(x), "complete", float(i)) for i, x in enumerate(a)])
        for x in a:
            counts[space.key(x)] += 1
    observed = np.array(list(counts.values()))
    assert observed.sum() == 9100
    assert chi2.sf(((observed - 100.0) ** 2 / 100.0).sum(), 90) > 1e-3
