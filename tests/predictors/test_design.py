"""The design of labels: against posterior variances by the formula, and what must not matter."""

import numpy as np
import pytest

from graphnas.encoding.forms import classes_of
from graphnas.errors import GraphnasError
from graphnas.testing.rules import shuffled
from predictors.descriptors import Descriptors
from predictors.design import design
from predictors.gaussian_process import GaussianProcess, prior_kernel
from predictors.kernel import in_order
from spaces import nasbench101, nasbench201, nasbench_graph

SPACE = nasbench201.space()


def _pool(n=60, space=SPACE):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(n)]


def _remaining(forms, weights, chosen):
    """The summed posterior variance of a pool with these rows labelled: Rasmussen & Williams (2006), equation 2.26."""
    descriptors = Descriptors(SPACE)
    k = prior_kernel(in_order(descriptors.fit(forms)), descriptors.centres)
    block = k[np.ix_(chosen, chosen)] + 0.2 * np.eye(len(chosen))
    explained = k[:, chosen] @ np.linalg.solve(block, k[chosen])
    return weights @ (k - explained).diagonal()


def test_every_label_lowers_the_variance_of_the_pool_most():
    pool = _pool()
    forms, member = classes_of(SPACE, pool)
    weights = np.bincount(member)
    place = {SPACE.key(form): i for i, form in enumerate(forms)}
    chosen = [place[SPACE.key(a)] for a in design(SPACE, 6, np.random.default_rng(0), pool)]
    assert len(set(chosen)) == 6
    for step in range(6):
        others = [i for i in range(len(forms)) if i not in chosen[:step]]
        left = {i: _remaining(forms, weights, [*chosen[:step], i]) for i in others}
        assert left[chosen[step]] <= min(left.values()) + 1e-9
        assert max(left.values()) > min(left.values()) + 1e-3


def test_the_prior_is_that_of_the_process():
    forms = classes_of(SPACE, _pool())[0]
    descriptors = Descriptors(SPACE)
    groups = in_order(descriptors.fit(forms))
    process = GaussianProcess(centres=descriptors.centres).fit(
        [x[:5] for x in groups], np.arange(5.0), np.random.default_rng(0)
    )
    process.weights_, process.amplitude_ = np.array(descriptors.centres), 1.0
    np.testing.assert_allclose(prior_kernel(groups, descriptors.centres)[:, :5], process._kernel(groups), atol=1e-12)


def test_a_design_is_the_beginning_of_a_larger_one_and_does_not_depend_on_the_writing():
    pool, rng = _pool(), np.random.default_rng(5)
    large = design(SPACE, 12, np.random.default_rng(0), pool)
    assert design(SPACE, 5, np.random.default_rng(1), pool) == large[:5]
    assert all(a in pool for a in large)
    other = design(SPACE, 12, np.random.default_rng(0), [shuffled(a, rng) for a in pool])
    assert [SPACE.key(a) for a in other] == [SPACE.key(a) for a in large]


@pytest.mark.parametrize("space", [SPACE, nasbench101.space(), nasbench_graph.space()], ids=lambda s: s.name)
def test_random_pools_give_distinct_members(space):
    made = design(space, 30, np.random.default_rng(3), pool=40)
    assert len({space.key(a) for a in made}) == 30
    assert all(space.contains(a) for a in made)
    assert made == design(space, 30, np.random.default_rng(3), pool=40)


def test_impossible_designs():
    with pytest.raises(GraphnasError, match="there are 1 distinct architectures to choose from, but 2 shall be"):
        design(SPACE, 2, np.random.default_rng(0), _pool(1) * 3)
    with pytest.raises(GraphnasError, match="give positive numbers"):
        design(SPACE, 0, np.random.default_rng(0))
