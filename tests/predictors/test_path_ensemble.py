import os
from pathlib import Path

import numpy as np
import pytest
import torch

from graphnas.encoding.paths import known_paths, path_encoding
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau
from graphnas.testing import check_predictor
from predictors.path_ensemble import LOSSES, Networks, PathEnsemble, train
from spaces import enas, nasbench101, nasbench201, nasbench_graph

SPACE = nasbench201.space()
SMALL = {"members": 3, "layers": 3, "epochs": 10}
SPACES = [SPACE, nasbench101.space(), nasbench_graph.space(), enas.space()]


def _labelled(space=SPACE, n=60, seed=0):
    rng = np.random.default_rng(seed)
    architectures = [space.sample(rng) for _ in range(n)]
    return architectures, np.array([len(space.canonical(a)) for a in architectures]) + rng.normal(size=n)


def _new(space=SPACE, n=40):
    rng = np.random.default_rng(99)
    return [space.sample(rng) for _ in range(n)]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_the_rules_that_every_predictor_keeps(space):
    invariant = space.enumerable or space is enas.space()
    check_predictor(lambda: PathEnsemble(space, **SMALL), space, invariant=invariant)


def test_the_input_is_the_truncated_path_encoding():
    architectures, scores = _labelled()
    for indicator, keep in ((True, "shortest"), (False, "frequent")):
        ensemble = PathEnsemble(SPACE, **SMALL, max_paths=12, keep=keep, indicator=indicator).fit(architectures, scores)
        paths = known_paths(SPACE, architectures, 12, keep)
        assert len(paths) == 12
        expected = path_encoding(SPACE, _new(), paths=paths, indicator=indicator)
        assert expected.max() == 1 or not indicator
        found = ensemble.features_.transform([SPACE.canonical(a) for a in _new()])
        assert len(np.unique(expected, axis=1).T) > 8
        assert sorted(found.T.tolist()) == sorted(expected.T.tolist())  # the columns have another order


def test_mean_and_spread_are_those_of_plain_networks_with_the_same_weights():
    architectures, scores = _labelled()
    ensemble = PathEnsemble(SPACE, **SMALL).fit(architectures, scores)
    x = torch.from_numpy(ensemble.features_.transform([SPACE.canonical(a) for a in _new()]))
    each = []
    for member in range(3):
        parts = []
        for weight, bias in zip(ensemble.networks_.weights, ensemble.networks_.biases, strict=True):
            linear = torch.nn.Linear(*weight.shape[1:])
            linear.weight.data, linear.bias.data = weight.data[member].T, bias.data[member, 0]
            parts += [linear, torch.nn.ReLU()]
        with torch.no_grad():
            each.append(torch.nn.Sequential(*parts[:-1])(x).squeeze(1).numpy())
    expected = scores.mean() + scores.std() * np.array(each, dtype=np.float64)
    prediction = ensemble.predict(_new())
    assert prediction.std.max() > 0.01 * scores.std()
    np.testing.assert_allclose(prediction.mean, expected.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(prediction.std, expected.std(axis=0), atol=1e-5)


def test_training_together_is_training_alone():
    """Each member goes where plain Adam takes it on the weighted error of its own batches."""
    generator = torch.Generator().manual_seed(0)
    x, targets = torch.rand(10, 4, generator=generator), torch.rand(10, generator=generator)
    weights = torch.rand(10, generator=generator)
    networks = Networks(2, 4, 5, 2, torch.Generator().manual_seed(1))
    alone = []
    for member in range(2):
        parameters = [p.data[member].clone().requires_grad_() for p in (*networks.weights, *networks.biases)]
        optimiser = torch.optim.Adam(parameters, lr=0.01, betas=(0.9, 0.99))
        own = torch.Generator().manual_seed(2)
        for _ in range(3):
            orders = [torch.randperm(10, generator=own) for _ in range(2)]
            for rows in orders[member].split(4):
                (w1, w2, w3), (b1, b2, b3) = parameters[:3], parameters[3:]
                predicted = (((x[rows] @ w1 + b1).relu() @ w2 + b2).relu() @ w3 + b3).squeeze(1)
                optimiser.zero_grad()
                (weights[rows] * (predicted - targets[rows]).abs()).mean().backward()
                optimiser.step()
        alone.append(parameters)
    train(networks, x, targets, weights, 3, 4, 0.01, torch.Generator().manual_seed(2))
    for i, together in enumerate((*networks.weights, *networks.biases)):
        for member in range(2):
            torch.testing.assert_close(together.data[member], alone[member][i].data, atol=1e-5, rtol=0)


def test_first_weights_have_the_variance_of_glorot_and_bengio():
    networks = Networks(4, 300, 200, 2, torch.Generator().manual_seed(0))
    for weight in networks.weights[:2]:
        assert weight.var().item() == pytest.approx(2 / sum(weight.shape[1:]), rel=0.02)
        assert not torch.equal(weight[0], weight[1])


@pytest.mark.parametrize("loss", LOSSES)
def test_more_training_fits_the_training_scores_better(loss):
    architectures, scores = _labelled()
    keys = [SPACE.key(a) for a in architectures]
    scores = np.array([scores[keys.index(k)] for k in keys])  # equal graphs, equal scores
    weight = 1 / (scores.max() + scores.std() - scores) if loss == "mape" else np.ones(len(scores))
    errors = []
    for epochs in (0, 20, 200):
        ensemble = PathEnsemble(SPACE, members=3, layers=4, loss=loss, epochs=epochs).fit(architectures, scores)
        errors.append(np.average(np.abs(ensemble.predict(architectures).mean - scores), weights=weight))
    assert errors[0] > 1.2 * errors[1] > 1.44 * errors[2]


def test_the_seed_fixes_the_predictions():
    architectures, scores = _labelled()
    one, same, other = (
        PathEnsemble(SPACE, **SMALL, seed=s).fit(architectures, scores).predict(_new()) for s in (1, 1, 2)
    )
    assert np.array_equal(one.mean, same.mean)
    assert not np.array_equal(one.mean, other.mean)


def test_training_architectures_without_any_path_are_no_problem():
    broken = [SPACE.decode([0, 0, 0, 0, 0, i]) for i in range(3)]
    mean, std = PathEnsemble(SPACE, **SMALL).fit(broken, [1.0, 2.0, 3.0]).predict(_new())
    assert np.ptp(mean) == 0
    assert np.isfinite(std).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("networks.weights.0", lambda a: a[:, :-1]),
        ("networks.weights.1", lambda a: a * np.nan),
        ("networks.biases.0", lambda a: a.astype(np.float64)),
        ("unit", lambda a: a * np.nan),
        ("features.paths", lambda a: a[::-1]),
        ("features.paths", lambda a: a[:1]),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, change):
    architectures, scores = _labelled()
    path = PathEnsemble(SPACE, **SMALL).fit(architectures, scores).save(tmp_path / "ensemble.npz")
    arrays = load_npz(path)
    save_npz(path, {**arrays, name: change(arrays[name])})
    with pytest.raises(GraphnasError, match="damaged or of another release"):
        PathEnsemble.load(path)


def test_wrong_arguments_are_refused():
    with pytest.raises(GraphnasError, match="unknown loss of the path ensemble 'mse'; nearest"):
        PathEnsemble(SPACE, loss="mse")
    with pytest.raises(GraphnasError, match="unknown keep"):
        PathEnsemble(SPACE, keep="longest")
    for argument in ("members", "layers", "width", "max_paths", "batch"):
        with pytest.raises(GraphnasError, match=f"{argument} of the path ensemble is 0"):
            PathEnsemble(SPACE, **{argument: 0})
    with pytest.raises(GraphnasError, match="epochs >= 0 and learning_rate > 0, not 200 and -1"):
        PathEnsemble(SPACE, learning_rate=-1)


def test_it_ranks_nasbench201():
    path = Path(os.environ.get("GRAPHNAS_DATA", ".")) / "nb201.npz"
    if not path.is_file():
        pytest.skip("nb201.npz is not in the folder that GRAPHNAS_DATA names")
    table = load_npz(path, ["ops", "c10_val200"])
    rows = np.random.default_rng(0).choice(len(table["ops"]), 1156, replace=False)
    architectures = [SPACE.decode(row) for row in table["ops"][rows].tolist()]
    scores = table["c10_val200"][rows]
    ensemble = PathEnsemble(SPACE, epochs=100).fit(architectures[:156], scores[:156])
    # Over three draws with the default 200 epochs: 0.74.
    assert kendall_tau(ensemble.predict(architectures[156:]).mean, scores[156:]) > 0.66
