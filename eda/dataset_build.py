"""Builds the data set: one file for each routed placement in a folder, so that a stopped build continues where it was."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eda.def_writer import write_def
from eda.designs import DESIGNS, Design, family, recipe_of
from eda.labels import Label
from eda.netlist import read_netlist
from eda.route import Recipe, RoutedSample, route
from eda.tools import missing, versions
from graphnas.errors import GraphnasError
from graphnas.files import save_npz

_RETRY = 0.05  # less utilisation when the placer finds no legal placement
_LEAST = 0.5


@dataclass(frozen=True)
class Job:
    """One placement to be made: its design, the netlist file, its recipe and where its files go."""

    name: str
    design: str
    part: str
    netlist: Path
    recipe: Recipe
    folder: Path


def jobs(folder: Path, netlists: Path, designs: Iterable[Design] = DESIGNS) -> Iterator[Job]:
    """All placements of the data set, round by round.

    Args:
        folder: of the build.
        netlists: folder with a mapped netlist ``NAME.json.xz`` for each design.
        designs: which.

    Raises:
        GraphnasError: a netlist is missing.
    """
    designs = tuple(designs)
    for design in designs:
        if not _netlist(netlists, design.name).is_file():
            raise GraphnasError(f"{_netlist(netlists, design.name)} is missing; give the folder of the mapped netlists")
    # Large designs have fewer rounds, and each takes as long as a round of the others; so they come last.
    for rounds in sorted({design.rounds for design in designs}, reverse=True):
        for round_ in range(rounds):
            for design in designs:
                if design.rounds != rounds:
                    continue
                recipe = recipe_of(design.name, round_, design.layers)
                name = f"{design.name}_L{design.layers}_{round_:02d}"
                yield Job(name, design.name, design.part, _netlist(netlists, design.name), recipe, folder)


def _netlist(folder: Path, name: str) -> Path:
    return folder / f"{name}.json.xz"


def build(todo: Iterable[Job], *, workers: int = 1, progress: Callable[[str], None] | None = None) -> int:
    """Make what is not there yet; files that exist are kept.

    Args:
        todo: the placements.
        workers: processes; they do not change the files.
        progress: called with a line after each placement.

    Returns:
        The number of placements made.

    Raises:
        GraphnasError: a tool is missing; or, after all others were made, some placement could not be made.
    """
    absent = missing()
    if absent:
        raise GraphnasError(
            f"the flow needs {', '.join(absent)}; run `make eda-tools` and `pip install 'graphnas[eda]'`"
        )
    left = [job for job in todo if not sample_path(job).is_file()]
    made, failures = 0, []
    with _results(left, workers) as results:
        for line, failure in results:
            made += not failure
            failures += [failure] if failure else []
            if progress is not None:
                progress(failure or line)
    if failures:
        raise GraphnasError(f"{len(failures)} of {len(left)} placements could not be made; the first: {failures[0]}")
    return made


@contextlib.contextmanager
def _results(left: list[Job], workers: int) -> Iterator[Iterator[tuple[str, str]]]:
    if workers <= 1:
        yield map(_attempt, left)
        return
    # Fresh processes: the placer's threads and a fork do not go together.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool.map(_attempt, left)
        except BrokenExecutor:
            raise GraphnasError(
                "a worker process ended abruptly; build again with one worker, what is made stays"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _attempt(job: Job) -> tuple[str, str]:
    """A line about what was made, and what went wrong; one of them is empty."""
    try:
        return make(job), ""
    except GraphnasError as error:
        return "", str(error)


def sample_path(job: Job) -> Path:
    """The file of a placement's labels; it is written last."""
    return job.folder / f"{job.name}.npz"


def make(job: Job) -> str:
    """Route one placement and write its files; returns a line about it.

    A design that does not fit is tried again: without loosening, where it was loosened (cells widened to a density fill the
    rows at any utilisation), and then, as wide cells leave gaps in short rows, with 0.05 less utilisation. The recipe says
    what was used.
    """
    netlist = read_netlist(job.netlist)
    recipe = job.recipe
    while True:
        try:
            sample = route(netlist, recipe)
            break
        except GraphnasError as error:
            lower = round(recipe.utilisation - _RETRY, 3)
            if "choose a lower utilisation" not in str(error) or (recipe.spread is None and lower < _LEAST):
                raise GraphnasError(f"{job.name}: {error}") from None
            recipe = replace(recipe, utilisation=lower) if recipe.spread is None else replace(recipe, spread=None)
    write_def(sample.placement, job.folder / f"{job.name}.def.gz")
    save_npz(sample_path(job), arrays_of(sample.labels, describe(sample, job.name, job.design, job.part)))
    rates = " ".join(f"e{label.effort} {label.rate:.3f}" for label in sample.labels)
    return f"{job.name} {sample.placement.design} nets {sample.labels[0].nets} {rates} seconds {_seconds(sample):.1f}"


def _seconds(sample: RoutedSample) -> float:
    return sample.seconds_placing + sum(sum(label.seconds) for label in sample.labels)


def arrays_of(labels: Iterable[Label], record: dict[str, Any]) -> dict[str, np.ndarray]:
    """What is kept of a sample: the labels of each effort, and its record as JSON text.

    Of effort e: ``nodes_e`` int16[n, 3], ``violated_e`` int32[m], ``hotspots_e`` int16[ny, nx], ``usage_e``
    int16[layers, ny, nx].
    """
    arrays: dict[str, np.ndarray] = {"meta": np.array(json.dumps(record, sort_keys=True))}
    for label in labels:
        end = f"_{label.effort}"
        arrays["nodes" + end] = label.nodes
        arrays["violated" + end] = label.violated.astype(np.int32)
        arrays["hotspots" + end] = label.hotspots.astype(np.int16)
        arrays["usage" + end] = label.usage.astype(np.int16)
    return arrays


def describe(sample: RoutedSample, name: str, design: str, part: str = "") -> dict[str, Any]:
    """Everything about a sample that is a word or a number."""
    placement = sample.placement
    boxes = sample.tiles
    return {
        "name": name,
        "design": design,
        "family": family(design),
        "part": part,
        "recipe": asdict(sample.recipe),
        "cells": len(placement.cells),
        "ports": len(placement.ports),
        "nets": len(placement.nets),
        "tiles": list(boxes.shape),
        "die": [int(value) for value in placement.die_box],
        "tools": versions(),
        "seconds_placing": round(sample.seconds_placing, 3),
        "labels": [label_record(label) for label in sample.labels],
    }


def label_record(label: Label) -> dict[str, Any]:
    """Everything about a label that is a number."""
    return {
        "effort": label.effort,
        "failed_first": label.failed_first,
        "failed": label.failed,
        "clean": label.clean,
        "unresolved": label.unresolved,
        "nodes": len(label.nodes),
        "violated": len(label.violated),
        "rate": label.rate,
        "wirelength": label.wirelength,
        "vias": label.vias,
        "seconds": [round(value, 3) for value in label.seconds],
    }
