"""The commands ``graphnas eda search|train|predict|report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from graphnas.errors import GraphnasError

Task = Annotated[str, typer.Option(help="nets (rank placements by violated nets) or hotspots (a map).")]
Data = Annotated[str | None, typer.Option("--data", help="A packed data set; by default the one of the package.")]
Out = Annotated[str, typer.Option(help="Write the model to this .npz file.")]
Epochs = Annotated[int, typer.Option(min=1, help="Of full training.")]
Networks = Annotated[int, typer.Option(min=1, help="Trained from different seeds and averaged.")]
Seed = Annotated[int, typer.Option(help="Of all random draws.")]
Lef = Annotated[list[str], typer.Option("--lef", help="LEF file (also .gz, .xz); repeatable, technology first.")]
Models = Annotated[
    list[str] | None,
    typer.Argument(help="Model files, or nets and hotspots for those of the package; by default these two."),
]
Def = Annotated[str, typer.Option("--def", help="DEF file (also .gz, .xz).")]


def search(
    task: Task,
    out: Out,
    data: Data = None,
    strategy: Annotated[str, typer.Option(help="See 'graphnas strategies'.")] = "guide_dag",
    architectures: Annotated[int, typer.Option(min=2, help="Trained in the search.")] = 60,
    epochs: Annotated[int, typer.Option(min=1, help="Of proxy training.")] = 4,
    folds: Annotated[int, typer.Option(min=1, help="Proxy trainings of each, with other designs held out.")] = 3,
    again: Annotated[int, typer.Option(min=0, help="How often the best five are evaluated again.")] = 2,
    full_epochs: Epochs = 40,
    networks: Networks = 3,
    seed: Seed = 0,
    store: Annotated[
        str | None, typer.Option(help="Keep the search in this file; an existing one is continued.")
    ] = None,
    graph: Annotated[
        bool | None,
        typer.Option(
            "--graph/--no-graph", help="Messages through nets as an operation; by default if the data has nets."
        ),
    ] = None,
) -> None:
    """Search a routability predictor, train the best in full and write it as a model."""
    from eda.development import Budget, develop
    from eda.model import space_of

    space_of(task)  # raises before data is read
    budget = Budget(architectures, epochs, folds=folds, again=again, full_epochs=full_epochs, full_repeats=networks)
    dataset = _dataset(data)
    if graph and not dataset.graphs:
        raise GraphnasError("the data set has samples without their cells and nets; search with --no-graph")
    options: dict[str, Any] = {"strategy": strategy, "seed": seed, "graph": dataset.graphs if graph is None else graph}
    model, _ = develop(task, dataset, budget=budget, store=store, progress=print, **options)
    _finish(model, task, dataset, {**options, **vars(budget)}, out)


def train(
    task: Task,
    out: Out,
    model: Annotated[str, typer.Option(help="Whose architecture is trained: a model file, nets or hotspots.")],
    data: Data = None,
    full_epochs: Epochs = 40,
    networks: Networks = 3,
    seed: Seed = 0,
) -> None:
    """Train the architecture of a model again, for instance on your own data."""
    from eda.development import Budget, fit, task_of
    from eda.model import RoutabilityModel

    known = RoutabilityModel.load(model)
    if known.task != task:
        raise GraphnasError(f"{model} is a model of {known.task}, not of {task}")
    dataset = _dataset(data)
    budget = Budget(full_epochs=full_epochs, full_repeats=networks, full_channels=known.channels)
    made = fit(task, task_of(task, dataset, graph=known.graph), known.architecture, budget, seed)
    _finish(made, task, dataset, {"architecture_of": model, "seed": seed, "epochs": full_epochs}, out)


def predict(
    lef: Lef,
    def_: Def,
    models: Models = None,
    layers: Annotated[int | None, typer.Option(help="Routing layers; by default those with tracks.")] = None,
    map_: Annotated[str | None, typer.Option("--map", help="Write the hotspot map to this .npz or .csv file.")] = None,
    picture: Annotated[str | None, typer.Option(help="Draw cells, nets and hotspots to this .png file.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Predict violated nets and hotspots of a placement."""
    from eda.def_reader import read_def
    from eda.lef_reader import read_lef
    from eda.overlay import save_overlay
    from eda.predict import predict as run

    chosen = _models(models)
    if map_ is not None and Path(map_).suffix not in (".npz", ".csv"):
        raise GraphnasError(f"maps are written as .npz or .csv, not as {map_}")
    technology, placement = read_lef(*lef), read_def(def_)
    found = run(placement, technology, nets=chosen.get("nets"), hotspots=chosen.get("hotspots"), layers=layers)
    if map_ is not None:
        _save_map(found, map_)
    if picture is not None:
        save_overlay(placement, technology, found, picture)
    if json_:
        print(json.dumps(found.describe()))
        return
    print(f"{found.design}: {found.nets:,} nets, {found.layers} routing layers")
    if found.rate is not None:
        print(f"  violated nets    {found.violated:.1f} expected ({100 * found.rate:.1f} % of all)")
    if found.hotspots is not None:
        made = found.describe()["hotspots"]
        print(
            f"  hotspots         {made['expected']:.1f} of {made['rows'] * made['columns']} tiles of {found.tile:g} um expected"
        )
        print(
            f"  highest          {made['highest']:.2f} in column {made['highest_at'][0]}, row {made['highest_at'][1]}"
        )
    for note in found.notes:
        print(f"  note: {note}")


def report(
    out: Annotated[str, typer.Option(help="Write the page to this .html file.")],
    models: Models = None,
    data: Data = None,
    split: Annotated[str, typer.Option(help="The part of the data that is measured.")] = "test",
) -> None:
    """One HTML page: what models say of a part of a data set, beside trivial baselines."""
    from eda.report import save_report

    dataset = _dataset(data)
    print(save_report(list(_models(models).values()), dataset, split, out))


def _dataset(data: str | None) -> Any:
    from eda.dataset_files import load, load_dataset

    return load() if data is None else load_dataset(data)


def _models(names: list[str] | None) -> dict[str, Any]:
    from eda.model import TASKS, RoutabilityModel

    chosen: dict[str, Any] = {}
    for name in names or TASKS:
        model = RoutabilityModel.load(name)
        if model.task in chosen:
            raise GraphnasError(f"{name} is a second model of {model.task}; give at most one of each task")
        chosen[model.task] = model
    return chosen


def _finish(model: Any, task: str, dataset: Any, recipe: dict[str, Any], out: str) -> None:
    """Write the model with its card, and print how good it is."""
    from dataclasses import replace

    from eda.card import card_of
    from eda.development import task_of

    problem = task_of(task, dataset, graph=model.graph)
    card = card_of(model, problem, recipe)
    replace(model, card=card).save(out)
    for split, metrics in card["metrics"].items():
        print(f"{split}: " + ", ".join(f"{name} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for name, v in metrics.items()))
    print(f"wrote {out}")


def _save_map(found: Any, path: str) -> None:
    from dataclasses import replace

    from eda.feature_files import save_maps

    if found.hotspots is None:
        raise GraphnasError("there are no hotspots to write; give a model of hotspots")
    save_maps(replace(found.maps, names=("hotspot_probability",), values=found.hotspots[None]), path)
