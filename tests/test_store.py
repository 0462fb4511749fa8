"""The SQLite store: exact round trips, foreign and damaged files, and a process killed at any moment."""

from __future__ import annotations

import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from graphnas.errors import GraphnasError
from graphnas.registry import get_space
from graphnas.store import Store
from graphnas.strategies.base import Trial

SPACE = get_space("nasbench201")


def trial(number: int, seed: int = 0) -> Trial:
    rng = np.random.default_rng([seed, number])
    architecture = SPACE.sample(rng)
    failed = number % 5 == 4
    return Trial(
        number,
        architecture,
        SPACE.key(architecture),
        "failed" if failed else "complete",
        math.nan if failed else float(rng.normal()),
        {} if failed else {"loss": float(rng.normal()) * 1e-300, "größe": 0.1},
        int(rng.integers(2**31)),
        float(rng.random()),
        float(rng.random()),
        "Traceback ...\nValueError: 'ü' \x00" if failed else "",
    )


def test_trials_come_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    written = [trial(i) for i in range(40)]
    with Store(path) as store:
        for t in reversed(written):  # commits may come in any order
            store.write(t, SPACE.encode(t.architecture))
        store.set("settings", {"b": [1, 2.5, None], "a": "x"})
    with Store(path, read_only=True) as store:
        read = list(store.trials(SPACE))
        assert store.get("settings") == {"b": [1, 2.5, None], "a": "x"}
        assert store.get("absent", 7) == 7
        assert len(store) == 40
    for a, b in zip(written, read, strict=True):
        assert (a.number, a.architecture, a.key, a.status, a.metrics) == (
            b.number,
            b.architecture,
            b.key,
            b.status,
            b.metrics,
        )
        assert (a.seed, a.cost, a.seconds, a.error) == (b.seed, b.cost, b.seconds, b.error)
        assert a.score == b.score or (math.isnan(a.score) and math.isnan(b.score))


def test_a_reader_may_look_while_a_writer_writes_but_no_second_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store(path) as writer:
        writer.write(trial(0), SPACE.encode(trial(0).architecture))
        with Store(path, read_only=True) as reader:
            assert len(reader) == 1
            writer.write(trial(1), SPACE.encode(trial(1).architecture))
            assert len(reader) == 2
        with pytest.raises(GraphnasError, match="in use by another search"):
            Store(path)
    Store(path).close()


def test_foreign_and_missing_files_are_refused_and_kept(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 100)
    with pytest.raises(GraphnasError, match="not a readable graphnas store"):
        Store(text)
    assert text.read_text() == "not a database " * 100

    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE meta (name TEXT, value TEXT)")
    connection.commit()
    connection.close()
    before = other.read_bytes()
    with pytest.raises(GraphnasError, match="no graphnas store"):
        Store(other)
    assert other.read_bytes() == before

    with pytest.raises(GraphnasError, match="there is no store"):
        Store(tmp_path / "absent.db", read_only=True)
    assert not (tmp_path / "absent.db").exists()
    with pytest.raises(GraphnasError, match="folder"):
        Store(tmp_path / "no" / "run.db")


@pytest.mark.parametrize("where", [0.15, 0.4, 0.6, 0.95])
def test_damage_gives_one_sentence(where: float, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        for i in range(400):
            store.write(trial(i), SPACE.encode(trial(i).architecture))
    content = bytearray(path.read_bytes())
    at = int(where * len(content))
    content[at : at + 3000] = random.Random(0).randbytes(3000)
    path.write_bytes(bytes(content))
    with pytest.raises(GraphnasError) as error, Store(path, read_only=True) as store:
        list(store.trials(SPACE))
    assert "\n" not in str(error.value)
    truncated = tmp_path / "b.db"
    truncated.write_bytes(bytes(content[: len(content) // 3]))
    with pytest.raises(GraphnasError), Store(truncated, read_only=True) as store:
        list(store.trials(SPACE))


def test_trials_of_another_space_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        store.write(trial(0), SPACE.encode(trial(0).architecture))
    with (
        Store(path, read_only=True) as store,
        pytest.raises(GraphnasError, match="does not fit space 'nasbench_graph'"),
    ):
        list(store.trials(get_space("nasbench_graph")))


PROGRAM = """
import sys, time
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.registry import get_space
from graphnas.search import Search

SPACE = get_space("nasbench201")

class Slow(Estimator):
    name = "slow"
    space = SPACE
    batch = 3
    def evaluate(self, architecture, *, seed):
        time.sleep(0.004)
        if seed % 11 == 0:
            raise ValueError("every eleventh fails")
        return Evaluation(float(seed % 1000), {"double": 2.0 * seed})

result = Search(SPACE, Slow(), "evolution", options={"population": 15}, budget=120, seed=9, store=sys.argv[1]).run()
print(len(result.trials))
"""


def rows(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    query = "SELECT number, decisions, key, status, score, metrics, seed, cost, substr(error, -22) FROM trials ORDER BY number"
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_killed_twenty_times_it_still_gets_the_same_trials(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = tmp_path / "whole.db"
    subprocess.run([sys.executable, program, whole], check=True, env=environment, capture_output=True)
    killed = tmp_path / "killed.db"
    rng = random.Random(1)
    kills, grown = 0, []
    while kills < 20:
        process = subprocess.Popen([sys.executable, program, killed], env=environment, stdout=subprocess.DEVNULL)
        # Wait for the search to begin, so that kills fall into it and not only into the imports.
        target = len(rows(killed)) if killed.exists() and kills else 0
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if len(rows(killed)) > min(target, 110):
                    break
            except sqlite3.Error:
                pass
            time.sleep(0.002)
        time.sleep(rng.random() * 0.03)
        finished = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        grown.append(len(rows(killed)))
        if finished:
            break
    assert kills == 20 or grown[-1] == 120
    assert grown == sorted(grown), "a committed trial was lost"
    assert sum(0 < g < 120 for g in grown) >= 8, f"too few kills hit the middle of the search: {grown}"
    done = subprocess.run(
        [sys.executable, program, killed], check=True, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "120"
    assert rows(killed) == rows(whole)
