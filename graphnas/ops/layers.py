"""Layers as expressions: one description from which module, source text, shape and cost all follow."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphnas.errors import GraphnasError

Shape = tuple[int, ...]
"""Image features (C, H, W), vectors (F,), node features (N, F), edge lists (2, E); never with a batch axis."""


@dataclass(frozen=True)
class Layer:
    """A call of a layer class, not yet made: ``Layer("torch.nn.Linear", (("in_features", 3), ...))``.

    ``build`` makes the module, ``source`` writes the call as Python; both come from the same description, so an exported
    file builds exactly the network that was trained. ``faster`` names a class that ``build`` uses in place of ``target``: it
    has the same arguments and parameters, and the same results up to rounding.
    """

    target: str
    arguments: tuple[tuple[str, Any], ...] = ()
    children: tuple[Layer, ...] = ()
    faster: str = ""

    def built_by(self, faster: str) -> Layer:
        """The same call, with another class that ``build`` uses."""
        return replace(self, faster=faster)

    def build(self) -> Any:
        """The module (randomly initialised from torch's global generator)."""
        module_name, _, class_name = (self.faster or self.target).rpartition(".")
        factory = getattr(importlib.import_module(module_name), class_name)
        arguments = {k: v.build() if isinstance(v, Layer) else v for k, v in self.arguments}
        return factory(*(child.build() for child in self.children), **arguments)

    def source(self) -> str:
        """The call as Python text."""
        parts = [child.source() for child in self.children]
        parts += [f"{k}={v.source() if isinstance(v, Layer) else repr(v)}" for k, v in self.arguments]
        return f"{self.target}({', '.join(parts)})"

    def targets(self) -> set[str]:
        """The classes that the expression names."""
        inner = (*self.children, *(v for _, v in self.arguments if isinstance(v, Layer)))
        return {self.target}.union(*(part.targets() for part in inner))

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of the result for inputs of these shapes."""
        if self.target == SEQUENTIAL:
            for child in self.children:
                inputs = (child.shape(*inputs),)
            return inputs[0]
        if self.target == PARALLEL:
            part, narrow = self._narrowed(inputs)
            shape = self.children[0].shape(*narrow)
            return shape if part == 1 else (part * shape[0], *shape[1:])
        return self._rule().shape(dict(self.arguments), inputs)

    def cost(self, *inputs: Shape) -> Cost:
        """Parameters and multiply-adds for inputs of these shapes."""
        if self.target == SEQUENTIAL:
            total = Cost()
            for child in self.children:
                total = total + child.cost(*inputs)
                inputs = (child.shape(*inputs),)
            return total
        if self.target == PARALLEL:
            return sum(self.costs(*inputs), Cost())
        return self._rule().cost(dict(self.arguments), inputs)

    def costs(self, *inputs: Shape) -> list[Cost]:
        """The cost of each child of a parallel layer."""
        _, narrow = self._narrowed(inputs)
        return [child.cost(*narrow) for child in self.children]

    def _narrowed(self, inputs: tuple[Shape, ...]) -> tuple[int, tuple[Shape, ...]]:
        """What the children of a parallel layer read: one channel in ``part``."""
        part = int(dict(self.arguments).get("part", 1))
        return part, inputs if part == 1 else tuple((shape[0] // part, *shape[1:]) for shape in inputs)

    def _rule(self) -> Rule:
        if self.target not in RULES:
            raise GraphnasError(
                f"layer {self.target!r} has no shape and cost rule: add one with graphnas.ops.layers.rule"
            )
        return RULES[self.target]


SEQUENTIAL = "torch.nn.Sequential"
PARALLEL = "graphnas.ops.mixture.Mixed"
"""Its children read the same inputs and give results of one shape."""


def layer(target: str, **arguments: Any) -> Layer:
    """A Layer with keyword arguments; None values are left out."""
    return Layer(target, tuple((k, v) for k, v in arguments.items() if v is not None))


def sequential(*children: Layer) -> Layer:
    """Layers one after the other."""
    return Layer(SEQUENTIAL, (), children)


@dataclass(frozen=True)
class Cost:
    """Trainable parameters, and multiply-adds for one example (one graph for node tasks)."""

    params: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs)


ShapeRule = Callable[[Mapping[str, Any], Sequence[Shape]], Shape]
CostRule = Callable[[Mapping[str, Any], Sequence[Shape]], Cost]


@dataclass(frozen=True)
class Rule:
    """How one layer class changes shapes, and what it costs."""

    shape: ShapeRule
    cost: CostRule


RULES: dict[str, Rule] = {}


def rule(target: str, shape: ShapeRule, cost: CostRule | None = None) -> None:
    """Declare the shape and cost rule of a layer class (free by default)."""
    RULES[target] = Rule(shape, cost or (lambda arguments, inputs: Cost()))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _window(arguments: Mapping[str, Any], height: int, width: int, default_stride: Any) -> tuple[int, int]:
    """Output height and width of a convolution or pooling window."""
    kernel = _pair(arguments["kernel_size"])
    stride = _pair(arguments.get("stride", default_stride))
    padding = _pair(arguments.get("padding", 0))
    dilation = _pair(arguments.get("dilation", 1))
    result = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip((height, width), kernel, stride, padding, dilation, strict=True)
    ]
    if min(result) < 1:
        raise GraphnasError(f"a {height}x{width} feature map is too small for {dict(arguments)}; use fewer reductions")
    return result[0], result[1]


def _conv2d_shape(arguments: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    channels, height, width = inputs[0]
    if channels != arguments["in_channels"]:
        raise GraphnasError(f"a convolution of {arguments['in_channels']} channels got {channels}")
    return (arguments["out_channels"], *_window(arguments, height, width, 1))


def _conv2d_cost(arguments: Mapping[str, Any], inputs: Sequence[Shape]) -> Cost:
    kernel = _pair(arguments["kernel_size"])
    out = arguments["out_channels"]
    weights = out * (arguments["in_channels"] // arguments.get("groups", 1)) * kernel[0] * kernel[1]
    _, height, width = _conv2d_shape(arguments, inputs)
    bias = out if arguments.get("bias", True) else 0
    return Cost(weights + bias, (weights + bias) * height * width)


def _linear_cost(arguments: Mapping[str, Any], inputs: Sequence[Shape]) -> Cost:
    weights = arguments["in_features"] * arguments["out_features"]
    bias = arguments["out_features"] if arguments.get("bias", True) else 0
    return Cost(weights + bias, (weights + bias) * math.prod(inputs[0][:-1]))


def _affine_cost(arguments: Mapping[str, Any], inputs: Sequence[Shape]) -> Cost:
    return Cost(2 * arguments["num_features"] if arguments.get("affine", True) else 0)


def _same(arguments: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    return inputs[0]


for _name in ("ReLU", "Identity", "Dropout", "ELU", "Tanh", "Sigmoid", "LeakyReLU", "GELU"):
    rule(f"torch.nn.{_name}", _same)
rule("torch.nn.Conv2d", _conv2d_shape, _conv2d_cost)
rule("torch.nn.Linear", lambda a, i: (*i[0][:-1], a["out_features"]), _linear_cost)
rule("torch.nn.BatchNorm2d", _same, _affine_cost)
rule("torch.nn.BatchNorm1d", _same, _affine_cost)
for _name in ("MaxPool2d", "AvgPool2d"):
    rule(f"torch.nn.{_name}", lambda a, i: (i[0][0], *_window(a, i[0][1], i[0][2], a["kernel_size"])))
rule("torch.nn.AdaptiveAvgPool2d", lambda a, i: (i[0][0], *_pair(a["output_size"])))
rule("torch.nn.Flatten", lambda a, i: (math.prod(i[0]),))
rule("graphnas.ops.mixture.Select", _same)
rule("graphnas.ops.mixture.Share", lambda a, i: ())
rule(
    "graphnas.ops.mixture.Zero",
    lambda a, i: (
        (i[0][0], a["features"]) if "features" in a else (*i[0][:-2], *(-(-size // a["stride"]) for size in i[0][-2:]))
    ),
)
