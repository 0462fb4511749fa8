"""Somebody else's package: its space, strategy and table are found, checked and searched like our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "orchard"
version = "0.1"

[project.entry-points."graphnas.spaces"]
orchard = "orchard:space"

[project.entry-points."graphnas.strategies"]
orchard_climb = "orchard:Climb"

[project.entry-points."graphnas.tables"]
"orchard/yield" = "orchard:harvest"

[tool.setuptools]
py-modules = ["orchard"]
"""

MODULE = '''
"""Three layers of three kinds; the harvest counts the layers of the best kind, and one more for a long tree."""

from functools import lru_cache
from itertools import product

import numpy as np

from graphnas.architecture import node
from graphnas.canonical import Semantics
from graphnas.estimators.table import Table, TableEstimator
from graphnas.space import Choice, Space
from graphnas.strategies.base import Strategy

OPS = ("apple", "pear", "leave")


@lru_cache(maxsize=1)
def space():
    layers = [node(Choice(f"layer{i}", OPS, "op"), (i,)) for i in range(3)]
    return Space(
        "orchard",
        [node("input"), *layers, node("output", (3,))],
        semantics=Semantics(identity_ops=frozenset({"leave"})),
        distinct=True,
    )


def harvest(*, score="", metrics=()):
    decisions = np.array([space().encode(a) for a in space().enumerate()])
    columns = {
        "validation": (decisions == 0).sum(1) + 0.5 * (decisions != 2).all(1),
        "test": (decisions == 0).sum(1) * 1.0,
    }
    return TableEstimator(Table("orchard/yield", space(), decisions, columns), score=score, metrics=metrics)


class Climb(Strategy):
    """Mutates the best architecture so far."""

    best = None

    def ask(self, n):
        if self.best is None:
            return [self.space.sample(self.rng) for _ in range(n)]
        return [self.space.mutate(self.space.decode(self.best[0]), self.rng) for _ in range(n)]

    def tell(self, trials):
        for t in trials:
            if t.score == t.score and (self.best is None or t.score > self.best[1]):
                self.best = [list(self.space.encode(t.architecture)), t.score]

    def _state(self):
        return {"best": self.best}

    def _load(self, state):
        self.best = state["best"]
'''

USER = """
import json

from graphnas import registry
from graphnas.search import Search
from graphnas.testing import check_estimator, check_space, check_strategy

space = registry.get_space("orchard")
climb = registry.find("strategy", "orchard_climb")
table = registry.find("table", "orchard/yield")()
check_space(space)
check_strategy(climb, space)
check_strategy(climb, registry.get_space("nasbench201"))
check_estimator(table, fresh_process=True)
ours = Search("orchard", table, "random", budget=15, batch=2).run()
theirs = Search("orchard", table, "orchard_climb", budget=15, seed=1, store="orchard.db").run()
print(json.dumps({
    "names": [registry.names(kind) for kind in ("space", "strategy", "table")],
    "size": space.size,
    "random": sorted(t.score for t in ours.trials),
    "climb": [theirs.best.score, space.describe(theirs.best.architecture), table.test(theirs.best.architecture)],
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installs the package."""
    source = tmp_path_factory.mktemp("orchard")
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "orchard.py").write_text(MODULE)
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run([*command, "--target", str(target), str(source)], capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr
    return target


def python(code: str, site: Path | None, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def test_a_plugin_is_found_checked_and_searched(site: Path, tmp_path: Path) -> None:
    done = python(USER, site, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    spaces, strategies, tables = found["names"]
    assert {"orchard", "nasbench201"} <= set(spaces)
    assert {"orchard_climb", "random"} <= set(strategies)
    assert "orchard/yield" in tables
    assert found["size"] == 15  # words of at most three letters from two: 1 + 2 + 4 + 8
    # All 15 architectures by number of apples; trees of three layers get half a point more.
    assert found["random"] == sorted([0, 0, 1, 0, 1, 1, 2, 0.5, 1.5, 1.5, 1.5, 2.5, 2.5, 2.5, 3.5])
    assert found["climb"] == [3.5, {f"layer{i}": "apple" for i in range(3)}, {"test": 3.0}]
    assert (tmp_path / "orchard.db").exists()


def test_without_the_plugin_the_name_is_unknown(tmp_path: Path) -> None:
    done = python("from graphnas import registry\nregistry.get_space('orchard')", None, tmp_path)
    assert done.returncode != 0
    assert "GraphnasError: unknown space 'orchard'" in done.stderr


def test_a_plugin_that_fails_to_import_is_one_sentence(site: Path, tmp_path: Path) -> None:
    (tmp_path / "orchard.py").write_text("import no_such_module_at_all\n")
    code = (
        "import sys\nsys.path.insert(0, '.')\nfrom graphnas import registry\n"
        "from graphnas.errors import GraphnasError\n"
        "try:\n    registry.get_space('orchard')\nexcept GraphnasError as error:\n    print(error)"
    )
    done = python(code, site, tmp_path)
    assert "space 'orchard' is registered as 'orchard:space', which fails to load" in done.stdout
    assert "no_such_module_at_all" in done.stdout
