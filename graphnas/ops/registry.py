"""Operations by name: what a node of a network does."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Node, Params
from graphnas.errors import GraphnasError, unknown
from graphnas.ops.layers import Cost, Layer, Shape

LayerRule = Callable[[Mapping[str, Any], Sequence[Shape]], Layer]
Emit = Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]
ShapeRule = Callable[[Mapping[str, Any], Sequence[Shape]], Shape]

_BUILT_IN = (
    "graphnas.ops.basic",
    "graphnas.ops.image",
    "graphnas.ops.control",
    "graphnas.ops.maps",
    "graphnas.ops.mobile",
    "graphnas.ops.graph",
    "graphnas.ops.graph_agnn",
    "graphnas.ops.darts",
    "graphnas.ops.mixed",
    "graphnas.ops.sequence",
    "graphnas.ops.splits",
    "graphnas.ops.recurrent",
)


@dataclass(frozen=True)
class Op:
    """One operation.

    Either a layer (``layer(params, input shapes) -> Layer``), from which module, source, shape and cost follow, or a
    function without parameters (``emit(fx graph, arguments, params) -> fx node`` with its ``shape`` rule).
    """

    name: str
    layer: LayerRule | None = None
    emit: Emit | None = None
    shape_rule: ShapeRule | None = None

    def shape_and_cost(self, params: Mapping[str, Any], inputs: Sequence[Shape]) -> tuple[Shape, Cost]:
        """Shape of the result, parameters and multiply-adds."""
        if self.layer is not None:
            expression = self.layer(params, inputs)
            found = expression.cost(*inputs)
            # A node that runs an earlier node's layer again has no parameters of its own.
            return expression.shape(*inputs), Cost(0, found.macs) if params.get("again") else found
        assert self.shape_rule is not None
        return self.shape_rule(params, inputs), Cost()


_ops: dict[str, Op] = {}


def layer_op(name: str) -> Callable[[LayerRule], LayerRule]:
    """Register the decorated function as the layer of operation ``name``."""

    def register(make: LayerRule) -> LayerRule:
        _add(Op(name, layer=make))
        return make

    return register


def function_op(name: str, shape: ShapeRule) -> Callable[[Emit], Emit]:
    """Register the decorated function as the emitter of operation ``name``, which has no parameters to learn."""

    def register(emit: Emit) -> Emit:
        _add(Op(name, emit=emit, shape_rule=shape))
        return emit

    return register


def _add(op: Op) -> None:
    if op.name in _ops:
        raise GraphnasError(f"operation {op.name!r} is registered twice; choose another name")
    _ops[op.name] = op


def get(name: str) -> Op:
    """The operation of this name.

    Raises:
        GraphnasError: unknown, with the nearest names.
    """
    if name not in _ops:
        for module in _BUILT_IN:
            importlib.import_module(module)
    if name not in _ops:
        raise unknown("operation", name, _ops)
    return _ops[name]


@lru_cache(maxsize=65_536)
def _shape_and_cost(op: str, params: Params, inputs: tuple[Shape, ...]) -> tuple[Shape, Cost]:
    return get(op).shape_and_cost(dict(params), inputs)


def infer(nodes: Sequence[Node]) -> list[tuple[Shape, Cost]]:
    """Shape and cost of every node; ``input`` nodes tell their shape by the parameter ``shape``.

    Raises:
        GraphnasError: naming the node whose inputs do not fit.
    """
    result: list[tuple[Shape, Cost]] = []
    for i, (op, sources, params) in enumerate(nodes):
        inputs = tuple([result[j][0] for j in sources])
        if op == INPUT:
            shape = nodes[i].get("shape")
            if shape is None:
                raise GraphnasError(
                    f"node {i} (input) has no parameter 'shape': build the whole network first with space.network(...)"
                )
            result.append((shape, Cost()))
        elif op == OUTPUT:
            if len(inputs) != 1:
                raise GraphnasError(
                    f"node {i} (output) reads {len(inputs)} nodes; a network's output reads exactly one"
                )
            result.append((inputs[0], Cost()))
        else:
            # The name takes no part in the rules; without it all copies of a cell share one cache entry.
            unnamed = tuple([pair for pair in params if pair[0] != "name"])
            try:
                result.append(_shape_and_cost(op, unnamed, inputs))
            except GraphnasError as error:
                raise GraphnasError(f"node {i} ({op}): {error}") from None
            except (IndexError, KeyError, ValueError, TypeError) as error:
                raise GraphnasError(f"node {i} ({op}) does not fit inputs of shape {list(inputs)}: {error!r}") from None
    return result
