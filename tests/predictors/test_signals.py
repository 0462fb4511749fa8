import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau
from graphnas.testing.predictor import check_predictor
from predictors.gcn import GCNPredictor
from predictors.kernel import KernelPredictor
from predictors.signals import Signals
from spaces import nasbench201

SPACE = nasbench201.space()
SMALL = {"networks": 2, "width": 8, "layers": 2, "hidden": 8, "steps": 15, "trees": 8, "reference": 40}
MAKERS = {
    "kernel": lambda signals: KernelPredictor(SPACE, reference=40, signals=signals),
    "gcn": lambda signals: GCNPredictor(SPACE, signals=signals, **SMALL),
}


def _secret(architectures):
    """A number of the canonical graph that looks random: no graph descriptor predicts it."""
    keys = [zlib.crc32(SPACE.key(a).encode()) for a in architectures]
    return np.array([np.random.default_rng(key).normal() for key in keys])


def _signals(measure=_secret, names=("secret",)):
    return Signals(SPACE, names, lambda forms: np.reshape(measure(forms), (len(forms), len(names))))


def _sample(n, seed=0):
    rng = np.random.default_rng(seed)
    return [SPACE.sample(rng) for _ in range(n)]


def test_every_class_is_measured_once_and_counted():
    asked = []
    signals = _signals(lambda forms: asked.extend(forms) or _secret(forms))
    known = _sample(60)
    first = signals(known)
    classes = len({SPACE.key(a) for a in known})
    assert first.shape == (60, 1)
    assert classes < 60
    assert signals.evaluations == len(asked) == classes
    assert np.array_equal(signals(known[::-1]), first[::-1])
    assert np.array_equal(signals([SPACE.canonical(a) for a in known]), first)
    assert signals.evaluations == classes
    assert signals([]).shape == (0, 1)
    assert all(a == SPACE.canonical(a) for a in asked)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_signal_that_tells_the_score_is_used(name):
    known, new = _sample(60), _sample(300, 1)
    tau = {}
    for what, signals in (("with", _signals()), ("without", None)):
        predictor = MAKERS[name](signals).fit(known, _secret([SPACE.canonical(a) for a in known]))
        tau[what] = kendall_tau(predictor.predict(new).mean, _secret([SPACE.canonical(a) for a in new]))
    assert tau["with"] > tau["without"] + 0.2
    assert tau["with"] > 0.4


def test_the_unit_of_a_signal_does_not_matter():
    known, new = _sample(40), _sample(100, 1)
    scores = _secret([SPACE.canonical(a) for a in known])
    one, other = (
        KernelPredictor(SPACE, reference=60, signals=_signals(measure)).fit(known, scores).predict(new).mean
        for measure in (_secret, lambda forms: 1e6 * np.sinh(_secret(forms)))
    )
    # Beyond and between the reference architectures the maps are straight lines, which differ a little.
    assert kendall_tau(one, other) > 0.97


def test_noise_hardly_hurts_and_a_short_training_helps_on_a_real_table():
    path = Path(os.environ.get("GRAPHNAS_DATA", ".")) / "nb201.npz"
    if not path.is_file():
        pytest.skip("nb201.npz is not in the folder that GRAPHNAS_DATA names")
    table = load_npz(path, ["ops", "c10_val200", "c10_val12", "c10_test200"])
    rows = np.random.default_rng(0).permutation(len(table["ops"]))[:1500]
    architectures = [SPACE.decode(row) for row in table["ops"][rows].tolist()]
    short = dict(zip(map(SPACE.key, architectures), table["c10_val12"][rows], strict=True))
    everything = [SPACE.decode(row) for row in table["ops"].tolist()]
    for architecture, value in zip(everything, table["c10_val12"], strict=True):
        short.setdefault(SPACE.key(architecture), value)
    trained = lambda forms: np.array([short[SPACE.key(form)] for form in forms])  # noqa: E731
    gain: dict[str, list[float]] = {"noise": [], "short": []}
    for draw in range(4):
        known = np.random.default_rng(draw).permutation(1500)[:40]
        tau = {}
        for what, signals in (("none", None), ("noise", _signals()), ("short", _signals(trained))):
            predictor = KernelPredictor(SPACE, reference=300, signals=signals)
            predictor.fit([architectures[i] for i in known], table["c10_val200"][rows][known])
            tau[what] = kendall_tau(predictor.predict(architectures).mean, table["c10_test200"][rows])
        gain["noise"].append(tau["noise"] - tau["none"])
        gain["short"].append(tau["short"] - tau["none"])
    assert np.mean(gain["short"]) > 0.02
    assert np.mean(gain["noise"]) > -0.03


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_the_rules_that_every_predictor_keeps(name):
    check_predictor(lambda: MAKERS[name](_signals()), SPACE, invariant=True)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_file_holds_what_was_measured_but_not_the_measure(name, tmp_path):
    known, new = _sample(30), _sample(20, 1)
    predictor = MAKERS[name](_signals()).fit(known, _secret(known))
    expected = predictor.predict(new)
    loaded = type(predictor).load(predictor.save(tmp_path / "predictor.npz"), SPACE)
    assert np.array_equal(loaded.predict(new).mean, expected.mean)
    assert loaded.signals.evaluations == predictor.signals.evaluations
    unknown = [a for a in _sample(400, 2) if SPACE.key(a) not in loaded.signals._known]
    with pytest.raises(GraphnasError, match=r"signals secret of .* set predictor.signals.measure"):
        loaded.predict(unknown)
    loaded.signals.measure = predictor.signals.measure
    assert np.array_equal(loaded.predict(unknown).mean, predictor.predict(unknown).mean)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("signals.values", lambda a: a * np.nan),
        ("signals.values", lambda a: a[:-1]),
        ("signals.keys", lambda a: np.arange(len(a))),
        ("signals.names", lambda a: np.array(["other"])),
    ],
)
def test_damaged_files_are_refused(name, change, tmp_path):
    known = _sample(12)
    path = KernelPredictor(SPACE, reference=20, signals=_signals()).fit(known, _secret(known)).save(tmp_path / "k.npz")
    arrays = load_npz(path)
    save_npz(path, {**arrays, name: change(arrays[name])})
    with pytest.raises(GraphnasError, match="damaged or of another release"):
        KernelPredictor.load(path, SPACE)


def test_columns_of_a_table_are_those_of_the_row_and_test_columns_are_refused():
    from graphnas.estimators.table_data import Table

    decisions = np.array([SPACE.encode(a) for a in {SPACE.key(a): a for a in _sample(50)}.values()])
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=len(decisions)) for name in ("val", "params", "short", "test")}
    table = Table("few", SPACE, decisions, columns, validation="val", test=("test",))
    signals = Signals.of_table(table, ["params", "short"])
    architectures = [SPACE.decode(row) for row in decisions.tolist()]
    np.testing.assert_allclose(signals(architectures), np.stack([columns["params"], columns["short"]], axis=1))
    for column in ("test", "val"):
        with pytest.raises(GraphnasError, match="no cheap signal"):
            Signals.of_table(table, [column])
    with pytest.raises(GraphnasError, match="need the names of its columns"):
        Signals.of_table(table, [])
    with pytest.raises(GraphnasError, match="unknown column of table few: 'flops'"):
        Signals.of_table(table, ["flops"])
    with pytest.raises(GraphnasError, match=r"has no signals of .*reference=0"):
        KernelPredictor(SPACE, signals=signals).fit(architectures[:5], columns["val"][:5])
    KernelPredictor(SPACE, reference=0, signals=signals).fit(architectures[:5], columns["val"][:5])


def test_wrong_signals_are_refused():
    with pytest.raises(GraphnasError, match="distinct names"):
        Signals(SPACE, ["a", "a"], None)
    with pytest.raises(GraphnasError, match=r"have the shape \[3, 2\]; give one row each with a"):
        Signals(SPACE, ["a"], lambda forms: np.zeros((len(forms), 2)))(
            list({SPACE.key(a): a for a in _sample(20)}.values())[:3]
        )
    with pytest.raises(GraphnasError, match=r"signal a of .* is nan; give a finite number"):
        Signals(SPACE, ["a"], lambda forms: np.full((len(forms), 1), np.nan))(_sample(3))
    signals = _signals(lambda forms: np.full(len(forms), np.inf))
    with pytest.raises(GraphnasError, match="is inf"):
        KernelPredictor(SPACE, signals=signals).fit(_sample(5), np.arange(5))


def test_signals_as_targets_teach_the_networks_without_being_asked_for_in_prediction():
    """Scores and signal are one hidden number; few labels alone do not tell it, the signal of unlabelled architectures does."""

    def hidden(a):
        return float(sum((i + 1) * (n.op == "nor_conv_3x3") - (n.op == "nor_conv_1x1") for i, n in enumerate(a.nodes)))

    asked = []

    def measure(forms):
        asked.extend(SPACE.key(form) for form in forms)
        return np.array([[hidden(form)] for form in forms])

    known, new = _sample(6, 1), _sample(150, 2)
    options = {
        "networks": 2,
        "steps": 250,
        "width": 32,
        "kernel": False,
        "trees": 0,
        "scalars": False,
        "reference": 400,
    }
    taus = {}
    for weight in ("none", "targets"):
        signals = Signals(SPACE, ["hidden"], measure) if weight == "targets" else None
        predictor = GCNPredictor(SPACE, signals=signals, signals_as="targets", **options)
        predictor.fit(known, np.array([hidden(SPACE.canonical(a)) for a in known]))
        before = len(asked)
        mean = predictor.predict(new).mean
        assert len(asked) == before
        taus[weight] = kendall_tau(mean, [hidden(SPACE.canonical(a)) for a in new])
    assert 0 < len(asked) <= 406
    assert taus["targets"] > taus["none"] + 0.1
    assert taus["targets"] > 0.7
    with pytest.raises(GraphnasError, match="signals_as"):
        GCNPredictor(SPACE, signals_as="both")
