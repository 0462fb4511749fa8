"""Cells as papers publish them, ``Genotype(...)`` with lists of operations and inputs, read as data and never run."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from graphnas.errors import GraphnasError

MAX_LENGTH = 10_000


def fields_of(text: str, names: Sequence[str], form: str) -> dict[str, list[Any]]:
    """The arguments of the call ``Genotype(...)``, lists of literals.

    Args:
        text: the call.
        names: of its arguments, in the order in which they may stand without names.
        form: what is expected, for the error.

    Raises:
        GraphnasError: another form, or a text that is too long.
    """
    if len(text) > MAX_LENGTH:
        raise GraphnasError(f"the genotype has {len(text)} characters; one of two cells has fewer than {MAX_LENGTH}")
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or getattr(call.func, "id", getattr(call.func, "attr", "")) != "Genotype":
            raise ValueError
        given = dict(zip(names, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
        return {name: _listed(given[name]) for name in names}
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise GraphnasError(f"a genotype reads {form}, not {text!r:.60}") from None


def _listed(value: ast.expr) -> list[Any]:
    """A list, a tuple or ``range(a, b)`` of small literals."""
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "range" and not value.keywords:
        bounds = [ast.literal_eval(a) for a in value.args]
        if not all(type(b) is int and 0 <= b <= 100 for b in bounds):
            raise ValueError
        return list(range(*bounds))
    found = ast.literal_eval(value)
    if not isinstance(found, (list, tuple)):
        raise ValueError
    return list(found)
