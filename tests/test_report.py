"""The report: its numbers against the trials, its text against hostile names, its file against failures."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.report import write_report
from graphnas.run import Run
from graphnas.strategies.base import Trial
from spaces.nasbench201 import OPS, space

HOSTILE = (
    '</pre></title><script src="http://evil.example/x.js">alert(1)</script><img src=x onerror=alert(1)>"\'&\x00\ud800'
)
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and texts of a page; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.cells: list[dict[str, str]] = []
        self._open: list[str] = []
        self._label: str | None = None
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        self._label = dict(attrs).get("data-label", self._label)
        if dict(attrs).get("data-label") == "run":
            self.cells.append({})
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "td":
            self._label = None

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self._open), data))
        if self._label is not None and self.cells:
            self.cells[-1][self._label] = self.cells[-1].get(self._label, "") + data

    def inside(self, tag: str) -> list[str]:
        return [text for path, text in self.texts if path and path[-1] == tag]

    @property
    def text(self) -> str:
        return " ".join(text for path, text in self.texts if "style" not in path)


def score_of(decisions: Sequence[int]) -> float:
    """A made-up accuracy with few ties."""
    return 60 + sum((i + 1.37) * d for i, d in enumerate(decisions)) / 3


def params_of(decisions: Sequence[int]) -> float:
    return 10_000.0 + sum({2: 4_000, 3: 30_000}.get(d, 0) for d in decisions)


def make_run(
    name: str, seed: int, count: int = 40, *, fail_every: int = 0, maximise: bool = True, on: str = "t"
) -> Run:
    rng = np.random.default_rng(seed)
    cells = space()
    trials: list[Trial] = []
    known: dict[str, float] = {}
    for i in range(count):
        a = trials[3].architecture if i % 10 == 9 and len(trials) > 3 else cells.sample(rng)
        key = cells.key(a)
        metrics = {"params": params_of(cells.encode(a)), "loss": 0.5}
        if fail_every and i % fail_every == 0:
            error = "Traceback (most recent call last):\n  File x\n" + f"RuntimeError: out of <memory> {i % 2}\n\n"
            trials.append(Trial(i, a, key, "failed", math.nan, error=error, seconds=0.25))
        elif key in known:
            trials.append(Trial(i, a, key, "duplicate", known[key], metrics))
        else:
            known[key] = score_of(cells.encode(a)) * (1 if maximise else -1)
            trials.append(Trial(i, a, key, "complete", known[key], metrics, seconds=1.5))
    settings = {"space": "nasbench201", "on": on, "strategy": {"name": "random"}, "seed": seed}
    return Run(name, settings, trials, cells, "accuracy", {}, f"graphnas search --seed {seed}", maximise)


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def is_self_contained(page: Page) -> bool:
    loading = {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "audio",
        "video",
        "source",
        "image",
        "base",
        "form",
    }
    addresses = [v for _, k, v in page.attributes if k in ("src", "href", "xlink:href", "action", "data", "srcset")]
    urls = [v for _, _, v in page.attributes if "url(" in v] + page.inside("style")
    return (
        not loading & set(page.tags)
        and all(a.startswith("#") for a in addresses)
        and not any(re.search(r"url\((?!#)|@import", u) for u in urls)
        and not any(k.startswith("on") for _, k, _ in page.attributes)
        and not any("http" in v for _, k, v in page.attributes if not k.startswith("xmlns"))
    )


def test_the_numbers_are_those_of_the_trials(tmp_path: Path) -> None:
    first = make_run("first", 1, fail_every=7)
    second = replace(make_run("second", 2), test={"accuracy": 91.25})
    page = read(write_report([first, second], tmp_path / "report.html"))
    assert [c["run"] for c in page.cells] == ["first", "second"]
    for run, cells in zip((first, second), page.cells, strict=True):
        complete = [t for t in run.trials if t.status == "complete"]
        failed = [t for t in run.trials if t.status == "failed"]
        assert len(failed) == (6 if run is first else 0)
        assert cells["space"] == "nasbench201"
        assert cells["on"] == "t"
        assert cells["strategy"] == "random"
        assert cells["evaluations"] == str(len(complete) + len(failed))
        assert cells["failed"] == str(len(failed))
        assert cells["duplicates"] == str(len(run.trials) - len(complete) - len(failed))
        assert int(cells["duplicates"]) > 0
        assert cells["time"] == f"{1.5 * len(complete) + 0.25 * len(failed):.3g} s"
        assert float(cells["best validation"].split()[0]) == pytest.approx(max(t.score for t in complete), rel=1e-4)
    assert page.cells[0]["test"] == "not given"
    assert page.cells[1]["test"] == "91.25 accuracy"
    assert is_self_contained(page)


def test_the_five_best_distinct_architectures_are_shown(tmp_path: Path) -> None:
    runs = [make_run("a", 1), make_run("b", 1), make_run("c", 3)]  # a and b tried the same
    page = read(write_report(runs, tmp_path / "r.html"))
    scores = {t.key: t.score for r in runs for t in r.trials if t.status == "complete"}
    expected = sorted(scores.values(), reverse=True)[:5]
    shown = [float(text) for text in page.inside("h4")]
    assert shown == pytest.approx(expected, rel=1e-4)
    assert sum("first" in text or ", trial " in text for text in page.inside("small")) == 5
    best = max((t for r in runs for t in r.trials if t.status == "complete"), key=lambda t: t.score)
    decided = {str(c.name): OPS[d] for c, d in zip(space().choices, space().encode(best.architecture), strict=True)}
    names, values = page.inside("dt"), page.inside("dd")
    start = names.index("0->1")
    assert dict(itertools.islice(zip(names[start:], values[start:], strict=True), 6)) == decided
    assert values[names.index("params")] == f"{params_of(space().encode(best.architecture)):,.0f}"
    boxes = [v for tag, k, v in page.attributes if tag == "rect" and k == "class" and v == "box"]
    drawn = sorted(scores, key=lambda k: -scores[k])[:5]
    by_key = {t.key: t.architecture for r in runs for t in r.trials}
    assert len(boxes) == sum(len(space().canonical(by_key[k])) for k in drawn)


def test_the_baseline_is_labelled_with_its_repeats(tmp_path: Path) -> None:
    baseline = [make_run("random", seed) for seed in range(10, 16)]
    page = read(write_report([make_run("mine", 1)], tmp_path / "r.html", baseline=baseline))
    assert "random search (6 repeats)" in page.inside("text")
    curves = []
    for run in baseline:
        scores = [t.score for t in run.trials if t.status == "complete"]
        curves.append(list(itertools.accumulate(scores, max)))
    final = [curve[min(map(len, curves)) - 1] for curve in curves]
    match = re.search(r"Random search, 6 repeats: ([\d.]+) ± ([\d.]+) .* after (\d+) evaluations", page.text)
    assert match
    assert float(match[1]) == pytest.approx(statistics.fmean(final), abs=0.06)
    assert float(match[2]) == pytest.approx(statistics.stdev(final), rel=0.06)
    assert int(match[3]) == min(map(len, curves))
    assert "no random-search baseline" not in page.text
    assert "graphnas search --seed 15" in page.text


def test_a_missing_baseline_is_said_and_not_drawn(tmp_path: Path) -> None:
    page = read(write_report([make_run("mine", 1)], tmp_path / "r.html"))
    assert "There is no random-search baseline" in page.text
    assert not [t for t in page.inside("text") if "random" in t]


def test_a_minimised_metric_is_shown_as_measured(tmp_path: Path) -> None:
    run = make_run("error", 4, maximise=False)
    page = read(write_report([run], tmp_path / "r.html"))
    measured = [-t.score for t in run.trials if t.status == "complete"]
    assert float(page.cells[0]["best validation"].split()[0]) == pytest.approx(min(measured), rel=1e-4)
    assert float(page.inside("h4")[0]) == pytest.approx(min(measured), rel=1e-4)
    curve = run.best_so_far()
    assert curve == list(itertools.accumulate(measured, min))


def test_best_so_far_skips_duplicates_and_waits_for_the_first_success() -> None:
    a = space().decode((0,) * 6)
    trials = [
        Trial(0, a, "k0", "failed", math.nan),
        Trial(1, a, "k1", "complete", 2.0),
        Trial(2, a, "k1", "duplicate", 2.0),
        Trial(3, a, "k2", "complete", 1.0),
        Trial(4, a, "k3", "complete", math.nan),
        Trial(5, a, "k4", "complete", 3.0),
    ]
    run = Run("r", {}, trials, space())
    curve = run.best_so_far()
    assert math.isnan(curve[0])
    assert curve[1:] == [2.0, 2.0, 2.0, 3.0]
    assert run.evaluations == len(curve) == 5
    assert [t.key for t in run.best(9)] == ["k4", "k1", "k2"]


def test_names_are_found_in_the_settings_of_a_search() -> None:
    as_saved = Run("r", {"estimator": {"name": "table/x", "space": "s"}, "strategy": "evolution"}, [], space())
    assert (as_saved.on, as_saved.strategy) == ("table/x", "evolution")
    as_typed = Run("r", {"on": "cora", "estimator": {"name": "training"}, "strategy": {"name": "random"}}, [], space())
    assert (as_typed.on, as_typed.strategy) == ("cora", "random")
    assert (Run("r", {}, [], space()).on, Run("r", {}, [], space()).strategy) == ("", "")


def test_costs_are_drawn_only_when_they_were_measured(tmp_path: Path) -> None:
    run = make_run("a", 1)
    assert "Score against cost" in read(write_report([run], tmp_path / "r.html")).inside("h3")
    for t in run.trials:
        del t.metrics["params"]
    page = read(write_report([run], tmp_path / "r.html"))
    assert "Score against cost" not in page.inside("h3")
    assert "params" not in page.text


def test_failed_trials_are_listed_with_the_last_line(tmp_path: Path) -> None:
    run = make_run("a", 1, fail_every=3)
    page = read(write_report([run], tmp_path / "r.html"))
    assert page.inside("code") == ["RuntimeError: out of <memory> 0", "RuntimeError: out of <memory> 1"]
    assert "a: 14 of 40 trials" in page.inside("h3")
    assert "0, 6, 12, 18, 24, 30, 36" in page.inside("td")
    assert "Traceback" not in page.text


def test_empty_and_failed_runs_are_said(tmp_path: Path) -> None:
    full = make_run("full", 1)
    empty = Run("empty", {}, [], space())
    broken = Run("broken", {}, [Trial(0, full.trials[0].architecture, "k", "failed", math.nan)], space())
    for runs in ([empty], [broken], [empty, broken], [empty, broken, full]):
        page = read(write_report(runs, tmp_path / "r.html"))
        assert ("empty: there are no trials" in page.text) == (empty in runs)
        assert ("broken: none of 1 trial has a score (1 failed)" in page.text) == (broken in runs)
        assert ("no message was recorded" in page.text) == (broken in runs)
        assert ("Search curve" in page.text) == (full in runs)
        assert page.cells[0]["best validation"] in ("none", "")


def test_the_settings_can_be_read_back(tmp_path: Path) -> None:
    run = make_run("a", 1)
    settings = {**run.settings, "text": 'quotes " & <tags>\nline', "nested": {"list": [1, 2.5, None, True]}}
    page = read(write_report([replace(run, settings=settings)], tmp_path / "r.html"))
    command, text = page.inside("pre")
    assert command == "graphnas search --seed 1"
    assert json.loads(text) == settings


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run = make_run("a", 1, fail_every=5)
    for t in run.trials:
        t.error = t.error and HOSTILE
        t.metrics = {HOSTILE: 1.0, "params_" + HOSTILE: float(t.number), "params": float(t.number)}
    settings = {"on": HOSTILE, "strategy": HOSTILE, HOSTILE: [HOSTILE]}
    made = Run(HOSTILE, settings, run.trials, run.space, HOSTILE, {HOSTILE: 1.0}, HOSTILE)
    path = write_report([made], tmp_path / "r.html", title=HOSTILE, baseline=[made])
    page = read(path)
    assert is_self_contained(page)
    assert "alert(1)" in page.text
    assert "script" not in page.tags
    assert page.tags.count("title") == 1 + 5 + sum(len(space().canonical(t.architecture)) for t in made.best(5))


def test_a_foreign_architecture_is_reported_without_decisions(tmp_path: Path) -> None:
    run = make_run("a", 1)
    foreign = Architecture([node("input"), node("alien", [0]), node("output", [1])])
    trials = [Trial(0, foreign, "foreign", "complete", 99.0)]
    page = read(write_report([Run("f", run.settings, trials, run.space)], tmp_path / "r.html"))
    assert "the architecture is not written as this space writes it" in page.inside("dd")


def test_the_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    run = make_run("a", 1)
    written = write_report([run], path).read_bytes()
    assert written == write_report([make_run("a", 1)], path).read_bytes()
    with pytest.raises(GraphnasError, match="at least one run"):
        write_report([], path)
    with pytest.raises(GraphnasError, match="none of the runs"):
        write_report([run], path, baseline=[make_run("b", 2, on="other")])
    assert path.read_bytes() == written
    assert os.listdir(tmp_path) == ["r.html"]
    with pytest.raises(GraphnasError, match="cannot write"):
        write_report([run], path / "below" / "a-file.html")
    assert os.listdir(tmp_path) == ["r.html"]


def test_nasbench201_numbers_come_through(tmp_path: Path) -> None:
    file = Path(os.environ.get("GRAPHNAS_DATA", "")) / "nb201.npz"
    if not os.environ.get("GRAPHNAS_DATA") or not file.is_file():
        pytest.skip("GRAPHNAS_DATA does not hold nb201.npz")
    with np.load(file, allow_pickle=False) as table:
        ops, validation, test = table["ops"], table["c10_val200"], table["c10_test200"]
        names = [str(n) for n in table["op_names"]]
    rows = [*np.random.default_rng(0).integers(0, len(ops), size=60).tolist(), int(validation.argmax())]
    trials = []
    for i, row in enumerate(rows):
        a = space().decode([OPS.index(names[o]) for o in ops[row]])
        trials.append(Trial(i, a, space().key(a), "complete", float(validation[row])))
    run = Run("table", {}, trials, space(), "accuracy", {"accuracy": float(test[rows[-1]])})
    page = read(write_report([run], tmp_path / "r.html"))
    assert page.cells[0]["best validation"].split()[0] == "91.57"  # the best validation accuracy of the benchmark
    assert float(page.cells[0]["test"].split()[0]) == pytest.approx(float(test[validation.argmax()]), abs=0.005)
