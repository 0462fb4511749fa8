"""The commands that read and write files: ``export``, ``report``, ``import``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from graphnas.estimators.training import TrainingEstimator
    from graphnas.results import Stored

FORMATS = {"json": ".json", "svg": ".svg", "dot": ".dot", "python": ".py", "onnx": ".onnx"}

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def export(
    source: Annotated[str, typer.Argument(help="A store, or an architecture in JSON.")],
    to: Annotated[str, typer.Option(help="json, svg, dot, python or onnx.")],
    output: Annotated[str | None, typer.Option("--output", "-o", help="The file to write.")] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Trial number; the best one by default.")] = None,
    on: Annotated[str | None, typer.Option(help="Task whose shapes a network gets, if not the search's own.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Train the network first and write its weights.")] = False,
    json_: Json = False,
) -> None:
    """Write an architecture as JSON, SVG or dot, or its network as plain PyTorch (no graphnas needed) or ONNX."""
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    path = Path(output or Path(source).with_suffix(FORMATS[to]).name)
    if path.resolve() == Path(source).resolve():
        raise GraphnasError(f"{path} is what is read; name another file with -o")
    stored, architecture, seed = _architecture(source, trial)
    written = [path]
    record: dict[str, Any] = {}
    if to in ("json", "svg", "dot"):
        _write_text(path, _text(architecture, to))
    else:
        if stored is None:
            raise GraphnasError(f"{to} needs the space and task of a search: export from its store")
        estimator = _trainer(stored, on)
        network = stored.space.network(architecture, estimator.task.signature, **estimator.fidelity.size)
        module = _trained(estimator, architecture, seed) if train else None
        from graphnas.export import export_onnx, export_python

        if to == "python":
            written = export_python(network, path, module)
        else:
            record["largest_difference_to_pytorch"] = export_onnx(network, path, module)
    record = {"written": [str(p) for p in written], **record}
    print(json.dumps(record) if json_ else "wrote " + ", ".join(record["written"]))


def _architecture(source: str, trial: int | None) -> tuple[Stored | None, Architecture, int]:
    """The architecture to export, with the store it comes from and its seed."""
    path = Path(source)
    if not path.is_file():
        raise GraphnasError(f"there is no file {source}")
    if path.suffix == ".json":
        if path.stat().st_size > 64 * 2**20:
            raise GraphnasError(f"{source} is larger than 64 MiB: no architecture")
        return None, Architecture.from_json(path.read_text(encoding="utf-8", errors="replace")), 0
    from graphnas.results import read

    stored = read(path)
    if trial is None:
        chosen = stored.best
        if chosen is None:
            raise GraphnasError(f"store {source} has no successful trial to export")
    else:
        chosen = next((t for t in stored.trials if t.number == trial), None)
        if chosen is None:
            raise GraphnasError(f"store {source} has no trial {trial}; it holds {len(stored.trials)}")
    return stored, chosen.architecture, chosen.seed


def _text(architecture: Architecture, to: str) -> str:
    if to == "json":
        return architecture.to_json() + "\n"
    from graphnas.drawing import to_dot, to_svg

    return to_svg(architecture) if to == "svg" else to_dot(architecture)


def _write_text(path: Path, text: str) -> None:
    from graphnas.files import replacing

    with replacing(path) as file:
        file.write(text.encode())


def _trainer(stored: Stored, on: str | None) -> TrainingEstimator:
    """The training estimator whose networks are exported."""
    from dataclasses import replace

    from graphnas import registry
    from graphnas.estimators.training import TrainingEstimator

    settings = stored.needs_settings()
    if on is not None:
        settings = replace(settings, on=on)
    elif settings.on in registry.names("table"):
        raise GraphnasError(f"the search was on the table {settings.on}: name the task of the network with --on")
    if settings.scored_by is not None:  # shared weights: their epochs are those of the supernet
        settings = replace(settings, scored_by=None, scoring={}, epochs=None)
    estimator = settings.estimator()
    if not isinstance(estimator, TrainingEstimator):
        raise GraphnasError(f"{settings.on} is a table: name a task with --on, such as digits or cora")
    return estimator


def _trained(estimator: TrainingEstimator, architecture: Architecture, seed: int) -> GraphModule:
    network, history = estimator.train(architecture, seed=seed)
    if history.status == "diverged":
        raise GraphnasError("training diverged; nothing was written")
    return network  # type: ignore[return-value]


def report(
    stores: Annotated[list[str], typer.Argument(help="Stores of searches.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The HTML file to write.")] = "report.html",
    baseline: Annotated[
        list[str] | None, typer.Option(help="Store of a random search to compare with; repeatable. Tables need none.")
    ] = None,
    test: Annotated[bool, typer.Option(help="Read the winners' test scores (a task trains them once more).")] = True,
    json_: Json = False,
) -> None:
    """Write one self-contained HTML page: curves against random search, the best architectures, costs, settings."""
    from graphnas.results import report as write

    path = write(stores, output, baseline=baseline or [], test=test)
    print(json.dumps({"written": [str(path)]}) if json_ else f"wrote {path}")


def import_benchmark(
    benchmark: Annotated[str, typer.Argument(help="enas6, nasbench101, nasbench201 or nasbench_graph.")],
    source: Annotated[str, typer.Argument(help="The benchmark's official file or folder.")],
    json_: Json = False,
) -> None:
    """Convert a benchmark's official file into a compact table that later searches find by themselves."""
    from graphnas import registry

    if benchmark not in registry.names("importer"):
        raise unknown("benchmark", benchmark, registry.names("importer"))
    path = registry.find("importer", benchmark)(Path(source))
    print(json.dumps({"written": [str(path)]}) if json_ else f"wrote {path}")
