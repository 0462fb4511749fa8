"""An architecture is an immutable typed DAG: a tuple of nodes, each reading earlier ones."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from graphnas.errors import GraphnasError

FORMAT = "graphnas.architecture"
VERSION = 1
INPUT = "input"
OUTPUT = "output"
MAX_NODES = 100_000
_OP_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,100}")

Params = tuple[tuple[str, Hashable], ...]


class Node(NamedTuple):
    """One operation: its name, the indices of the earlier nodes it reads, and its parameters.

    In the template of a Space, ``op``, an input or a parameter value may be a Choice.
    """

    op: Any
    inputs: tuple[Any, ...] = ()
    params: Params = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of one parameter, or ``default``."""
        for key, value in self.params:
            if key == name:
                return value
        return default


def node(op: Any, inputs: Iterable[Any] = (), **params: Any) -> Node:
    """A Node whose parameters are given by keyword (stored sorted by name, lists as tuples)."""
    return Node(op, tuple(inputs), freeze(params))


def freeze(params: Mapping[str, Any]) -> Params:
    """Parameters as a sorted tuple of pairs; lists become tuples, so that the result is hashable."""
    return tuple((key, _hashable(params[key])) for key in sorted(params))


def _hashable(value: Any) -> Hashable:
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(v) for v in value)
    hash(value)
    return value  # type: ignore[no-any-return]


class Architecture:
    """An immutable DAG of Nodes in topological order, like a program in SSA form.

    Nodes with op ``input`` have no inputs and are the arguments (the parameter ``name`` tells them apart);
    every node with op ``output`` is a result and reads at least the nodes that it lists. Equal by value and
    hashable. A Space attaches the decisions that an architecture was decoded from (``decisions``);
    they take no part in equality.

    Raises:
        GraphnasError: when a node reads itself or a later one, or there is no output.
    """

    __slots__ = ("_decisions", "_hash", "_key", "_nodes", "_space")

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes: tuple[Node, ...] | None = tuple(nodes)
        self._hash: int | None = None
        self._space: Any = None
        self._decisions: tuple[int, ...] | None = None
        self._key: str | None = None
        validate(self._nodes)

    @classmethod
    def of_space(cls, space: Any, decisions: tuple[int, ...]) -> Architecture:
        """The architecture that ``space`` decodes from ``decisions``; its nodes are built when first read."""
        self = object.__new__(cls)
        self._nodes = None
        self._hash = None
        self._space = space
        self._decisions = decisions
        self._key = None
        return self

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, in topological order."""
        if self._nodes is None:
            self._nodes = self._space.build(self._decisions)
        return self._nodes

    def decisions_in(self, space: Any) -> tuple[int, ...] | None:
        """The decisions that ``space`` decoded this architecture from, or None if it came from elsewhere."""
        return self._decisions if self._space is space else None

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Architecture):
            return NotImplemented
        return self.nodes == other.nodes

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self.nodes)
        return self._hash

    def __repr__(self) -> str:
        parts = []
        for i, n in enumerate(self.nodes):
            params = "".join(f", {k}={v!r}" for k, v in n.params)
            parts.append(f"{i}={n.op}({', '.join(map(str, n.inputs))}{params})")
        return f"Architecture({'; '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _trusted, (tuple(tuple(n) for n in self.nodes),)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Indices of the output nodes."""
        return tuple(i for i, n in enumerate(self.nodes) if n.op == OUTPUT)

    @property
    def edges(self) -> list[tuple[int, int]]:
        """All edges (from, to), one per input slot, in node order."""
        return [(j, i) for i, n in enumerate(self.nodes) for j in n.inputs]

    def consumers(self) -> list[list[int]]:
        """For every node the nodes that read it, once per input slot."""
        result: list[list[int]] = [[] for _ in self.nodes]
        for source, target in self.edges:
            result[source].append(target)
        return result

    def depth(self) -> int:
        """Number of edges on the longest path that ends in an output."""
        level = [0] * len(self.nodes)
        for i, n in enumerate(self.nodes):
            level[i] = 1 + max((level[j] for j in n.inputs), default=-1)
        return max(level[i] for i in self.outputs)

    def prune(self) -> Architecture:
        """The architecture without the nodes that no output depends on (inputs stay)."""
        nodes = self.nodes
        live = [n.op in (INPUT, OUTPUT) for n in nodes]
        for i in range(len(nodes) - 1, -1, -1):
            if live[i]:
                for j in nodes[i].inputs:
                    live[j] = True
        index = {}
        kept: list[Node] = []
        for i, n in enumerate(nodes):
            if live[i]:
                index[i] = len(kept)
                kept.append(Node(n.op, tuple(index[j] for j in n.inputs), n.params))
        return Architecture(kept)

    def relabel(self, order: Iterable[int]) -> Architecture:
        """The same DAG with its nodes in another topological order (``order``: old indices)."""
        order = list(order)
        if sorted(order) != list(range(len(self))):
            raise GraphnasError(f"order {order} does not name every one of {len(self)} nodes once")
        place = {old: new for new, old in enumerate(order)}
        nodes = self.nodes
        return Architecture(
            Node(nodes[old].op, tuple(place[j] for j in nodes[old].inputs), nodes[old].params) for old in order
        )

    def to_json(self) -> str:
        """One line of JSON; ``Architecture.from_json`` reads it back to an equal object."""
        nodes = [
            {"op": n.op, "inputs": list(n.inputs), **({"params": dict(n.params)} if n.params else {})}
            for n in self.nodes
        ]
        try:
            return json.dumps({"format": FORMAT, "version": VERSION, "nodes": nodes}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise GraphnasError(f"the architecture has a parameter that JSON cannot hold ({error})") from None

    @classmethod
    def from_json(cls, text: str, ops: Iterable[str] | None = None) -> Architecture:
        """Read what ``to_json`` wrote.

        Args:
            text: the JSON text.
            ops: when given, the only op names that are accepted.

        Raises:
            GraphnasError: not JSON, not this format, a cycle, a dangling input or an unknown op.
        """
        try:
            record = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise GraphnasError(f"architecture is not valid JSON ({error})") from None
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise GraphnasError(f'architecture JSON lacks the field "format": "{FORMAT}"')
        if record.get("version") != VERSION:
            raise GraphnasError(
                f"architecture JSON has version {record.get('version')!r}; this release reads {VERSION}"
            )
        entries = record.get("nodes")
        if not isinstance(entries, list):
            raise GraphnasError('architecture JSON lacks the list "nodes"')
        return cls(_read_node(i, entry, ops) for i, entry in enumerate(entries))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _read_node(index: int, entry: Any, ops: Iterable[str] | None) -> Node:
    if not isinstance(entry, dict) or not isinstance(entry.get("op"), str):
        raise GraphnasError(f'node {index} of the architecture JSON is not an object with a name "op"')
    inputs = entry.get("inputs", [])
    params = entry.get("params", {})
    if not isinstance(inputs, list) or not isinstance(params, dict):
        raise GraphnasError(f'node {index} ({entry["op"]}) needs a list "inputs" and an object "params"')
    if ops is not None and entry["op"] not in ops:
        from graphnas.errors import unknown

        raise unknown(f"op of node {index}:", entry["op"], ops)
    try:
        return Node(entry["op"], tuple(inputs), freeze(params))
    except (TypeError, RecursionError):
        raise GraphnasError(
            f"node {index} ({entry['op']}) has a parameter that is not a number, text or list"
        ) from None


def _trusted(nodes: tuple[tuple[Any, ...], ...]) -> Architecture:
    self = Architecture.of_space(None, ())
    self._nodes = tuple(Node(*n) for n in nodes)
    return self


def validate(nodes: tuple[Node, ...]) -> None:
    """Check that the nodes form a DAG in topological order with an output.

    Raises:
        GraphnasError: naming the first node that breaks a rule.
    """
    if len(nodes) > MAX_NODES:
        raise GraphnasError(f"an architecture of {len(nodes)} nodes exceeds the limit of {MAX_NODES}")
    outputs = 0
    for i, n in enumerate(nodes):
        if isinstance(n.op, str) and not _OP_NAME.fullmatch(n.op):
            raise GraphnasError(f"node {i} has the op name {n.op!r}; letters, digits and . : _ - are allowed")
        for j in n.inputs:
            if isinstance(j, bool) or not isinstance(j, int):
                if hasattr(j, "options"):  # an open Choice of a template
                    continue
                raise GraphnasError(f"node {i} ({n.op}) has the input {j!r}, which is not a node index")
            if j < 0 or j >= len(nodes):
                raise GraphnasError(
                    f"node {i} ({n.op}) reads node {j}, which does not exist (there are {len(nodes)} nodes)"
                )
            if j >= i:
                raise GraphnasError(
                    f"node {i} ({n.op}) reads node {j}, which is not earlier: the nodes form a cycle or are not sorted"
                )
            if nodes[j].op == OUTPUT:
                raise GraphnasError(f"node {i} ({n.op}) reads node {j}, which is an output")
        if n.op == INPUT and n.inputs:
            raise GraphnasError(f"node {i} is an input and cannot read other nodes")
        outputs += n.op == OUTPUT
    if not outputs:
        raise GraphnasError("an architecture needs a node with op 'output'")
