"""Runs as one HTML page that stands alone: no scripts, no requests, nothing beside it."""

from __future__ import annotations

import html
import json
import math
import re
import statistics
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphnas.drawing import escape, plain, to_svg
from graphnas.errors import GraphnasError
from graphnas.files import replacing
from graphnas.plots import figure_svg, score_against_cost, search_curves
from graphnas.report_front import front_section
from graphnas.report_style import HEAD, STYLE
from graphnas.run import Run, scored
from graphnas.strategies.base import Trial
from graphnas.weight_plots import weights_over_time

TOP = 5
_COSTS = re.compile(r"(params|parameters|flops|multiply_adds|macs|latency|energy)(_.*)?", re.IGNORECASE)
_MAX_COSTS = 3
_MAX_DECISIONS = 60
_MAX_ERRORS = 20

_Group = tuple[str, str, str, bool]


def write_report(
    runs: Sequence[Run],
    path: str | Path,
    *,
    baseline: Sequence[Run] | None = None,
    title: str = "Architecture search",
) -> Path:
    """Write one self-contained HTML page about the runs and return its path.

    Runs on the same space, task and metric share a section. Runs with one name are repeats: their search curve is a
    mean with a band. The page holds nothing that changes from call to call: same runs, same bytes.

    Args:
        runs: what to report; a run may be empty or have failed trials only, and the page says so.
        path: the HTML file; it is replaced in one step.
        baseline: repeats of random search, drawn behind the curves of the runs on the same space, task and metric.
        title: heading of the page.

    Raises:
        GraphnasError: no runs, a baseline that fits none of them, or the file cannot be written.
    """
    if not runs:
        raise GraphnasError("there is nothing to report: give at least one run")
    groups: dict[_Group, list[Run]] = {}
    for run in runs:
        groups.setdefault(_group(run), []).append(run)
    baselines: dict[_Group, list[Run]] = {}
    for run in baseline or ():
        if _group(run) not in groups:
            raise GraphnasError(
                f"the baseline {plain(run.name, 60)!r} measures {plain(run.metric, 60)!r} in space {run.space.name!r} "
                f"on {plain(run.on, 60)!r}, as none of the runs does; give repeats on what they searched"
            )
        baselines.setdefault(_group(run), []).append(run)
    parts = [HEAD.format(title=escape(title, 200), style=STYLE), f"<h1>{escape(title, 200)}</h1>", _lead(runs)]
    parts.append(_summary(runs))
    for number, (group, members) in enumerate(groups.items()):
        parts += _group_section(members, baselines.get(group, []), number)
    parts += _failures(runs)
    parts += _settings([*runs, *(baseline or ())])
    parts.append("</main>\n</body>\n</html>\n")
    page = "\n".join(parts).encode("utf-8")
    target = Path(path)
    with replacing(target) as file:
        file.write(page)
    return target


def _group(run: Run) -> _Group:
    return run.space.name, run.on, run.metric, run.maximise


def _lead(runs: Sequence[Run]) -> str:
    evaluations = sum(r.evaluations for r in runs)
    return f'<p class="lead">{_count(len(runs), "run")}, {_count(evaluations, "evaluation")}.</p>'


def _summary(runs: Sequence[Run]) -> str:
    heads = ("run", "space", "on", "strategy", "evaluations", "failed", "duplicates", "time", "best validation", "test")
    numbers = {"evaluations", "failed", "duplicates", "time", "best validation", "test"}
    rows = []
    for run in runs:
        best = run.best()
        score = (
            f"<b>{_number(run.value(best[0].score))}</b> <small>{escape(run.metric, 80)}</small>" if best else "none"
        )
        test = "<br>".join(f"{_number(v)} <small>{escape(k, 80)}</small>" for k, v in run.test.items()) or "not given"
        cells = (
            escape(run.name, 120),
            escape(run.space.name, 80),
            escape(run.on or "not given", 80),
            escape(run.strategy or "not given", 80),
            f"{run.evaluations:,}",
            f"{len(run.failed):,}",
            f"{run.duplicates:,}",
            _duration(run.seconds),
            score,
            test,
        )
        rows.append(
            "<tr>"
            + "".join(
                f'<td data-label="{h}"{_class(h in numbers)}><span>{c}</span></td>'
                for h, c in zip(heads, cells, strict=True)
            )
            + "</tr>"
        )
    head = "".join(f"<th{_class(h in numbers)}>{h}</th>" for h in heads)
    body = "\n".join(rows)
    return f'<table class="summary">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def _group_section(runs: Sequence[Run], baseline: Sequence[Run], number: int) -> Iterator[str]:
    first = runs[0]
    on = f" on {escape(first.on, 120)}" if first.on else ""
    yield f"<section>\n<h2>{escape(first.space.name, 120)}{on}</h2>"
    for run in runs:
        if not run.trials:
            yield f'<p class="empty">{escape(run.name, 120)}: there are no trials; nothing was evaluated.</p>'
        elif not run.best():
            yield (
                f'<p class="empty">{escape(run.name, 120)}: none of {_count(len(run.trials), "trial")} has a score '
                f"({len(run.failed):,} failed), so there is no best architecture.</p>"
            )
    if any(run.best() for run in runs):
        yield from _curves(runs, baseline, number)
    yield from _weights(runs, number)
    if any(run.best() for run in runs):
        yield from front_section(runs, number)
        yield from _best(runs)
        if not any(run.settings.get("objectives") for run in runs):
            yield from _costs(runs, number)
    yield "</section>"


def _curves(runs: Sequence[Run], baseline: Sequence[Run], number: int) -> Iterator[str]:
    curves: dict[str, list[list[float]]] = {}
    for run in runs:
        if run.best():
            curves.setdefault(run.name, []).append(run.best_so_far())
    behind = [curve for run in baseline if run.best() for curve in [run.best_so_far()]]
    drawn = {f"{name} ({len(c)} repeats)" if len(c) > 1 else name: c for name, c in curves.items()}
    label = f"random search ({_count(len(behind), 'repeat')})"
    while label in drawn:
        label += " baseline"
    metric = runs[0].metric
    figure = search_curves(
        drawn,
        f"best {metric} so far",
        baseline={label: behind} if behind else None,
        maximise=runs[0].maximise,
        size=(5.4, 3.2),  # small, so that the text stays readable on a phone
    )
    yield f"<h3>Search curve</h3>\n<figure>\n{figure_svg(figure, f'curve-{number}')}"
    notes = ["Best validation score against the number of evaluations; the vertical axis leaves out the first 5 %."]
    if any(len(c) > 1 for c in [*curves.values(), behind]):
        notes.append("Lines are means over repeats, bands run from their 10th to their 90th percentile.")
    if behind:
        shared = min(map(len, behind))
        final = [curve[shared - 1] for curve in behind]
        notes.append(
            f"Random search, {_count(len(final), 'repeat')}: {_mean_text(final)} after {_count(shared, 'evaluation')}."
        )
    else:
        notes.append("There is no random-search baseline to compare with.")
    yield f"<figcaption>{' '.join(notes)}</figcaption>\n</figure>"


def _weights(runs: Sequence[Run], number: int) -> Iterator[str]:
    """The architecture weights of gradient-based searches over their epochs."""
    for place, run in enumerate(runs):
        if not run.weights:
            continue
        yield f"<h3>Architecture weights over the epochs: {escape(run.name, 120)}</h3>"
        for i, (group, names) in enumerate(run.groups.items()):
            figure = weights_over_time(run.weights, group, names["rows"], names["options"])
            yield f"<figure>\n{figure_svg(figure, f'weights-{number}-{place}-{i}')}"
            yield f"<figcaption>Weights of the options of every decision of {escape(group, 60)}.</figcaption>\n</figure>"


def _best(runs: Sequence[Run]) -> Iterator[str]:
    found: dict[str, tuple[Run, Trial]] = {}
    for run, trial in sorted(((r, t) for r in runs for t in r.best(TOP)), key=lambda pair: -pair[1].score):
        found.setdefault(trial.key, (run, trial))
    best = list(found.values())[:TOP]
    yield f"<h3>{'The best architecture' if len(best) == 1 else f'The {len(best)} best architectures'}</h3>"
    yield (
        '<p class="note">Drawn in canonical form: what cannot affect the output is left out. '
        "The decisions are those of the architecture as it was tried.</p>"
    )
    yield '<div class="cards">'
    for rank, (run, trial) in enumerate(best, start=1):
        score = f"{_number(run.value(trial.score))} <span>{escape(run.metric, 80)}</span>"
        picture, width = _picture(run, trial)
        wide = " widest" if width > 900 else " wide" if width > 440 else ""
        yield f'<div class="card{wide}">\n<h4><span>{rank}.</span>{score}</h4>'
        yield f"<small>{escape(run.name, 120)}, trial {trial.number}, key {escape(trial.key, 12)}</small>"
        yield picture
        yield _pairs({k: _number(v) for k, v in trial.metrics.items()})
        yield _pairs(_decisions(run, trial))
        yield "</div>"
    yield "</div>"


def _picture(run: Run, trial: Trial) -> tuple[str, int]:
    """The drawing, and its natural width in pixels; it shrinks to 60 % of that before it scrolls."""
    try:
        svg = to_svg(run.space.canonical(trial.architecture)).strip()
    except GraphnasError as error:
        return f'<p class="note">No drawing: {escape(error, 300)}.</p>', 0
    width = int(svg.split('width="', 1)[1].split('"', 1)[0])
    svg = svg.replace("<svg ", f'<svg style="max-width:{width}px;min-width:{0.6 * width:.0f}px" ', 1)
    return f'<div class="picture">\n{svg}\n</div>', width


def _decisions(run: Run, trial: Trial) -> dict[str, str]:
    try:
        found = run.space.describe(trial.architecture)
    except GraphnasError:
        return {"decisions": "the architecture is not written as this space writes it"}
    shown = {name: str(option) for name, option in list(found.items())[:_MAX_DECISIONS]}
    if len(found) > _MAX_DECISIONS:
        shown["…"] = f"and {len(found) - _MAX_DECISIONS} more"
    return shown


def _costs(runs: Sequence[Run], number: int) -> Iterator[str]:
    names = dict.fromkeys(k for r in runs for t in scored(r.trials) for k in t.metrics if _COSTS.fullmatch(k))
    figures = []
    for i, name in enumerate(names):
        points: dict[str, dict[str, tuple[float, float]]] = {}
        for run in runs:
            for t in scored(run.trials):
                cost = t.metrics.get(name, math.nan)
                if math.isfinite(cost):
                    points.setdefault(run.name, {})[t.key] = (cost, run.value(t.score))
        if len({cost for pairs in points.values() for cost, _ in pairs.values()}) < 2:
            continue  # one cost for all says nothing
        figure = score_against_cost(
            {run: list(pairs.values()) for run, pairs in points.items()},
            xlabel=name,
            ylabel=runs[0].metric,
            maximise=runs[0].maximise,
            size=(5.4, 3.2),
        )
        figures.append(f"<figure>\n{figure_svg(figure, f'cost-{number}-{i}')}\n</figure>")
        if len(figures) == _MAX_COSTS:
            break
    if figures:
        yield "<h3>Score against cost</h3>"
        yield '<p class="note">One mark for each distinct architecture; the line is the Pareto front of all.</p>'
        yield f'<div class="costs">\n{"".join(figures)}\n</div>'


def _failures(runs: Sequence[Run]) -> Iterator[str]:
    if not any(run.failed for run in runs):
        return
    yield "<section>\n<h2>Failed trials</h2>"
    for run in runs:
        if not run.failed:
            continue
        numbers: dict[str, list[int]] = {}
        for t in run.failed:
            lines = [line for line in t.error.splitlines() if line.strip()]
            numbers.setdefault(plain(lines[-1], 300) if lines else "no message was recorded", []).append(t.number)
        yield f"<h3>{escape(run.name, 120)}: {len(run.failed):,} of {_count(len(run.trials), 'trial')}</h3>"
        yield "<table>\n<thead><tr><th>last line of the error</th><th>trials</th></tr></thead>\n<tbody>"
        for error, trials in list(numbers.items())[:_MAX_ERRORS]:
            more = f" and {len(trials) - 8} more" if len(trials) > 8 else ""
            yield f"<tr><td><code>{escape(error)}</code></td><td>{', '.join(map(str, trials[:8]))}{more}</td></tr>"
        yield "</tbody>\n</table>"
        if len(numbers) > _MAX_ERRORS:
            yield f'<p class="note">and {len(numbers) - _MAX_ERRORS} more errors.</p>'
    yield "</section>"


def _settings(runs: Sequence[Run]) -> Iterator[str]:
    yield "<section>\n<h2>Settings</h2>\n<p>What reproduces the runs on this page.</p>"
    alike: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        text = json.dumps({k: v for k, v in run.settings.items() if k != "seed"}, default=str)
        alike.setdefault((run.name, text), []).append(run)
    for (name, _), members in alike.items():
        yield f"<h3>{escape(name, 120)}{f' ({len(members)} repeats)' if len(members) > 1 else ''}</h3>"
        commands = [run.command for run in members if run.command]
        if commands:
            lines = "\n".join(commands)
            yield f'<pre class="command">{_block(lines)}</pre>'
        else:
            yield '<p class="note">No shell command was recorded.</p>'
        yield f'<pre class="settings">{_block(json.dumps(dict(members[0].settings), indent=2, default=str))}</pre>'
        if len(members) > 1:
            seeds = ", ".join(escape(run.settings.get("seed", "not given"), 40) for run in members)
            yield f'<p class="note">The repeats differ in the seed only: {seeds}.</p>'
    yield "</section>"


def _pairs(pairs: Mapping[str, str]) -> str:
    if not pairs:
        return ""
    return "<dl>" + "".join(f"<dt>{escape(k, 80)}</dt><dd>{escape(v, 200)}</dd>" for k, v in pairs.items()) + "</dl>"


def _block(text: str) -> str:
    """Escaped text that keeps its lines."""
    return html.escape("".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text))


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _number(value: Any) -> str:
    """Five significant digits; whole numbers in full."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return escape(value, 80)
    if math.isfinite(number) and number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:.5g}"


def _mean_text(values: Sequence[float]) -> str:
    """Mean ± standard deviation, to the second significant digit of the latter."""
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    if not (math.isfinite(mean) and spread > 0):
        return _number(mean)
    digits = max(0, 1 - math.floor(math.log10(spread)))
    return f"{mean:.{digits}f} ± {spread:.{digits}f} (mean and standard deviation)"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"
