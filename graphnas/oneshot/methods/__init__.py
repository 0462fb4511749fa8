"""The methods by name: every module of this package, and of the entry points ``graphnas.methods``, holds some.

A module that defines a Method adds it; nothing else need be changed.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from graphnas.errors import GraphnasError
from graphnas.oneshot.method import Method

GROUP = "graphnas.methods"


@cache
def _methods() -> dict[str, Method]:
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Method)]
    for entry in entry_points(group=GROUP):
        try:
            made = entry.load()
        except (ImportError, AttributeError) as error:
            raise GraphnasError(
                f"method {entry.name!r} is registered as {entry.value!r}, which fails to load: {error}"
            ) from error
        found.append(made)
    return {method.name: method for method in found}


def names() -> list[str]:
    """The names of all methods, sorted."""
    return sorted(_methods())


def get(name: str) -> Method:
    """The method of this name; "-" and "_" are the same.

    Raises:
        GraphnasError: unknown name.
    """
    written = name.replace("-", "_")
    if written not in _methods():
        raise GraphnasError(f"unknown method of gradient-based search {name!r}; known: {', '.join(names())}")
    return _methods()[written]
