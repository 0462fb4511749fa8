"""Stored searches as a report needs them: their runs, the test scores of their winners, random search beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphnas import registry
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator
from graphnas.objectives import parse_constraints, violation
from graphnas.run import Run
from graphnas.search import Result, Search
from graphnas.settings import Settings
from graphnas.space import Space
from graphnas.store import Store
from graphnas.strategies.base import Trial

BASELINE_SEEDS = 20
"""Repeats of random search that a report draws beside a search on a table."""


@dataclass
class Stored:
    """What a store holds.

    Attributes:
        path: the store.
        settings: by names; None when the search was started from Python with objects of its own.
        space: of the search.
        trials: in order.
        meta: what else the store keeps (settings, seconds, duplicates, stopped, test).
    """

    path: Path
    settings: Settings | None
    space: Space
    trials: list[Trial]
    meta: dict[str, Any]

    @property
    def best(self) -> Trial | None:
        """The trial with the greatest score of those that keep all constraints."""
        limits = parse_constraints(self.meta["settings"].get("constraints") or ())
        complete = [t for t in self.trials if t.status == "complete" and violation(t, limits) == 0]
        return max(complete, key=lambda t: t.score) if complete else None

    def needs_settings(self) -> Settings:
        """The settings, or an error that says why there are none."""
        return self.settings if self.settings is not None else Settings.from_record({})


def read(path: str | Path) -> Stored:
    """Read a store.

    Raises:
        GraphnasError: no store, or of a space that is not installed.
    """
    with Store(path, read_only=True) as store:
        names = ("settings", "seconds", "duplicates", "stopped", "test", "budget", "weights", "groups")
        meta = {name: store.get(name) for name in names}
        if not meta["settings"]:
            raise GraphnasError(f"store {path} holds no search yet")
        command = store.get("command")
        settings = Settings.from_record(command) if command else None
        space = registry.get_space(meta["settings"]["space"])
        return Stored(Path(path), settings, space, list(store.trials(space)), meta)


def test_metrics(stored: Stored, estimator: Estimator) -> dict[str, float]:
    """Test metrics of the best trial: read once, then kept in the store."""
    best = stored.best
    if best is None:
        return {}
    kept = stored.meta.get("test")
    if kept and kept["trial"] == best.number:
        return dict(kept["metrics"])
    metrics = estimator.test(best.architecture, seed=best.seed)
    with Store(stored.path) as store:
        store.set("test", {"trial": best.number, "metrics": metrics})
    return metrics


def as_run(stored: Stored, estimator: Estimator | None, test: dict[str, float], name: str = "") -> Run:
    """The run for a report."""
    settings = dict(stored.meta["settings"])
    settings["on"] = stored.settings.on if stored.settings else settings.get("estimator", {}).get("name", "")
    settings["budget"] = stored.meta.get("budget")
    return Run(
        name=name or str(settings["strategy"]),
        settings=settings,
        trials=stored.trials,
        space=stored.space,
        metric=estimator.metric if estimator else "score",
        test={name.removeprefix("test_"): value for name, value in test.items()},
        command=stored.settings.shell(str(stored.path)) if stored.settings else "",
        maximise=estimator.maximise if estimator else True,
        proposed_again=stored.meta.get("duplicates") or 0,
        wall=stored.meta.get("seconds"),
        weights=stored.meta.get("weights") or (),
        groups=stored.meta.get("groups") or {},
    )


def random_baseline(stored: Stored, estimator: Estimator, seeds: int = BASELINE_SEEDS) -> list[Run]:
    """Random search on a table with as many trials as the stored search; empty where an evaluation costs training."""
    if not estimator.cheap or not stored.trials:
        return []
    settings = replace(
        stored.needs_settings(),
        strategy="random",
        method=None,
        options={},
        trials=len(stored.trials),
        seconds=None,
        cost=None,
    )
    runs = []
    for seed in range(seeds):
        search: Search = replace(settings, seed=seed).search(estimator=estimator)
        result: Result = search.run()
        record = {**search.settings(), "on": settings.on}
        runs.append(
            Run("random search", record, result.trials, stored.space, estimator.metric, maximise=estimator.maximise)
        )
    return runs


def report(
    stores: Sequence[str | Path], output: str | Path, *, baseline: Sequence[str | Path] = (), test: bool = True
) -> Path:
    """Write the HTML report of stored searches.

    Args:
        stores: what to report.
        output: the page.
        baseline: stores of random searches to compare with; on tables random search is run afresh.
        test: read the test metrics of the winners (on a task this trains each winner once more).
    """
    from graphnas.report import write_report

    runs: list[Run] = []
    beside: list[Run] = []
    measured: set[tuple[str, str]] = set()
    for path in stores:
        stored = read(path)
        estimator = stored.settings.estimator() if stored.settings else None
        found = (
            test_metrics(stored, estimator)
            if test and estimator
            else dict((stored.meta.get("test") or {}).get("metrics", {}))
        )
        runs.append(as_run(stored, estimator, found))
        if estimator is None or stored.settings is None:
            continue
        subject = (stored.settings.space, stored.settings.on)
        longest = max(len(r.trials) for r in runs)
        if subject not in measured and len(stored.trials) == longest:
            measured.add(subject)
            beside += random_baseline(stored, estimator)
    for path in baseline:
        stored = read(path)
        estimator = stored.settings.estimator() if stored.settings else None
        beside.append(as_run(stored, estimator, {}, "random search"))
    return write_report(runs, output, baseline=beside or None)
