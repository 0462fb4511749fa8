"""Models against baselines on a part of a data set, as one HTML page that stands alone."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eda.baselines import HOTSPOTS, NETS
from eda.card import limits
from eda.dataset import Dataset
from eda.development import ceiling, metrics_with_intervals, task_of
from eda.metrics import Interval
from eda.model import RoutabilityModel
from eda.tasks import RoutabilityTask
from graphnas.errors import GraphnasError
from graphnas.files import replacing
from graphnas.plots import figure_svg
from graphnas.report_style import HEAD, STYLE

_SHOWN = 4
_MEANING = {
    "tau": "Kendall's tau-b of the rate over all placements (1: same order, 0: none)",
    "tau_within": "mean over designs of tau among the placements of one design",
    "tau_count": "tau of the number of violated nets",
    "auc": "area under the ROC curve over all tiles pooled (0.5: chance)",
    "auc_placement": "mean over placements of their own area",
    "pr_auc": "area under the precision-recall curve over all tiles pooled",
}


def save_report(models: Sequence[RoutabilityModel], dataset: Dataset, split: str, path: str | Path) -> Path:
    """Write the page: for each model its metrics beside the trivial baselines, and some predicted maps or rates.

    Raises:
        GraphnasError: no models, no such part, or a file that cannot be written.
    """
    if not models:
        raise GraphnasError("there is nothing to report: give at least one model")
    title = f"Routability of {len(dataset.part(split))} placements ({split})"
    parts = [HEAD.format(title=html.escape(title), style=STYLE), f"<h1>{html.escape(title)}</h1>"]
    parts.append("".join(f"<p class='note'>{html.escape(line)}</p>" for line in limits(models[0].preparation)))
    for model in models:
        task = task_of(model.task, dataset, **_effort(model))
        parts += _section(model, task, split)
    parts.append("</main></body></html>\n")
    with replacing(Path(path)) as file:
        file.write("\n".join(parts).encode())
    return Path(path)


def _effort(model: RoutabilityModel) -> dict[str, int]:
    """The routing effort that the model learned, where its card tells it."""
    task = model.card.get("task", {})
    return {"effort": int(task["effort"])} if isinstance(task, dict) and "effort" in task else {}


def _section(model: RoutabilityModel, task: RoutabilityTask, split: str) -> Iterator[str]:
    samples = task.samples(split)
    said = [model.outputs(s.features, s.recipe.layers, s.graph) for s in samples]
    rows: dict[str, dict[str, Interval]] = {"this model": metrics_with_intervals(said, task, split)}
    if model.task == "nets":
        for name, baseline in NETS.items():
            numbers = baseline(task.dataset, task.effort, 0)(samples)
            rows[name] = metrics_with_intervals([np.array([value]) for value in numbers], task, split)
    else:
        for name, of_maps in HOTSPOTS.items():
            rows[name] = metrics_with_intervals(
                [m[None] for m in of_maps(task.dataset, task.effort, 0)(samples)], task, split
            )
    if len(task.dataset.efforts) > 1:
        rows[_ceiling_name(task)] = metrics_with_intervals(ceiling(task, split), task, split)
    yield f"<h2>{'Violated nets' if model.task == 'nets' else 'Hotspots'}</h2>"
    parameters = sum(p.numel() for p in model.networks[0].parameters())
    yield f"<p class='lead'>{len(model.networks)} networks of {parameters:,} parameters; labels of effort {task.effort}.</p>"
    metrics = list(rows["this model"])
    yield "<table><tr><th></th>" + "".join(f"<th class='number'>{m}</th>" for m in metrics) + "</tr>"
    for name, found in rows.items():
        cells = "".join(f"<td class='number'>{_text(found[m])}</td>" for m in metrics)
        yield f"<tr><td>{html.escape(name)}</td>{cells}</tr>"
    yield "</table><p class='note'>" + html.escape("; ".join(f"{m}: {_MEANING[m]}" for m in metrics)) + "."
    yield " In brackets 95 % intervals, designs drawn with replacement.</p>"
    yield _figure(model, task, split, said)


def _text(value: Interval) -> str:
    return "–" if np.isnan(value.value) else f"{value.value:.3f} <small>[{value.low:.3f}, {value.high:.3f}]</small>"


def _ceiling_name(task: RoutabilityTask) -> str:
    other = max(e for e in task.dataset.efforts if e != task.effort)
    return f"the labels of effort {other} (how far labels agree with themselves)"


def _figure(model: RoutabilityModel, task: RoutabilityTask, split: str, said: Sequence[np.ndarray]) -> str:
    from matplotlib.figure import Figure

    samples = task.samples(split)
    if model.task == "nets":
        figure = Figure(figsize=(5.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        true = [s.labels[task.effort].rate for s in samples]
        predicted = [float(np.clip(row[0], 0, 1) ** 2) for row in said]
        for design in dict.fromkeys(s.design for s in samples):
            rows = [i for i, s in enumerate(samples) if s.design == design]
            axes.scatter([true[i] for i in rows], [predicted[i] for i in rows], s=14, label=design)
        axes.plot([0, max([*true, 0.01])], [0, max([*true, 0.01])], color="#94a3b8", linewidth=1)
        axes.set_xlabel("share of violated nets")
        axes.set_ylabel("predicted")
        axes.legend(fontsize=7, ncols=2)
        return f"<figure>{figure_svg(figure, 'nets')}<figcaption>Each point is a placement.</figcaption></figure>"
    hot = sorted(range(len(samples)), key=lambda i: -int((samples[i].labels[task.effort].hotspots > 0).sum()))
    chosen: dict[str, int] = {}
    for i in hot:
        chosen.setdefault(samples[i].design, i)
    places = list(chosen.values())[:_SHOWN]
    figure = Figure(figsize=(2.6 * len(places), 5.2), layout="constrained")
    for column, i in enumerate(places):
        for row, (values, title) in enumerate(
            (
                (samples[i].labels[task.effort].hotspots > 0, samples[i].name),
                (1 / (1 + np.exp(-said[i][0])), "predicted"),
            )
        ):
            axes = figure.add_subplot(2, len(places), row * len(places) + column + 1)
            axes.pcolormesh(values.astype(float), cmap="YlOrRd", vmin=0, vmax=1)  # squares: the page allows no images
            axes.set_aspect("equal")
            axes.set_title(title, fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
    note = "Above the tiles with violations, below their predicted probability; the placements with most of them."
    return f"<figure>{figure_svg(figure, 'hotspots')}<figcaption>{note}</figcaption></figure>"
