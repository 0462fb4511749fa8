from itertools import combinations

import numpy as np
import pytest

from graphnas.architecture import Architecture, Node, node
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau, normal_scores
from graphnas.space import Choice, Space
from graphnas.testing.predictor import check_predictor
from predictors.contraction import contract_merges, contractible
from predictors.descriptors import COUNTED, FAMILIES, GROUPS, SCALARS, Descriptors, _Placed, reference_forms
from predictors.gaussian_process import GaussianProcess, _squared_distances
from predictors.kernel import KernelPredictor
from predictors.longest import distances, longest_by_pairs, occurrences, path_count
from predictors.ranks import Increasing
from spaces import nasbench101, nasbench201, nasbench_graph

SPACE = nasbench201.space()
SPACES = [SPACE, nasbench101.space(), nasbench_graph.space()]
ids = lambda space: space.name  # noqa: E731


def _forms(space, n=30, seed=0):
    rng = np.random.default_rng(seed)
    return [space.canonical(space.sample(rng)) for _ in range(n)]


def _all_paths(form, end):
    """The ops on every path from an input to ``end``, by recursion; parallel edges are different paths."""
    op, inputs, _ = form.nodes[end]
    if op == "input":
        return [[op]]
    return [[*path, op] for j in inputs for path in _all_paths(form, j)]


def _data(n=25, seed=0):
    rng = np.random.default_rng(seed)
    groups = [rng.normal(size=(n + 9, width)) for width in (3, 5)]
    y = np.sin(groups[0][:, 0]) + 0.5 * groups[1][:, 1] + 0.1 * rng.normal(size=n + 9)
    return [x[:n] for x in groups], y[:n], [x[n:] for x in groups]


def test_mean_std_and_likelihood_are_those_of_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    groups, y, new = _data()
    ours = GaussianProcess().fit(groups, y, np.random.default_rng(0))
    # Matern of nu = 5/2 at distance d is (1 + r + r^2 / 3) exp(-r) with r = sqrt(5) d.
    stack = lambda parts: np.concatenate(  # noqa: E731
        [np.sqrt(w / 5) * x for w, x in zip(ours.weights_, parts, strict=True)], axis=1
    )
    theirs = GaussianProcessRegressor(
        ConstantKernel(ours.amplitude_) * Matern(nu=2.5), alpha=ours.noise_ + 1e-6, optimizer=None
    ).fit(stack(groups), y)
    mean, std = theirs.predict(stack(new), return_std=True)
    found = ours.predict(new)
    np.testing.assert_allclose(found[0], mean, atol=1e-9)
    np.testing.assert_allclose(found[1], std, atol=1e-9)
    logs = np.log([*ours.weights_, ours.amplitude_, ours.noise_])
    value, _ = ours.objective(logs, [_squared_distances(x, x) for x in groups], y)
    centre = np.log([0.25, 0.25, 1.0, 0.2])
    expected = -theirs.log_marginal_likelihood_value_ - len(y) / 2 * np.log(2 * np.pi)
    assert value - 0.5 * np.square(logs - centre).sum() == pytest.approx(expected, abs=1e-8)


def test_the_gradient_of_the_objective_is_that_of_finite_differences():
    from scipy.optimize import approx_fprime

    groups, y, _ = _data()
    process = GaussianProcess()
    squared = [_squared_distances(x, x) for x in groups]
    for seed in range(3):
        logs = np.random.default_rng(seed).normal(size=4)
        numeric = approx_fprime(logs, lambda v: process.objective(v, squared, y)[0], 1e-6)
        np.testing.assert_allclose(process.objective(logs, squared, y)[1], numeric, rtol=1e-4, atol=1e-4)


def test_the_search_ends_where_the_gradient_vanishes_and_finds_what_matters():
    rng = np.random.default_rng(3)
    groups = [rng.normal(size=(80, 2)) for _ in range(2)]
    y = np.sin(2 * groups[0][:, 0])
    process = GaussianProcess().fit(groups, y, rng)
    logs = np.log([*process.weights_, process.amplitude_, process.noise_])
    _, gradient = process.objective(logs, [_squared_distances(x, x) for x in groups], y)
    assert np.abs(gradient).max() < 0.05
    assert process.weights_[0] > 10 * process.weights_[1]
    assert process.noise_ < 0.05


def test_far_away_the_process_knows_nothing():
    groups, y, new = _data()
    process = GaussianProcess().fit(groups, y, np.random.default_rng(0))
    mean, std = process.predict([x + 1e4 for x in new])
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    np.testing.assert_allclose(std, np.sqrt(process.amplitude_), atol=1e-9)
    assert (process.predict(groups)[1] < process.predict(new)[1].mean()).all()


def test_normal_scores_and_increasing_maps():
    from scipy.stats import norm

    values = np.array([3.0, 1.0, 2.0, 2.0])
    expected = norm.ppf([3.5 / 4, 0.5 / 4, 2 / 4, 2 / 4])
    np.testing.assert_allclose(normal_scores(values), expected, atol=1e-12)
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=50), rng.integers(0, 20, 50).astype(float)
    unit = Increasing.matching(source, target)
    x = np.sort(np.concatenate([rng.normal(size=200), [-50.0, 50.0]]))
    assert (np.diff(unit(x)) > 0).all()
    assert kendall_tau(unit(source), source) == pytest.approx(1)
    exact = Increasing.matching(source, np.exp(source))
    np.testing.assert_allclose(exact(source), np.exp(source), rtol=1e-12)


@pytest.mark.parametrize("space", SPACES, ids=ids)
def test_path_figures_equal_those_of_all_paths_one_by_one(space):
    silent = space.semantics.merge_ops | {"input", "output"}
    forms = _forms(space)
    ops = sorted({n.op for form in forms for n in form.nodes} - silent)
    pairs = longest_by_pairs(forms, ops)
    means = occurrences(forms, len(ops), lambda n: [ops.index(n.op)] if n.op in ops else [])
    for row, form in enumerate(forms):
        end = form.outputs[-1]
        start = next(i for i, n in enumerate(form.nodes) if n.op == "input")
        on_path = _all_paths(form, end)
        assert path_count(form.nodes) == len(on_path)
        if not on_path:
            continue
        counts = np.array([[path.count(op) for op in ops] for path in on_path])
        np.testing.assert_allclose(means[row], counts.mean(axis=0), atol=1e-12)
        sums = [counts[:, list(pair)].sum(axis=1) for pair in combinations(range(len(ops)), 2)]
        sums.append(counts.sum(axis=1))
        assert pairs[row].tolist() == [*[s.max() for s in sums], *[s.min() for s in sums]]
        depths, heights = distances(form.nodes, silent)
        assert depths[end] == heights[start] == counts.sum(axis=1).max()


@pytest.mark.parametrize("space", SPACES, ids=ids)
def test_descriptions_have_mean_zero_and_unit_length_and_do_not_depend_on_the_batch(space):
    forms = list(dict.fromkeys(_forms(space, 60)))
    descriptors = Descriptors(space)
    groups = descriptors.fit(forms)
    for name, x in groups.items():
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-9)
        if not x.any():  # no parameters, or all architectures of one size
            assert name in ("placed_kinds", "sizes")
            continue
        assert np.square(x).sum(axis=1).mean() == pytest.approx(1), name
        if name in SCALARS:
            spread = x.std(axis=0)
            assert np.ptp(spread[spread > 1e-9]) < 1e-9
    alone = [descriptors.transform([form]) for form in forms[:5]]
    for name, x in groups.items():
        assert np.array_equal(np.concatenate([one[name] for one in alone]), x[:5])
    assert all(len(descriptors.columns_[name]) for name in COUNTED if name != "placed_kinds")


def test_counted_things_of_small_cells_are_known():
    """A cell of conv3x3 then conv1x1, and one whose two convolutions stand side by side."""
    names = {op: i for i, op in enumerate(nasbench201.OPS)}
    chain = SPACE.decode([names["nor_conv_3x3"], 0, 0, 0, names["nor_conv_1x1"], 0])
    beside = SPACE.decode([names["skip_connect"], 0, 0, names["nor_conv_3x3"], names["nor_conv_1x1"], 0])
    tokens, kinds, edges = _Placed(SPACE)(SPACE.canonical(chain).nodes)
    assert tokens == {
        "op='nor_conv_3x3' after 1": 1, "op='nor_conv_3x3' before 1": 1,
        "op='nor_conv_1x1' after 2": 1, "op='nor_conv_1x1' before 0": 1,
    }  # fmt: skip
    assert not kinds
    assert edges == {"0 to 1": 1, "1 to 2": 1, "2 to 2": 1, "2 down to 1": 1, "1 down to 0": 1, "0 down to 0": 1}
    counts = Descriptors(SPACE)._counts([SPACE.canonical(chain), SPACE.canonical(beside)])
    step = {op: f"('{op}', ())" for op in names}
    both = step["nor_conv_1x1"] + step["nor_conv_3x3"]
    assert counts["paths"] == [
        {step["nor_conv_3x3"] + step["nor_conv_1x1"]: 1},
        {step["nor_conv_3x3"]: 1, step["nor_conv_1x1"]: 1},
    ]
    assert counts["path_multisets"][0] == {both: 1}
    beside_each_other = counts["placed_tokens"][1]
    assert beside_each_other["op='nor_conv_3x3' after 1"] == beside_each_other["op='nor_conv_1x1' after 1"] == 1


def test_contracted_graphs_keep_all_paths_and_stay_apart():
    assert contractible(SPACE) == {"sum", "concat"}
    forms = list(dict.fromkeys(_forms(SPACE, 300)))
    for form, short in zip(forms, contract_merges(SPACE, forms), strict=True):
        assert not {n.op for n in short.nodes} & {"sum", "concat"}
        count = lambda nodes: sorted(n.op for n in nodes if n.op != "sum")  # noqa: E731
        assert count(form.nodes) == count(short.nodes)
        assert path_count(form.nodes) == path_count(short.nodes)


def test_a_monotone_transform_of_the_scores_leaves_the_predicted_order():
    rng = np.random.default_rng(1)
    known = [SPACE.sample(rng) for _ in range(30)]
    scores = np.array([len(SPACE.canonical(a)) for a in known]) + rng.normal(size=30)
    new = [SPACE.sample(rng) for _ in range(200)]
    one = KernelPredictor(SPACE, reference=60).fit(known, scores).predict(new)
    other = KernelPredictor(SPACE, reference=60).fit(known, np.exp(scores / 3)).predict(new)
    assert np.array_equal(np.argsort(one.mean, kind="stable"), np.argsort(other.mean, kind="stable"))
    assert not np.allclose(one.mean, other.mean)


def test_reference_forms_are_distinct_and_begin_with_the_known_ones():
    rng = np.random.default_rng(2)
    known = [SPACE.sample(rng) for _ in range(40)]
    forms = reference_forms(SPACE, known, 100, rng)
    first = list(dict.fromkeys(SPACE.canonical(a) for a in known))
    assert forms[: len(first)] == first
    assert len(set(forms)) == len(forms) > len(first)


@pytest.mark.parametrize("space", SPACES, ids=ids)
def test_the_rules_that_every_predictor_keeps(space):
    check_predictor(lambda: KernelPredictor(space, reference=40), space, invariant=True)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("kernel.group0", lambda a: a[:-1]),
        ("kernel.parameters", lambda a: -a),
        ("kernel.targets", lambda a: a * np.nan),
        ("descriptors.tokens", lambda a: a[:, :-1]),
        ("descriptors.columns", lambda a: np.array("[1]")),
        ("unit.knots", lambda a: a[:, ::-1]),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, change):
    rng = np.random.default_rng(0)
    known = [SPACE.sample(rng) for _ in range(12)]
    path = KernelPredictor(SPACE, reference=20).fit(known, rng.normal(size=12)).save(tmp_path / "kernel.npz")
    arrays = load_npz(path)
    save_npz(path, {**arrays, name: change(arrays[name])})
    with pytest.raises(GraphnasError, match="damaged or of another release"):
        KernelPredictor.load(path)


def test_a_negative_reference_is_refused():
    with pytest.raises(GraphnasError, match="0 or more"):
        KernelPredictor(SPACE, reference=-1)


def test_parameters_have_places_of_their_own_and_equal_values_one_name():
    """Blocks in a row whose only differences are parameters: what stands where is what there is to know."""
    choices = [Choice(f"kernel{i}", (3, 5, 7), "kernel") for i in range(4)]
    blocks = [Node("block", (i,), (("kernel", choice),)) for i, choice in enumerate(choices)]
    space = Space("blocks", [node("input"), *blocks, node("output", (4,))], order=choices)
    forms = [space.canonical(space.decode(row)) for row in ([0, 1, 2, 2], [2, 2, 1, 0])]
    counts = Descriptors(space)._counts(forms)
    assert counts["placed_tokens"][0]["kernel=5 after 2"] == counts["placed_tokens"][1]["kernel=5 before 1"] == 1
    assert counts["placed_tokens"][0]["op='block' after 4"] == 1
    assert counts["placed_kinds"][0]["op='block' kernel=3 after 1"] == 1
    assert counts["placed_edges"][0] == counts["placed_edges"][1]
    as_float = Architecture([node("input"), node("block", (0,), kernel=5.0), node("output", (1,))])
    texts = Descriptors(space)._counts([as_float])["placed_tokens"][0]
    assert texts["kernel=5 after 1"] == 1

    # The first and the last block decide: learned from 60 of 81 architectures that all have the same ops and edges.
    everything = [space.decode(row) for row in np.ndindex(3, 3, 3, 3)]
    scores = np.array([2.0 * a.nodes[1].get("kernel") - a.nodes[4].get("kernel") for a in everything])
    rows = np.random.default_rng(0).permutation(81)
    predictor = KernelPredictor(space, reference=60).fit([everything[i] for i in rows[:60]], scores[rows[:60]])
    assert kendall_tau(predictor.predict([everything[i] for i in rows[60:]]).mean, scores[rows[60:]]) > 0.85


def test_families_of_groups_have_equal_shares_whatever_varies():
    assert sorted(name for family in FAMILIES for name in family) == sorted(GROUPS)
    descriptors = Descriptors(SPACE)
    groups = descriptors.fit(list(dict.fromkeys(_forms(SPACE, 60))))
    centre = dict(zip(groups, descriptors.centres, strict=True))
    for family in FAMILIES:
        assert sum(centre[name] for name in family if groups[name].any()) == pytest.approx(1 / 16)
    process = GaussianProcess(centres=descriptors.centres)
    start = np.log([*descriptors.centres, 1.0, 0.2])
    squared = [_squared_distances(x, x) for x in groups.values()]
    y = np.random.default_rng(0).normal(size=len(groups["tokens"]))
    flat = GaussianProcess().objective(start, squared, y)[0]
    moved = start - np.log([*[0.5 / len(GROUPS)] * len(GROUPS), 1.0, 0.2])
    assert flat - process.objective(start, squared, y)[0] == pytest.approx(0.5 * np.square(moved).sum())
