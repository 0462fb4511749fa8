"""The Pareto front in a report: figures of one objective against another, and a table of what lies on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from graphnas.drawing import escape
from graphnas.front_plot import pareto_plot
from graphnas.objectives import SCORE, Objective, figure, parse_constraints, parse_objectives
from graphnas.pareto import front
from graphnas.plots import figure_svg
from graphnas.run import Run
from graphnas.strategies.base import Trial

MOST_ROWS = 30


def front_section(runs: Sequence[Run], number: int) -> Iterator[str]:
    """HTML for the runs of a section that have objectives; nothing without any.

    The front is that of all these runs together, by the objectives and constraints of the first of them.
    """
    members = [run for run in runs if run.settings.get("objectives")]
    if not members:
        return
    first = members[0]
    objectives = parse_objectives(first.settings["objectives"])
    constraints = parse_constraints(first.settings.get("constraints") or [])
    owner = {id(t): run for run in members for t in run.trials}
    found = front([t for run in members for t in run.trials], objectives, constraints)
    yield "<h3>Pareto front</h3>"
    kept = (
        f" Trials that do not keep {escape(' and '.join(map(str, constraints)), 200)} are left out of it."
        if constraints
        else ""
    )
    if not found:
        yield f'<p class="empty">No trial has all objectives.{kept}</p>'
        return
    better = ", ".join(f"{_label(o, first)} ({'large' if _large(o, first) else 'small'})" for o in objectives)
    yield f'<p class="note">What no other trial beats in all of: {escape(better, 200)}.{kept}</p>'
    yield '<div class="costs">'
    y = objectives[0]
    for i, x in enumerate(objectives[1:]):
        points: dict[str, list[tuple[float, float]]] = {}
        for run in members:
            pairs = [(_value(t, x, run), _value(t, y, run)) for t in run.trials if t.status == "complete"]
            points.setdefault(run.name, []).extend(pairs)
        if not any(math.isfinite(a) and math.isfinite(b) for pairs in points.values() for a, b in pairs):
            continue
        plot = pareto_plot(
            points,
            [(_value(t, x, first), _value(t, y, first)) for t in found],
            xlabel=_label(x, first),
            ylabel=_label(y, first),
            right_is_better=_large(x, first),
            stairs=len(objectives) == 2,
        )
        yield f"<figure>\n{figure_svg(plot, f'front-{number}-{i}')}\n</figure>"
    yield "</div>"
    heads = "".join(f'<th class="number">{escape(_label(o, first), 80)}</th>' for o in objectives)
    yield f"<table>\n<thead><tr>{heads}<th>run</th><th>trial</th><th>key</th></tr></thead>\n<tbody>"
    for t in found[:MOST_ROWS]:
        run = owner[id(t)]
        cells = "".join(f'<td class="number">{_value(t, o, run):.6g}</td>' for o in objectives)
        yield f"<tr>{cells}<td>{escape(run.name, 120)}</td><td>{t.number}</td><td><code>{escape(t.key, 12)}</code></td></tr>"
    yield "</tbody>\n</table>"
    if len(found) > MOST_ROWS:
        yield f'<p class="note">and {len(found) - MOST_ROWS} more.</p>'


def _value(trial: Trial, objective: Objective, run: Run) -> float:
    """The figure as it was measured."""
    found = figure(trial, objective.name)
    return run.value(found) if objective.name == SCORE else found


def _label(objective: Objective, run: Run) -> str:
    return run.metric if objective.name == SCORE else objective.name


def _large(objective: Objective, run: Run) -> bool:
    return objective.maximise == run.maximise if objective.name == SCORE else objective.maximise
