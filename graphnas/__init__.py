"""graphnas: neural architecture search in which every architecture is a graph.

The names below are loaded when first used, so that ``import graphnas`` costs nothing that is not needed. Functions
that are named like their module are imported from there: ``from graphnas.compile import compile``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphnas.architecture import Architecture as Architecture
    from graphnas.architecture import Node as Node
    from graphnas.architecture import node as node
    from graphnas.canonical import Semantics as Semantics
    from graphnas.errors import GraphnasError as GraphnasError
    from graphnas.estimators.base import Estimator as Estimator
    from graphnas.estimators.base import Evaluation as Evaluation
    from graphnas.estimators.fidelity import Fidelity as Fidelity
    from graphnas.estimators.fidelity import Recipe as Recipe
    from graphnas.estimators.function import FunctionEstimator as FunctionEstimator
    from graphnas.estimators.table import Table as Table
    from graphnas.estimators.table import TableEstimator as TableEstimator
    from graphnas.estimators.training import TrainingEstimator as TrainingEstimator
    from graphnas.registry import get_space as get_space
    from graphnas.registry import get_table as get_table
    from graphnas.registry import get_task as get_task
    from graphnas.search import Budget as Budget
    from graphnas.search import Result as Result
    from graphnas.search import Search as Search
    from graphnas.space import Choice as Choice
    from graphnas.space import Space as Space
    from graphnas.strategies.base import Strategy as Strategy
    from graphnas.strategies.base import Trial as Trial
    from graphnas.tasks.base import Task as Task
    from graphnas.tasks.graph import GraphTask as GraphTask
    from graphnas.tasks.image import ImageTask as ImageTask
    from graphnas.tasks.inductive import InductiveNodeTask as InductiveNodeTask
    from graphnas.tasks.link import LinkTask as LinkTask
    from graphnas.tasks.node import NodeTask as NodeTask
    from graphnas.tasks.translation import TranslationTask as TranslationTask

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "architecture",
    "Node": "architecture",
    "node": "architecture",
    "Semantics": "canonical",
    "GraphnasError": "errors",
    "Estimator": "estimators.base",
    "Evaluation": "estimators.base",
    "Fidelity": "estimators.fidelity",
    "Recipe": "estimators.fidelity",
    "FunctionEstimator": "estimators.function",
    "Table": "estimators.table",
    "TableEstimator": "estimators.table",
    "TrainingEstimator": "estimators.training",
    "get_space": "registry",
    "get_table": "registry",
    "get_task": "registry",
    "Budget": "search",
    "Result": "search",
    "Search": "search",
    "Choice": "space",
    "Space": "space",
    "Strategy": "strategies.base",
    "Trial": "strategies.base",
    "Task": "tasks.base",
    "GraphTask": "tasks.graph",
    "ImageTask": "tasks.image",
    "InductiveNodeTask": "tasks.inductive",
    "LinkTask": "tasks.link",
    "NodeTask": "tasks.node",
    "TranslationTask": "tasks.translation",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'graphnas' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"graphnas.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
