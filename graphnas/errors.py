"""Errors that a user can act on, and the nearest valid names for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GraphnasError(Exception):
    """What a user did cannot work; the message is one sentence that says what, and what to do instead.

    The command line prints the message alone and exits with code 2.
    """


def unknown(what: str, name: object, valid: Iterable[str]) -> GraphnasError:
    """The error for a name that does not exist, with the valid names nearest to it.

    Args:
        what: what was named, in singular ("space", "strategy").
        name: the name as given.
        valid: all names that would have been accepted.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
    listed = near or names
    known = ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "")
    lead = "nearest" if near else "known"
    return GraphnasError(f"unknown {what} {str(name)!r}; {lead}: {known or 'none'}")
