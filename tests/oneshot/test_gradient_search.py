"""Gradient-based search of a Space: stores, resuming, the report and the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from graphnas import registry
from graphnas.cli import app
from graphnas.errors import GraphnasError
from graphnas.oneshot.checkpoint import SearchState
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.methods import get, names
from graphnas.oneshot.perturbation import Perturbation
from graphnas.oneshot.problem import SupernetProblem
from graphnas.results import read, report
from graphnas.store import Store
from graphnas.tasks.image import ImageTask
from graphnas.weight_plots import weights_over_time
from spaces import darts
from spaces.tables.nasbench201 import cifar10

SMALL = {"epochs": 2, "batch": 8, "steps": 2}


@pytest.fixture(scope="module")
def task():
    x = torch.randint(256, (64, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageTask((x, torch.arange(64) % 4), (x[:8], torch.arange(8) % 4), name="squares")


def made(task, store=None, method="darts1", space="nasbench201", estimator=None, **changes):
    size = {"channels": 4, "cells": 1 if space == "nasbench201" else 3}
    return GradientSearch(space, task, estimator, method, store=store, size=size, **{**SMALL, **changes})


SAME = {"darts1", "darts_prime", "robust_darts", "darts_pt_fixed", "snas", "snas_discrete", "zarts_gld"}
SAME |= {"darts1_recurrent", "darts2_recurrent"}
"""Methods that ask nothing of a supernet that another of the list does not."""


@pytest.mark.parametrize("name", [name for name in names() if name not in SAME])
def test_every_method_derives_a_member_of_a_space(task, name):
    method = get(name)
    if name == "darts_pt":
        method = replace(method, discretiser=Perturbation(epochs=0))
    search = made(task, method=method, epochs=1, steps=1, batch=6)
    search.run()
    assert search.derived is not None
    assert search.space.contains(search.derived)


@pytest.mark.parametrize("name", ["pc_darts", "darts_prime_clamp"])
def test_two_inputs_of_every_sum_are_derived(task, name):
    search = made(task, method=name, space="darts_s3", epochs=1, steps=1, batch=4)
    search.run()
    assert search.space.contains(search.derived)


class Interrupted(Exception):
    pass


def test_an_interrupted_search_goes_on_bit_for_bit(task, tmp_path, monkeypatch):
    monkeypatch.setattr("graphnas.oneshot.gradient_search.CHECKPOINT_SECONDS", 0.0)
    whole = made(task, tmp_path / "whole.db", "drnas", epochs=3)
    whole.run()
    counted = []

    def stop(step: int):
        def evaluate(self, state, mix, batch, stream="inner"):
            counted.append(1)
            if len(counted) == step:
                raise Interrupted
            return original(self, state, mix, batch, stream)

        return evaluate

    original = SupernetProblem.output
    with monkeypatch.context() as patch:
        patch.setattr(SupernetProblem, "output", stop(7))  # in the middle of the second epoch
        with pytest.raises(Interrupted):
            made(task, tmp_path / "half.db", "drnas", epochs=3).run()
    path = tmp_path / "half.db.checkpoint.npz"
    assert 0 < SearchState.load(path).step < 6
    again = made(task, tmp_path / "half.db", "drnas", epochs=3)
    again.run()
    assert again.derived == whole.derived
    for first, second in ((again.state.alpha, whole.state.alpha),
                          (again.state.weights.parameters, whole.state.weights.parameters)):  # fmt: skip
        assert all(torch.equal(first[name], second[name]) for name in second)
    with Store(tmp_path / "half.db") as a, Store(tmp_path / "whole.db") as b:
        assert a.get("weights") == b.get("weights")


def test_a_store_of_another_search_is_refused(task, tmp_path):
    made(task, tmp_path / "s.db", epochs=1).run()
    with pytest.raises(GraphnasError, match=r"holds another search \(seed: 0 instead of 1\)"):
        made(task, tmp_path / "s.db", epochs=1, seed=1).run()


def test_parts_that_do_not_fit(task):
    with pytest.raises(GraphnasError, match=r"keeps every edge, but .* search darts_edges"):
        made(task, method="snas", space="darts")
    with pytest.raises(GraphnasError, match=r"unknown method .*'daarts'; known: .*darts1, .*darts2, .*zarts_rs"):
        made(task, method="daarts")
    assert get("zarts-mgs") is get("zarts_mgs")
    with pytest.raises(GraphnasError, match="batch of a gradient-based search must be a whole number above 0, not 0"):
        made(task, batch=0)


def test_the_weights_are_drawn_for_every_decision():
    history = [{"epoch": e, "weights": {"op": [[0.2, 0.8], [0.5, 0.5]]}} for e in (1, 2)]
    figure = weights_over_time(history, "op", ["0->1", "0->2"], ["a", "b"])
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["0->1", "0->2"]
    assert [line.get_ydata()[0] for line in panels[0].lines] == [0.2, 0.8]
    with pytest.raises(GraphnasError, match="not 3 rows of 2"):
        weights_over_time(history, "op", ["a", "b", "c"], ["a", "b"])


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def table():
    try:
        return cifar10()
    except GraphnasError as error:
        pytest.skip(str(error))


def run(*words: str) -> None:
    app(list(words), standalone_mode=False)


OPTIONS = ["search_epochs=2", "steps=2", "batch=8", "channels=4", "cells=1"]


def test_search_report_and_resume_on_a_table(table, tmp_path, capsys):
    store = tmp_path / "gdas.db"
    options = [word for pair in [*OPTIONS, "task=digits"] for word in ("--option", pair)]
    command = [
        "search",
        "nasbench201",
        "--on",
        "nasbench201/cifar10",
        "--method",
        "gdas",
        *options,
        "--store",
        str(store),
    ]
    run(*command, "--json")
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert "epoch 2 of 2: inner loss" in captured.err
    assert record["strategy"] == "gdas"
    stored = read(store)
    for trial in stored.trials:
        assert trial.score == table.evaluate(trial.architecture, seed=trial.seed).score
    assert [entry["epoch"] for entry in stored.meta["weights"]] == [1, 2]
    run("resume", str(store), "--json")
    assert json.loads(capsys.readouterr().out)["trials"] == record["trials"]
    page = report([store], tmp_path / "page.html").read_text()
    assert "Architecture weights over the epochs: gdas" in page
    assert "0-&gt;1" in page
    assert "--method gdas" in page


def test_the_derived_network_is_trained_on_a_task(tmp_path, capsys):
    options = [word for pair in OPTIONS for word in ("--option", pair)]
    size = ["--size", "channels=4", "--size", "cells=1", "--epochs", "1", "--data", "0.1"]
    run("search", "nasbench201", "--on", "digits", "--method", "darts1", *options, *size, "--json")
    assert json.loads(capsys.readouterr().out)["trials"] == 1


def test_wrong_words_are_refused(capsys):
    with pytest.raises(GraphnasError, match="give --option search_epochs=N, no budget"):
        run("search", "nasbench201", "--on", "digits", "--method", "darts1", "--budget", "3")
    with pytest.raises(GraphnasError, match="unknown size of nasbench201 networks 'widht'"):
        run("search", "nasbench201", "--on", "digits", "--method", "darts1", "--option", "widht=3")
    with pytest.raises(GraphnasError, match="known: darts1"):
        run("search", "nasbench201", "--on", "digits", "--method", "nothing")


def test_registered_spaces_of_darts():
    assert registry.get_space("darts_s4") is darts.s4()
