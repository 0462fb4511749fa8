"""Operations of recurrent cells, and of the language models around them.

A cell is an Architecture of its own that is compiled like any other; the node ``recurrent`` of a language model holds it and runs it
along the sequence. A node with the parameter ``again`` runs the layer of an earlier node of the same name: a gate's weights are shared by
all operations that lead to a node of a cell (Liu, Simonyan & Yang, ICLR 2019).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphnas.architecture import Architecture, Node
from graphnas.errors import GraphnasError
from graphnas.ops.layers import Cost, Layer, Shape, layer, rule
from graphnas.ops.registry import function_op, infer, layer_op

Params = Mapping[str, Any]
Shapes = Sequence[Shape]
_MODULES = "graphnas.ops.recurrent_modules"


@dataclass(frozen=True)
class Cell(Layer):
    """A compiled Architecture as a part of a layer; ``target`` is the name of its class in an exported file."""

    nodes: tuple[Any, ...] = ()

    @property
    def architecture(self) -> Architecture:
        """The cell."""
        return Architecture(Node(*n) for n in self.nodes)

    def build(self) -> Any:
        """The compiled module."""
        from graphnas.compile import compile

        return compile(self.architecture)

    def source(self) -> str:
        """The call of its class."""
        return f"{self.target}()"

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of the cell's result."""
        return infer(self.architecture.nodes)[-1][0]

    def cost(self, *inputs: Shape) -> Cost:
        """Parameters, and multiply-adds of one step."""
        return sum((found for _, found in infer(self.architecture.nodes)), Cost())


@layer_op("recurrent")
def recurrent(params: Params, inputs: Shapes) -> Layer:
    """A ``cell`` (nodes of an Architecture) that runs along a sequence; see ``Recurrent``."""
    cell = Cell("Cell", nodes=params["cell"])
    return layer(f"{_MODULES}.Recurrent", cell=cell, features=params["features"], dropout=params["dropout"])


@layer_op("word_embedding")
def word_embedding(params: Params, inputs: Shapes) -> Layer:
    """``features`` numbers for each of so many ``words``; whole words are dropped with probability ``dropout``."""
    sizes = {"num_embeddings": params["words"], "embedding_dim": params["features"], "dropout": params["dropout"]}
    return layer(f"{_MODULES}.WordEmbedding", **sizes)


@layer_op("locked_dropout")
def locked_dropout(params: Params, inputs: Shapes) -> Layer:
    """Dropout with one mask for all steps of a sequence."""
    return layer(f"{_MODULES}.LockedDropout", p=params["p"])


@layer_op("word_scores")
def word_scores(params: Params, inputs: Shapes) -> Layer:
    """A score for every word from features and the rows of the embedding."""
    if len(inputs) != 2 or inputs[0][-1] != inputs[1][-1]:
        raise GraphnasError(
            f"the scores of words need features of the size of the embedding's rows, not shapes {inputs}"
        )
    return layer(f"{_MODULES}.WordScores", words=inputs[1][0])


@layer_op("gate_linear")
def gate_linear(params: Params, inputs: Shapes) -> Layer:
    """A linear map to twice ``features``, of gate and candidate, without bias."""
    out = 2 * params["features"]
    return layer("torch.nn.Linear", in_features=inputs[0][-1], out_features=out, bias=False).built_by(
        f"{_MODULES}.GateLinear"
    )


@layer_op("state_norm")
def state_norm(params: Params, inputs: Shapes) -> Layer:
    """Batch normalisation of states without learned scale and shift."""
    return layer("torch.nn.BatchNorm1d", num_features=inputs[0][-1], affine=False)


@layer_op("tanh")
def tanh(params: Params, inputs: Shapes) -> Layer:
    """Hyperbolic tangent."""
    return layer("torch.nn.Tanh")


@layer_op("sigmoid")
def sigmoid(params: Params, inputs: Shapes) -> Layer:
    """Logistic function."""
    return layer("torch.nn.Sigmoid")


@function_op("parameter", lambda params, inputs: params["shape"])
def emit_parameter(graph: Any, arguments: Sequence[Any], params: Params) -> Any:
    """A parameter of another node, by its ``path`` in the module."""
    return graph.get_attr(params["path"])


@function_op("product", lambda params, inputs: inputs[0])
def emit_product(graph: Any, arguments: Sequence[Any], params: Params) -> Any:
    """Elementwise product of two inputs of one shape."""
    return graph.call_function(operator.mul, tuple(arguments))


@function_op("mean", lambda params, inputs: inputs[0])
def emit_mean(graph: Any, arguments: Sequence[Any], params: Params) -> Any:
    """Elementwise mean of any number of inputs."""
    total = arguments[0]
    for term in arguments[1:]:
        total = graph.call_function(operator.add, (total, term))
    return graph.call_function(operator.truediv, (total, len(arguments))) if len(arguments) > 1 else total


@function_op("candidate", lambda params, inputs: (inputs[0][-1] // 2,))
def emit_candidate(graph: Any, arguments: Sequence[Any], params: Params) -> Any:
    """The second half of what a ``gate_linear`` gives: the candidate before its activation."""
    return graph.call_function(operator.getitem, (arguments[0], (slice(None), slice(params["features"], None))))


@function_op("gate", lambda params, inputs: inputs[0])
def emit_gate(graph: Any, arguments: Sequence[Any], params: Params) -> Any:
    """``s + c (f - s)`` for a state s, the gate c (the sigmoid of the first half of a ``gate_linear``) and a candidate f.

    A state that was scaled by a weight, and candidates weighted by the same, give the gated sum times the weight.
    """
    import torch

    state, both, made = arguments
    first = graph.call_function(operator.getitem, (both, (slice(None), slice(None, params["features"]))))
    gate = graph.call_function(torch.sigmoid, (first,))
    change = graph.call_function(operator.sub, (made, state))
    return graph.call_function(operator.add, (state, graph.call_function(operator.mul, (gate, change))))


def _recurrent_cost(arguments: Params, inputs: Shapes) -> Cost:
    step = arguments["cell"].cost()
    return Cost(step.params, step.macs * inputs[0][0])


def _words_cost(arguments: Params, inputs: Shapes) -> Cost:
    steps, features = inputs[0]
    return Cost(arguments["words"], steps * arguments["words"] * (features + 1))


rule(f"{_MODULES}.Recurrent", lambda a, i: (i[0][0], a["features"]), _recurrent_cost)
rule(
    f"{_MODULES}.WordEmbedding",
    lambda a, i: (*i[0], a["embedding_dim"]),
    lambda a, i: Cost(a["num_embeddings"] * a["embedding_dim"]),
)
rule(f"{_MODULES}.LockedDropout", lambda a, i: i[0])
rule(f"{_MODULES}.WordScores", lambda a, i: (i[0][0], a["words"]), _words_cost)
