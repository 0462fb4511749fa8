"""The command ``graphnas``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from graphnas import __version__, pareto, registry
from graphnas.cli_files import export, import_benchmark, report
from graphnas.errors import GraphnasError
from graphnas.objectives import SCORE, figure, parse_constraints, parse_objectives, violation
from graphnas.search import Result
from graphnas.settings import Settings, parse_pairs

if TYPE_CHECKING:
    from graphnas.estimators.base import Estimator
    from graphnas.oneshot.gradient_search import GradientSearch
    from graphnas.search import Search
    from graphnas.strategies.base import Trial

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Neural architecture search in which every architecture is a graph.",
)
app.command()(export)
app.command()(report)
app.command("import")(import_benchmark)


def _plug_in(name: str) -> None:
    """Add a group of commands that a package offers; one that does not load fails only when it is called."""
    try:
        app.add_typer(registry.find("command", name), name=name)
    except GraphnasError as error:
        reason = str(error)

        @app.command(name, help="(does not load)", context_settings={"ignore_unknown_options": True})
        def broken(words: Annotated[list[str] | None, typer.Argument()] = None) -> None:
            raise GraphnasError(reason)


for _name in registry.names("command"):
    _plug_in(_name)


@app.callback(invoke_without_command=True)
def overview(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Neural architecture search in which every architecture is a graph."""
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Trials = Annotated[int | None, typer.Option("--budget", min=1, help="Number of architectures to evaluate.")]
Seconds = Annotated[float | None, typer.Option(help="Stop after this many seconds.")]
Cost = Annotated[float | None, typer.Option(help="Stop at this total cost (training: epochs; table: look-ups).")]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes; they do not change the trials.")]


@app.command()
def spaces(json_: Json = False) -> None:
    """List the search spaces, and the tables on which each can be searched."""
    tables = registry.names("table")
    rows = []
    for name in registry.names("space"):
        space = registry.get_space(name)
        on = [table for table in tables if table.startswith(f"{name}/")]
        rows.append(
            {
                "name": name,
                "size": space.size,
                "choices": len(space.choices),
                "tasks": list(space.accepts),
                "tables": on,
                "description": space.description,
            }
        )
    if json_:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['name']:<18}{row['size']:>12,}  {row['description']}")
        print(f"{'':<32}tables: {', '.join(row['tables']) or 'none'}")
        print(f"{'':<32}tasks:  any {' or '.join(row['tasks'])} task" if row["tasks"] else "")


@app.command()
def tasks(
    name: Annotated[str | None, typer.Argument(help="Load this task's data and describe it.")] = None,
    json_: Json = False,
) -> None:
    """List the tasks on which found networks can be trained, or describe one."""
    if name is None:
        _names("task", json_)
        return
    task = registry.get_task(name)
    signature = task.signature
    record = {**task.describe(), "kind": signature.kind, "input": list(signature.input), "outputs": signature.outputs}
    print(json.dumps(record) if json_ else "\n".join(f"{key}: {value}" for key, value in record.items()))


@app.command()
def strategies(json_: Json = False) -> None:
    """List the search strategies."""
    _names("strategy", json_)


def _names(kind: str, as_json: bool) -> None:
    names = registry.names(kind)
    print(json.dumps(names) if as_json else "\n".join(names))


@app.command()
def search(
    space: Annotated[str, typer.Argument(help="A space; see 'graphnas spaces'.")],
    on: Annotated[str, typer.Option(help="A table to look up (nasbench201/cifar10) or a task to train on (digits).")],
    strategy: Annotated[str, typer.Option(help="A strategy; see 'graphnas strategies'.")] = "evolution",
    method: Annotated[
        str | None, typer.Option(help="Search by gradients in place of a strategy: darts1, zarts-mgs, ... (a task)")
    ] = None,
    budget: Trials = None,
    seconds: Seconds = None,
    cost: Cost = None,
    store: Annotated[str | None, typer.Option(help="SQLite file for the trials; an existing one is continued.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes all trials.")] = 0,
    workers: Workers = 1,
    time_limit: Annotated[float | None, typer.Option(help="Seconds after which a trial is killed.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Architectures asked for at a time.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Argument of the strategy, NAME=VALUE; repeatable.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Training epochs (tasks).")] = None,
    data: Annotated[float | None, typer.Option(help="Share of the training data, in (0, 1] (tasks).")] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Size of the networks, NAME=VALUE; repeatable (tasks).")
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Trainings averaged for a score (tasks).")] = None,
    objectives: Annotated[
        str, typer.Option(help="Figures to trade off, '-' for those to be made small: validation,-latency")
    ] = "",
    constraint: Annotated[list[str] | None, typer.Option(help="A limit: 'latency<=5'; repeatable.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="COST=VALUE: search for the latency reward of MnasNet with this target.")
    ] = None,
    reward: Annotated[str | None, typer.Option(help="The latency reward: soft (default) or hard.")] = None,
    latency_table: Annotated[
        str | None, typer.Option(help="File of a latency table: gives the metric latency (tasks).")
    ] = None,
    estimator: Annotated[
        str | None, typer.Option(help="Score by weight_sharing, few_shot, ... in place of training each one (tasks).")
    ] = None,
    estimator_option: Annotated[
        list[str] | None, typer.Option(help="Argument of the estimator, NAME=VALUE; repeatable.")
    ] = None,
    json_: Json = False,
) -> None:
    """Search a space; trials go to --store, from which the search can be resumed, shown, reported and exported."""
    settings = Settings(
        space=space,
        on=on,
        strategy=strategy,
        options=parse_pairs(option or [], "option"),
        seed=seed,
        trials=budget,
        seconds=seconds,
        cost=cost,
        workers=workers,
        time_limit=time_limit,
        batch=batch,
        epochs=epochs,
        data=data,
        size=parse_pairs(size or [], "size"),
        repeats=repeats,
        method=method,
        scored_by=estimator,
        scoring=parse_pairs(estimator_option or [], "estimator-option"),
        objectives=objectives,
        constraints=constraint or [],
        target=parse_pairs(target or [], "target"),
        reward=reward,
        latency_table=latency_table,
    )
    _run(settings, store, json_)


@app.command()
def resume(
    store: Annotated[str, typer.Argument(help="The store of an earlier search.")],
    budget: Trials = None,
    seconds: Seconds = None,
    cost: Cost = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes, if other than before.")] = None,
    json_: Json = False,
) -> None:
    """Go on with a search, after an interruption or with a larger budget."""
    from graphnas.results import read

    stored = read(store)
    settings = stored.needs_settings()
    limits = {k: v for k, v in (("trials", budget), ("seconds", seconds), ("cost", cost)) if v is not None}
    kept = stored.meta.get("budget") or {}
    if limits:
        settings = replace(settings, trials=budget, seconds=seconds, cost=cost)
    elif kept:
        settings = replace(settings, trials=kept["trials"], seconds=kept["seconds"], cost=kept["cost"])
    if workers is not None:
        settings = replace(settings, workers=workers)
    _run(settings, store, json_)


def _run(settings: Settings, store: str | None, as_json: bool) -> None:
    from graphnas.progress import Progress

    estimator = settings.estimator()
    by_gradients = settings.method is not None
    progress = Progress(settings.budget(), estimator.metric, estimator.maximise, bar=not by_gradients)
    search: Search | GradientSearch
    if by_gradients:
        search = settings.gradient_search(store, progress.epoch, estimator)
    else:
        search = settings.search(store, progress, estimator)
    if not as_json:
        print(
            f"searching {settings.space} ({search.space.size:,} architectures) on {settings.on} "
            f"with {settings.method or settings.strategy}, seed {settings.seed}"
        )
    try:
        result = search.run()
    except KeyboardInterrupt:
        progress.close(None, 0)
        hint = f"resume with: graphnas resume {store}" if store else "nothing was kept (no --store)"
        print(f"interrupted; {hint}", file=sys.stderr)
        raise typer.Exit(130) from None
    progress.close(result.best, len(result.trials))
    sign = 1.0 if estimator.maximise else -1.0
    best = result.best
    record: dict[str, Any] = {
        "space": settings.space,
        "on": settings.on,
        "strategy": settings.method or settings.strategy,
        "seed": settings.seed,
        "trials": len(result.trials),
        "failed": result.failed,
        "duplicates": result.duplicates,
        "seconds": round(result.seconds, 3),
        "stopped": result.stopped,
        "store": store,
        "best": None
        if best is None
        else {
            "trial": best.number,
            estimator.metric: sign * best.score,
            "decisions": search.space.describe(best.architecture),
            "metrics": dict(best.metrics),
        },
    }
    aims = isinstance(result, Result) and bool(result.objectives)
    front = result.front() if aims else []
    if aims:
        record["front"] = [{"trial": t.number, **_figures(t, result, estimator)} for t in front]
    if as_json:
        print(json.dumps(record))
        return
    if best is None:
        print("no trial succeeded" + (f"; see: graphnas show {store}" if store else ""))
    else:
        decisions = ", ".join(f"{k}={v}" for k, v in record["best"]["decisions"].items())
        print(f"best: trial {best.number}, {estimator.metric} {sign * best.score:.4f}\n      {decisions}")
    if aims:
        print(f"front: {len(front)} of {len(result.trials)} trials")
        for row in record["front"]:
            print("      " + _line(row))
    print(
        f"{len(result.trials)} trials, {result.failed} failed, {result.duplicates} duplicates for free, "
        f"{result.seconds:.1f} s; {result.stopped}"
    )
    if store:
        print(f"kept in {store}; next: graphnas report {store} -o report.html")


def _line(row: Mapping[str, float]) -> str:
    return ", ".join(f"trial {value:>4}" if name == "trial" else f"{name} {value:.6g}" for name, value in row.items())


def _figures(trial: Trial, result: Result, estimator: Estimator) -> dict[str, float]:
    """The objectives of a trial by the names under which the user knows them."""
    sign = 1.0 if estimator.maximise else -1.0
    names = [o.name for o in result.objectives]
    return {
        estimator.metric if n == SCORE else n: sign * trial.score if n == SCORE else trial.metrics[n] for n in names
    }


@app.command()
def show(
    store: Annotated[str, typer.Argument(help="The store of a search, running or not.")],
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials.")] = 5,
    json_: Json = False,
) -> None:
    """Show how far a search is, and its best architectures."""
    from graphnas.results import read

    stored = read(store)
    kept = stored.meta["settings"].get("constraints") or ()
    limits = parse_constraints(kept)
    complete = sorted(
        (t for t in stored.trials if t.status == "complete" and violation(t, limits) == 0), key=lambda t: -t.score
    )
    failed = [t for t in stored.trials if t.status == "failed"]
    rows = [
        {"trial": t.number, "score": t.score, **stored.space.describe(t.architecture), "metrics": t.metrics}
        for t in complete[:top]
    ]
    aims = stored.meta["settings"].get("objectives")
    objectives = parse_objectives(aims) if aims else ()
    front = pareto.front(stored.trials, objectives, limits) if objectives else []
    fronted = [{"trial": t.number, **{o.name: figure(t, o.name) for o in objectives}} for t in front]
    if json_:
        record = {
            "settings": stored.meta["settings"],
            "stopped": stored.meta["stopped"],
            "trials": len(stored.trials),
            "failed": [{"trial": t.number, "error": t.error} for t in failed],
            "best": rows,
            **({"front": fronted} if objectives else {}),
        }
        print(json.dumps(record))
        return
    settings = stored.meta["settings"]
    print(
        f"{settings['space']}, {settings['strategy']}, seed {settings['seed']}: {stored.meta['stopped'] or 'running'}"
    )
    print(f"{len(stored.trials)} trials, {len(failed)} failed, {stored.meta['seconds'] or 0:.1f} s")
    for row in rows:
        decisions = ", ".join(f"{k}={v}" for k, v in row.items() if k not in ("trial", "score", "metrics"))
        print(f"  trial {row['trial']:>5}  score {row['score']:.4f}  {decisions}")
    if objectives:
        print(f"front: {len(front)} trials")
        for row in fronted:
            print("  " + _line(row))
    for t in failed[:top]:
        print(f"  trial {t.number:>5}  failed: {(t.error.strip().splitlines() or [''])[-1]}")


def main() -> None:
    """Entry point: one-line errors, exit code 2 for what the user can mend."""
    try:
        code = app(standalone_mode=False)
    except GraphnasError as error:
        print(f"graphnas: {error}", file=sys.stderr)
        sys.exit(2)
    except TyperException as error:
        print(f"graphnas: {' '.join(error.format_message().split())}", file=sys.stderr)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
