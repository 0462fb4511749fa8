"""Groups of numbers that describe a canonical graph of any space, put to a common scale without looking at scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, Params
from graphnas.encoding.forms import classes_of
from graphnas.encoding.paths import op_paths
from graphnas.encoding.substructures import colours, statistics
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.metrics import normal_scores
from graphnas.space import Space
from predictors.longest import distances, longest_by_pairs, occurrences, path_count
from predictors.ranks import Increasing
from predictors.signals import PREFIX, Signals

Groups = dict[str, np.ndarray]
COUNTED = ("tokens", "colours", "paths", "path_multisets", "placed_tokens", "placed_kinds", "placed_edges")
SCALARS = ("sizes", "totals", "longest", "longest_pairs", "shortest_pairs", "occurrences")
GROUPS = (*COUNTED, *SCALARS)
FAMILIES = (
    *[("tokens",), ("colours",), ("paths",), ("path_multisets",), ("placed_tokens", "placed_kinds", "placed_edges")],
    *[("sizes", "totals", "longest"), ("longest_pairs", "shortest_pairs"), ("occurrences",)],
)
MAX_COLUMNS = 2048
MAX_PATHS = 4096
_CONSTANT = 1e-9


class Descriptors:
    """Thirteen groups of columns; each has mean 0 and mean squared length 1 over a reference set of architectures.

    Square roots of counts: tokens of the nodes (``tokens``), Weisfeiler-Lehman colours after one round (``colours``),
    op paths from an input to an output (``paths``) and the same without their order (``path_multisets``), tokens with
    their node's longest distance from the input and to the output (``placed_tokens``), the same for nodes with parameters
    as a whole (``placed_kinds``), and edges, whatever their ops, with both ends' distances (``placed_edges``).

    Scalars: numbers of nodes, edges and paths and the longest path (``sizes``), the count of each op (``totals``) and
    the most of it on one path (``longest``), the longest and the shortest path when only the ops of a pair count
    (``longest_pairs``, ``shortest_pairs``), and mean occurrences of each token on a path (``occurrences``). Every
    column of scalars has variance 1 before the group is scaled.

    What is about ops and what is about shape alone are groups of their own, since a process weighs groups as wholes;
    the groups of one of the eight ``FAMILIES`` share what a process expects of a family before it has seen labels.

    Of the counted things those in at least two reference architectures have columns, the most frequent 2,048 at most;
    graphs of more than 4,096 paths have none counted.

    Signals, where there are any, add a group of one column each: the normal score of their rank among the
    reference architectures, so that their units do not matter.

    Args:
        space: whose canonical forms are described.
        signals: cheap numbers about architectures.

    Attributes:
        names: of all groups, in their order.
        columns_: for each counted group its things, as text.
        mean_: for each group the mean of every column.
        scale_: for each group the factor of every column; 0 where it is constant.
    """

    def __init__(self, space: Space, signals: Signals | None = None) -> None:
        self.space = space
        self.signals = signals
        self.names = (*GROUPS, *(f"{PREFIX}{name}" for name in (signals.names if signals else ())))

    @property
    def widths(self) -> list[int]:
        """The number of columns of every group."""
        return [self.mean_[name].size for name in self.names]

    @property
    def centres(self) -> list[float]:
        """The weight that a process expects of every group: of each family 1 / 16, shared among its groups that vary."""
        varying = [{name for name in family if self.scale_[name].any()} for family in FAMILIES]
        share = {name: 1 / len(names) for names in varying for name in names}
        return [share.get(name, 1.0) / (2 * len(FAMILIES)) for name in self.names]

    def fit(self, forms: Sequence[Architecture]) -> Groups:
        """Settle columns and scales on reference forms; returns their groups."""
        counts = self._counts(forms)
        self.columns_ = {name: _frequent(rows) for name, rows in counts.items()}
        raw = {**self._tables(counts), **self._scalars(forms)}
        signals = self.signals.groups(forms) if self.signals else {}
        self.ranks_ = {name: Increasing.matching(x[:, 0], normal_scores(x[:, 0])) for name, x in signals.items()}
        raw |= self._ranked(signals)
        self.mean_ = {name: values.mean(axis=0) for name, values in raw.items()}
        self.scale_ = {name: self._scale(name, values) for name, values in raw.items()}
        return self._standardise(raw)

    def transform(self, forms: Sequence[Architecture]) -> Groups:
        """The groups ``[n, width]`` (float64) of canonical forms."""
        signals = self.signals.groups(forms) if self.signals else {}
        return self._standardise({**self._tables(self._counts(forms)), **self._scalars(forms), **self._ranked(signals)})

    def _ranked(self, signals: Groups) -> Groups:
        """Signals as normal scores, at most as far out as those of the reference architectures go."""
        return {
            name: np.clip(rank(signals[name]), rank.target[0], rank.target[-1]) for name, rank in self.ranks_.items()
        }

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
        placed = _Placed(self.space)
        counts: dict[str, list[Counter[str]]] = {name: [] for name in COUNTED}
        for form in forms:
            nodes = form.nodes
            tokens = [column for op, _, params in nodes if op not in (INPUT, OUTPUT) for column in columns(op, params)]
            counts["tokens"].append(Counter(map(str, tokens)))
            counts["colours"].append(Counter(map(str, colours(nodes, 1, semantics.ordered_ops)[1])))
            for name, found in zip(("placed_tokens", "placed_kinds", "placed_edges"), placed(nodes), strict=True):
                counts[name].append(found)
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
        vocabulary = vocabulary_of(self.space)
        columns = vocabulary.columns
        silent = self.space.semantics.merge_ops | {INPUT, OUTPUT}
        ops = [op for op in vocabulary.ops if op not in silent]
        numbers = statistics(self.space, forms)
        numbers[:, 2] = np.log1p(numbers[:, 2])  # paths grow exponentially with depth
        sizes, totals, longest = np.split(numbers, [4, 4 + (numbers.shape[1] - 4) // 2], axis=1)
        longest_pairs, shortest_pairs = np.split(longest_by_pairs(forms, ops), 2, axis=1)
        return {
            "sizes": sizes,
            "totals": totals,
            "longest": longest,
            "longest_pairs": longest_pairs,
            "shortest_pairs": shortest_pairs,
            "occurrences": occurrences(
                forms, len(vocabulary), lambda n: () if n.op in silent else columns(n.op, n.params)
            ),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """What was fitted, for a file."""
        made = {"descriptors.columns": np.array(json.dumps(self.columns_))}
        for name, rank in self.ranks_.items():
            made.update(rank.arrays(name))
        for name in self.names:
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
        signals = self.names[len(GROUPS) :]
        widths.update(dict.fromkeys(signals, 1))
        self.ranks_ = {name: Increasing.of_arrays(arrays, name) for name in signals}
        self.mean_, self.scale_ = {}, {}
        for name in self.names:
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


class _Placed:
    """Counts tokens, nodes with parameters, and edges, each by longest distance from the inputs and to the outputs."""

    def __init__(self, space: Space) -> None:
        self.vocabulary = vocabulary_of(space)
        self.silent = space.semantics.merge_ops | {INPUT, OUTPUT}
        # Writing texts takes longer than counting them, and few are different.
        self._nodes: dict[tuple[str, Params, int, int], tuple[list[str], list[str]]] = {}
        self._edges: dict[tuple[int, int, int, int], tuple[str, str]] = {}

    def __call__(self, nodes: Sequence[Node]) -> tuple[Counter[str], Counter[str], Counter[str]]:
        depths, heights = distances(nodes, self.silent)
        tokens: list[str] = []
        kinds: list[str] = []
        edges: list[str] = []
        for depth, height, (op, inputs, params) in zip(depths, heights, nodes, strict=True):
            if op not in self.silent:
                of_node = self._nodes.get((op, params, depth, height)) or self._written(op, params, depth, height)
                tokens += of_node[0]
                kinds += of_node[1]
            for j in inputs:
                ends = depths[j], depth, heights[j], height
                of_edge = self._edges.get(ends)
                if of_edge is None:
                    of_edge = f"{depths[j]} to {depth}", f"{heights[j]} down to {height}"
                    self._edges[ends] = of_edge
                edges += of_edge
        return Counter(tokens), Counter(kinds), Counter(edges)

    def _written(self, op: str, params: Params, depth: int, height: int) -> tuple[list[str], list[str]]:
        """The texts of a node's tokens at its place, and of the node as a whole where it has parameters."""
        # The vocabulary's own values: 1 and 1.0 are equal, but their texts are not.
        own = [self.vocabulary.tokens[i] for i in self.vocabulary.columns(op, params)]
        parts = [f"{key}={value!r}" for key, value in own]
        wholes = [" ".join(parts)] if params else []
        ends = f"after {depth}", f"before {height}"
        tokens, kinds = ([f"{text} {end}" for text in texts for end in ends] for texts in (parts, wholes))
        self._nodes[op, params, depth, height] = tokens, kinds
        return tokens, kinds


def _frequent(rows: Sequence[Counter[str]]) -> list[str]:
    frequency: Counter[str] = Counter()
    for row in rows:
        frequency.update(row.keys())
    shared = [thing for thing, count in frequency.items() if count > 1]
    return sorted(sorted(shared, key=lambda thing: (-frequency[thing], thing))[:MAX_COLUMNS])
