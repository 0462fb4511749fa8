"""Whether networks of a space fit a task, and whether sizes fit the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError, unknown


def check_inputs(space: str, reads: Sequence[str] | None, signature: Any) -> None:
    """Check that networks can take the inputs of a task, and find those that they need.

    Args:
        space: its name.
        reads: see ``Space``.
        signature: of the task.

    Raises:
        GraphnasError: naming what is too much or missing.
    """
    given = [extra.name for extra in signature.extra]
    missing = [name for name in reads or () if name not in given]
    if missing:
        raise GraphnasError(
            f"space {space!r} builds networks that read {', '.join(missing)} beside x, which the task does not give"
        )
    if given and reads is None:
        raise GraphnasError(
            f"space {space!r} builds networks that take x alone, but the task gives {', '.join(given)} too"
        )


def check_size(space: str, sizes: Mapping[str, Any], name: str, value: Any) -> None:
    """Check that a size is of the kind of its default: a count of at least 1, a share from 0 to below 1, or yes or no.

    Args:
        space: its name.
        sizes: all that its networks have, with their defaults.
        name, value: of the one that is given.

    Raises:
        GraphnasError: an unknown name or another kind of value.
    """
    if name not in sizes:
        raise unknown(f"size of {space} networks", name, sizes)
    if isinstance(sizes[name], bool):
        if not isinstance(value, bool):
            raise GraphnasError(f"size {name} of {space} networks must be True or False, not {value!r}")
        return
    if isinstance(sizes[name], int):
        fits, wanted = isinstance(value, int) and value >= 1, "a whole number of at least 1"
    else:
        fits, wanted = isinstance(value, (int, float)) and 0 <= value < 1, "a number from 0 to below 1"
    if isinstance(value, bool) or not fits:
        raise GraphnasError(f"size {name} of {space} networks must be {wanted}, not {value!r}")
