"""Groups of numbers that describe a canonical graph of any space, put to a common scale without looking at scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node
from graphnas.encoding.forms import classes_of
from graphnas.encoding.paths import op_paths
from graphnas.encoding.substructures import colours, statistics
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.space import Space
from predictors.longest import distances, longest_by_pairs, occurrences, path_count

Groups = dict[str, np.ndarray]
COUNTED = ("tokens", "colours", "paths", "path_multisets", "places")
SCALARS = ("statistics", "pairs", "occurrences")
GROUPS = (*COUNTED, *SCALARS)
MAX_COLUMNS = 2048
MAX_PATHS = 4096
_CONSTANT = 1e-9


class Descriptors:
    """Eight groups of columns; each has mean 0 and mean squared length 1 over a reference set of architectures.

    Square roots of counts: tokens of the nodes (``tokens``), Weisfeiler-Lehman colours after one round (``colours``),
    op paths from an input to an output (``paths``) and the same without their order (``path_multisets``), nodes with
    their distance from the input and to the output, and edges with both ends' distances (``places``). Scalars:
    ``statistics``, the longest and shortest path when only the ops of a pair count (``pairs``), and mean occurrences of
    each op on a path (``occurrences``). Every column of scalars has variance 1 before the group is scaled.

    Of the counted things those in at least two reference architectures have columns, the most frequent 2,048 at most;
    graphs of more than 4,096 paths have none counted.

    Args:
        space: whose canonical forms are described.

    Attributes:
        columns_: for each counted group its things, as text.
        mean_: for each group the mean of every column.
        scale_: for each group the factor of every column; 0 where it is constant.
    """

    def __init__(self, space: Space) -> None:
        self.space = space

    def fit(self, forms: Sequence[Architecture]) -> Groups:
        """Settle columns and scales on reference forms; returns their groups."""
        counts = self._counts(forms)
        self.columns_ = {name: _frequent(rows) for name, rows in counts.items()}
        raw = {**self._tables(counts), **self._scalars(forms)}
        self.mean_ = {name: values.mean(axis=0) for name, values in raw.items()}
        self.scale_ = {name: self._scale(name, values) for name, values in raw.items()}
        return self._standardise(raw)

    def transform(self, forms: Sequence[Architecture]) -> Groups:
        """The groups ``[n, width]`` (float64) of canonical forms."""
        return self._standardise({**self._tables(self._counts(forms)), **self._scalars(forms)})

    @staticmethod
    def _scale(name: str, values: np.ndarray) -> np.ndarray:
        spread = values.std(axis=0)
        varies = spread > _CONSTANT
        if name in SCALARS:
            factor = np.where(varies, 1 / np.where(varies, spread, 1.0), 0.0)
            return np.asarray(factor / np.sqrt(max(varies.sum(), 1)))
        return np.asarray(varies / np.sqrt(max(np.square(spread).sum(), _CONSTANT)))

    def _standardise(self, raw: Groups) -> Groups:
        return {name: (values - self.mean_[name]) * self.scale_[name] for name, values in raw.items()}

    def _counts(self, forms: Sequence[Architecture]) -> dict[str, list[Counter[str]]]:
        """What each form holds of every counted group."""
        columns = vocabulary_of(self.space).columns
        semantics = self.space.semantics
        silent = semantics.merge_ops | {INPUT, OUTPUT}
        counts: dict[str, list[Counter[str]]] = {name: [] for name in COUNTED}
        for form in forms:
            nodes = form.nodes
            tokens = [column for op, _, params in nodes if op not in (INPUT, OUTPUT) for column in columns(op, params)]
            counts["tokens"].append(Counter(map(str, tokens)))
            counts["colours"].append(Counter(map(str, colours(nodes, 1, semantics.ordered_ops)[1])))
            counts["places"].append(_places(nodes, silent))
            paths: Counter[str] = Counter()
            unordered: Counter[str] = Counter()
            if path_count(nodes) <= MAX_PATHS:
                for path, count in op_paths(nodes, semantics.merge_ops).items():
                    steps = [repr(step) for step in path]
                    paths["".join(steps)] = count
                    unordered["".join(sorted(steps))] += count
            counts["paths"].append(paths)
            counts["path_multisets"].append(unordered)
        return counts

    def _tables(self, counts: Mapping[str, list[Counter[str]]]) -> Groups:
        """Square roots of the counts of known things."""
        groups = {}
        for name, rows in counts.items():
            column = {thing: i for i, thing in enumerate(self.columns_[name])}
            table = np.zeros((len(rows), len(column)))
            for row, found in enumerate(rows):
                for thing, count in found.items():
                    if thing in column:
                        table[row, column[thing]] = count
            groups[name] = np.sqrt(table)
        return groups

    def _scalars(self, forms: Sequence[Architecture]) -> Groups:
        silent = self.space.semantics.merge_ops | {INPUT, OUTPUT}
        ops = [op for op in vocabulary_of(self.space).ops if op not in silent]
        numbers = statistics(self.space, forms)
        numbers[:, 2] = np.log1p(numbers[:, 2])  # paths grow exponentially with depth
        return {
            "statistics": numbers,
            "pairs": longest_by_pairs(forms, ops),
            "occurrences": occurrences(forms, ops),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """What was fitted, for a file."""
        made = {"descriptors.columns": np.array(json.dumps(self.columns_))}
        for name in GROUPS:
            made[f"descriptors.{name}"] = np.stack([self.mean_[name], self.scale_[name]])
        return made

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of ``arrays`` (ValueError or KeyError when they are damaged)."""
        columns = json.loads(str(arrays["descriptors.columns"]))
        if not isinstance(columns, dict) or sorted(columns) != sorted(COUNTED):
            raise ValueError("the columns are not those of the counted groups")
        widths = {name: values.shape[1] for name, values in self._scalars([]).items()}
        for name, things in columns.items():
            if not isinstance(things, list) or len({t for t in things if isinstance(t, str)}) != len(things):
                raise ValueError(f"the columns of {name} are not distinct texts")
            widths[name] = len(things)
        self.mean_, self.scale_ = {}, {}
        for name in GROUPS:
            stored = arrays[f"descriptors.{name}"]
            if stored.dtype != np.float64 or stored.shape != (2, widths[name]) or not np.isfinite(stored).all():
                raise ValueError(f"the scale of {name} has a wrong shape or is not finite")
            self.mean_[name], self.scale_[name] = stored
        self.columns_ = {name: columns[name] for name in COUNTED}


def reference_forms(
    space: Space, known: Sequence[Architecture], count: int, rng: np.random.Generator
) -> list[Architecture]:
    """The distinct canonical forms of ``known`` architectures and of ``count`` random ones of the space (no labels)."""
    return classes_of(space, [*known, *[space.sample(rng) for _ in range(count)]])[0]


def _places(nodes: Sequence[Node], silent: frozenset[str]) -> Counter[str]:
    """Nodes by kind and longest distance from the inputs and to the outputs, and edges by those of their ends."""
    depths, heights = distances(nodes, silent)
    found: Counter[str] = Counter()
    for depth, height, (op, inputs, params) in zip(depths, heights, nodes, strict=True):
        if op not in silent:
            found[f"{op}{params} after {depth}"] += 1
            found[f"{op}{params} before {height}"] += 1
        for j in inputs:
            found[f"{depths[j]} to {depth}"] += 1
            found[f"{heights[j]} down to {height}"] += 1
    return found


def _frequent(rows: Sequence[Counter[str]]) -> list[str]:
    frequency: Counter[str] = Counter()
    for row in rows:
        frequency.update(row.keys())
    shared = [thing for thing, count in frequency.items() if count > 1]
    return sorted(sorted(shared, key=lambda thing: (-frequency[thing], thing))[:MAX_COLUMNS])
