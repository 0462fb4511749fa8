"""Networks compiled from architectures learn: far better than chance, by the default recipes."""

from __future__ import annotations

import pytest

from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.training import TrainingEstimator
from graphnas.registry import get_space, get_task
from spaces import nasbench101, nasbench201, nasbench_graph


def test_a_nasbench201_network_learns_digits() -> None:
    cell = nasbench201.from_string("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
    size = {"channels": 8, "cells": 1}
    estimator = TrainingEstimator(get_space("nasbench201"), get_task("digits"), Fidelity(epochs=5, size=size))
    assert estimator.evaluate(cell, seed=0).score > 85  # chance is 10 %
    empty = nasbench201.from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert estimator.evaluate(empty, seed=0).score < 20, "a cell of zeros passes nothing on"


def test_a_nasbench101_network_learns_digits() -> None:
    matrix = [[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    cell = nasbench101.from_matrix(matrix, ["input", "conv3x3-bn-relu", "conv1x1-bn-relu", "output"])
    fidelity = Fidelity(epochs=5, size={"channels": 8, "cells": 1})
    estimator = TrainingEstimator(get_space("nasbench101"), get_task("digits"), fidelity)
    assert estimator.evaluate(cell, seed=0).score > 85


def test_a_nasbench_graph_network_learns_cora() -> None:
    try:
        task = get_task("cora")
    except GraphnasError as error:
        pytest.skip(str(error))
    estimator = TrainingEstimator(get_space("nasbench_graph"), task, Fidelity(epochs=40, size={"channels": 32}))
    # fc, gcn and gcn in a chain, a skip before: the largest of seven classes is 30 %.
    evaluation = estimator.evaluate(nasbench_graph.from_number(88711), seed=0)
    assert evaluation.score > 60
