"""Finding spaces, strategies, tasks, tables and predictors by name, from any installed package.

A package registers an object under one of the entry point groups ``graphnas.spaces``, ``graphnas.strategies``,
``graphnas.tasks``, ``graphnas.tables``, ``graphnas.estimators``, ``graphnas.predictors``, ``graphnas.importers``,
``graphnas.commands``::

    [project.entry-points."graphnas.spaces"]
    my_space = "my_package.my_module:space"
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from graphnas.errors import GraphnasError, unknown

GROUPS = {
    "space": "graphnas.spaces",
    "strategy": "graphnas.strategies",
    "task": "graphnas.tasks",
    "table": "graphnas.tables",
    "estimator": "graphnas.estimators",
    "predictor": "graphnas.predictors",
    "importer": "graphnas.importers",
    "command": "graphnas.commands",
}


@cache
def _entries(kind: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUPS[kind])}


def names(kind: str) -> list[str]:
    """All registered names of one kind ("space", "strategy", "task", "table", "predictor"), sorted."""
    return sorted(_entries(kind))


@cache
def find(kind: str, name: str) -> Any:
    """The registered object: a factory for spaces, tasks and tables, a class for strategies and predictors.

    Raises:
        GraphnasError: unknown name, or the package that registered it fails to import.
    """
    entries = _entries(kind)
    if name not in entries:
        raise unknown(kind, name, entries)
    try:
        return entries[name].load()
    except (ImportError, AttributeError) as error:
        raise GraphnasError(
            f"{kind} {name!r} is registered as {entries[name].value!r}, which fails to load: {error}"
        ) from error


@cache
def get_space(name: str) -> Any:
    """The Space of this name; the same object at every call, so that its caches are shared."""
    return find("space", name)()


def get_table(name: str) -> Any:
    """The table estimator of this name, such as ``nasbench201/cifar10``."""
    return find("table", name)()


def get_task(name: str) -> Any:
    """The Task of this name, such as ``digits`` or ``cora``."""
    return find("task", name)()
