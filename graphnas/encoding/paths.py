"""The path encoding: which op sequences lead from an input to an output.

Source: White, Neiswanger & Savani, BANANAS, AAAI 2021, section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node
from graphnas.encoding.forms import classes_of
from graphnas.encoding.vocabulary import Kind
from graphnas.errors import GraphnasError
from graphnas.space import Space

Path = tuple[Kind, ...]
"""The kinds of the nodes between an input and an output, without merge ops."""

MAX_PATHS = 100_000


def op_paths(nodes: Sequence[Node], merge_ops: frozenset[str] = frozenset()) -> dict[Path, int]:
    """How many input-output paths there are for each sequence of ops on the way.

    Parallel edges are different paths. Inputs, outputs and ``merge_ops`` are not written into the sequence, so the edge
    from input to output is the empty path.

    Raises:
        GraphnasError: more than 100,000 different sequences end in one node.
    """
    silent = merge_ops | {INPUT, OUTPUT}
    reaching: list[dict[Path, int]] = []
    total: dict[Path, int] = {}
    for op, inputs, params in nodes:
        mine: dict[Path, int] = {(): 1} if op == INPUT else {}
        step: Path = () if op in silent else ((op, params),)
        for j in inputs:
            for path, count in reaching[j].items():
                longer = path + step
                mine[longer] = mine.get(longer, 0) + count
        if len(mine) > MAX_PATHS:
            raise GraphnasError(
                f"an architecture has more than {MAX_PATHS} op paths into one node; use another encoding than paths"
            )
        reaching.append(mine)
        if op == OUTPUT:
            for path, count in mine.items():
                total[path] = total.get(path, 0) + count
    return total


def known_paths(
    space: Space,
    architectures: Sequence[Architecture],
    max_paths: int | None = None,
    keep: str = "shortest",
    canonical: bool = True,
) -> tuple[Path, ...]:
    """The paths that occur in these architectures, shortest first: the columns of ``path_encoding``.

    Args:
        space: its semantics say what is equal and what merges.
        architectures: where to look.
        max_paths: keep at most so many.
        keep: which to keep: the "shortest" (as BANANAS truncates) or the most "frequent" (in most architectures).
        canonical: look at the canonical forms.

    Raises:
        GraphnasError: ``keep`` is neither, or ``max_paths`` is below 1.
    """
    if keep not in ("shortest", "frequent"):
        raise GraphnasError(f"keep is {keep!r}; it must be 'shortest' or 'frequent'")
    if max_paths is not None and max_paths < 1:
        raise GraphnasError(f"max_paths is {max_paths}; it must be at least 1")
    counts, member = _counts(space, architectures, canonical)
    frequency: Counter[Path] = Counter()
    for row in member:
        frequency.update(counts[row].keys())
    found = sorted(frequency, key=_length_first)
    if keep == "frequent":
        found.sort(key=lambda path: -frequency[path])  # stable: the shorter of two equally frequent ones first
    return tuple(sorted(found[:max_paths], key=_length_first))


def path_encoding(
    space: Space,
    architectures: Sequence[Architecture],
    max_paths: int | None = None,
    *,
    paths: Sequence[Path] | None = None,
    keep: str = "shortest",
    indicator: bool = False,
    canonical: bool = True,
) -> np.ndarray:
    """Path counts ``[n, P]`` (float32) of each architecture.

    Args:
        space: its semantics say what is equal and what merges.
        architectures: n architectures.
        max_paths: keep at most so many paths; see ``known_paths``.
        paths: the columns; by default ``known_paths`` of these architectures. Give those of the training set when
            other architectures must get the same columns. Paths that are not among them are left out.
        keep: see ``known_paths``.
        indicator: 1 where the path exists, as in the paper, instead of how often.
        canonical: encode the canonical forms.

    Raises:
        GraphnasError: too many paths in one architecture, or wrong arguments.
    """
    if paths is None:
        paths = known_paths(space, architectures, max_paths, keep, canonical)
    column = {path: i for i, path in enumerate(paths)}
    counts, member = _counts(space, architectures, canonical)
    encoded = np.zeros((len(counts), len(column)), dtype=np.float32)
    for row, mine in enumerate(counts):
        for path, count in mine.items():
            if path in column:
                encoded[row, column[path]] = 1 if indicator else count
    return encoded[np.array(member, dtype=np.intp)]


def _counts(
    space: Space, architectures: Sequence[Architecture], canonical: bool
) -> tuple[list[dict[Path, int]], Iterable[int]]:
    """Path counts of the distinct architectures, and which of them each architecture is."""
    forms: Sequence[Architecture]
    member: Iterable[int]
    if canonical:
        forms, member = classes_of(space, architectures)
    else:
        forms, member = architectures, list(range(len(architectures)))
    merge_ops = space.semantics.merge_ops
    return [op_paths(form.nodes, merge_ops) for form in forms], member


def _length_first(path: Path) -> tuple[int, str]:
    return len(path), repr(path)
