"""Speed and memory of the search loop on the NAS-Bench-Graph/Cora table: python benchmarks/engine.py

Each row runs in a process of its own, on one thread; times are CPU seconds. "fresh" is the rate of evaluated trials over the
first 1,000 with empty caches (median of 7), "asked" that of all proposals, known ones included; "long" is the rate over 100,000 trials, known ones evaluated again, and
"marginal" the cost of its last 4,000 trials over that of trials 500 to 4,500. The last row is the yardstick:
a bare loop that commits two SQLite rows (WAL) a trial and does nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

TARGETS = {"random": 20_000, "local_search": 20_000, "evolution": 12_000}
STORE_TARGET = 8_000


def measure(strategy: str, durable: bool) -> dict[str, float]:
    from graphnas.registry import get_space, get_table
    from graphnas.search import Search

    space, estimator = get_space("nasbench_graph"), get_table("nasbench_graph/cora")
    _ = space.representatives
    folder = tempfile.mkdtemp()

    def run(trials: int, seed: int, deduplicate: bool, progress: object = None) -> tuple[float, float]:
        space.forget()
        store = os.path.join(folder, f"{seed}-{trials}.db") if durable else None
        search = Search(
            space, estimator, strategy, budget=trials, seed=seed, store=store, deduplicate=deduplicate,
            progress=progress,  # type: ignore[arg-type]
        )  # fmt: skip
        start = time.process_time()
        result = search.run()
        seconds = time.process_time() - start
        return len(result.trials) / seconds, (len(result.trials) + result.duplicates) / seconds

    run(200, 99, True)
    rates = [run(1_000, seed, True) for seed in range(7)]
    fresh, asked = (statistics.median(column) for column in zip(*rates, strict=True))
    stamps: dict[int, float] = {}

    def note(trial: object, best: object, count: int) -> None:
        if count in (500, 4_500, 96_000, 100_000):
            stamps[count] = time.process_time()

    long, _ = run(100_000, 50, False, note)
    early = stamps[4_500] - stamps[500]
    late = stamps[100_000] - stamps[96_000]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"fresh": fresh, "asked": asked, "long": long, "marginal": late / early, "megabytes": memory}


def bare(trials: int = 20_000) -> float:
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE t (number INTEGER PRIMARY KEY, kind TEXT, value REAL)")
        start = time.process_time()
        for i in range(trials):
            connection.execute("INSERT INTO t VALUES (?, ?, ?)", (2 * i, "asked", 0.0))
            connection.execute("INSERT INTO t VALUES (?, ?, ?)", (2 * i + 1, "told", 1.0))
        return trials / (time.process_time() - start)


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], sys.argv[2] == "store")))
        return
    yard = bare()
    print(
        f"{'strategy':<16}{'kept in':<9}{'fresh /s':>10}{'asked /s':>10}{'of bare':>9}{'target':>9}{'long /s':>10}{'marginal':>10}{'MB':>7}"
    )
    for durable in ("memory", "store"):
        for strategy in ("random", "local_search", "evolution", "policy_gradient"):
            done = subprocess.run(
                [sys.executable, __file__, strategy, durable], check=True, capture_output=True, text=True
            )
            row = json.loads(done.stdout)
            target = STORE_TARGET if durable == "store" else TARGETS.get(strategy, 0)
            print(
                f"{strategy:<16}{durable:<9}{row['fresh']:>10,.0f}{row['asked']:>10,.0f}{row['fresh'] / yard:>9.2f}{target or '-':>9}"
                f"{row['long']:>10,.0f}{row['marginal']:>10.2f}{row['megabytes']:>7.0f}",
                flush=True,
            )
    print(f"{'bare loop':<16}{'store':<9}{yard:>10,.0f}{'':>10}{1:>9.2f}")


if __name__ == "__main__":
    main()
