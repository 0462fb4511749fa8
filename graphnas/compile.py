"""One compiler: a network written as an Architecture becomes a ``torch.fx.GraphModule``."""

from __future__ import annotations

import itertools
import keyword
import operator
import re
from typing import TYPE_CHECKING, Any

from graphnas.architecture import INPUT, OUTPUT, Architecture
from graphnas.errors import GraphnasError
from graphnas.ops.layers import Layer
from graphnas.ops.registry import get, infer

if TYPE_CHECKING:
    from torch.fx import GraphModule


def compile(network: Architecture, seed: int | None = None) -> GraphModule:
    """The module of a network, ready to train.

    Arguments of ``forward`` are the ``input`` nodes in their order, named by their parameter ``name``, and then ``mix``, the
    weights of the open decisions, if nodes name any (parameter ``rows``; see ``graphnas.oneshot``) or hold a cell that does
    (parameter ``open``). A layer lives under the parameter ``name`` of its node (dots nest), so that state dicts are readable
    and comparable; a node with the parameter ``again`` runs the layer of an earlier one of that name.

    Args:
        network: a whole network with shapes, as ``space.network(architecture, signature)`` builds it.
        seed: initialise the weights from this seed and leave torch's generator untouched; None draws from it.

    Returns:
        a GraphModule whose ``.code`` is plain PyTorch; with several output nodes it returns a tuple. ``meta["place"]`` of a node of
        its graph is the place of the network's node that it is from.

    Raises:
        GraphnasError: an unknown operation, or shapes that do not fit.
    """
    import torch
    from torch import fx

    layers = layers_of(network)
    root = torch.nn.Module()
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        modules = {name: expression.build() for name, expression in dict(layers.values()).items()}
    for name, module in modules.items():
        parent = root
        *path, leaf = name.split(".")
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, torch.nn.Module())
            parent = getattr(parent, part)
        parent.add_module(leaf, module)

    graph = fx.Graph()
    values: list[Any] = []
    results = []
    last_input = max((i for i, n in enumerate(network.nodes) if n.op == INPUT), default=-1)
    mix = _Rows(graph)
    for i, n in enumerate(network.nodes):
        arguments = [values[j] for j in n.inputs]
        if n.op == INPUT:
            values.append(graph.placeholder(_identifier(n.get("name", f"input_{i}"))))
            if i == last_input and any(n.get("rows") or n.get("open") for n in network.nodes):
                mix.add_placeholder()
        elif n.op == OUTPUT:
            results.append(arguments[0])
            values.append(None)
        elif i in layers:
            if n.get("rows"):
                arguments.append(mix.row(n.get("rows")))
            elif n.get("open"):
                arguments.append(mix.mix)
            values.append(graph.call_module(layers[i][0], tuple(arguments)))
        else:
            emit = get(n.op).emit
            assert emit is not None
            values.append(emit(graph, arguments, dict(n.params)))
        for made in itertools.takewhile(lambda made: "place" not in made.meta, reversed(graph.nodes)):
            made.meta["place"] = i
    graph.output(results[0] if len(results) == 1 else tuple(results))
    graph.lint()
    return fx.GraphModule(root, graph, class_name="Network")


class _Rows:
    """The weights of open decisions in a graph: ``mix[group][row]``, each read once."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.found: dict[Any, Any] = {}

    def add_placeholder(self) -> None:
        """The argument ``mix`` of forward, after the inputs."""
        self.mix = self.graph.placeholder("mix")

    def row(self, rows: tuple[tuple[str, int], ...]) -> Any:
        """The row of a node: of one decision, or of several together."""
        from graphnas.ops.mixture import product

        if rows not in self.found:
            if len(rows) > 1:
                value = self.graph.call_function(product, tuple(self.row((row,)) for row in rows))
            else:
                group, place = rows[0]
                of_group = self.graph.call_function(operator.getitem, (self.mix, group))
                value = self.graph.call_function(operator.getitem, (of_group, place))
            self.found[rows] = value
        return self.found[rows]


def layers_of(network: Architecture) -> dict[int, tuple[str, Layer]]:
    """For every node with a layer its module path and its Layer expression."""
    shapes = [shape for shape, _ in infer(network.nodes)]
    result: dict[int, tuple[str, Layer]] = {}
    used: dict[str, Layer] = {}
    for i, n in enumerate(network.nodes):
        if n.op in (INPUT, OUTPUT):
            continue
        op = get(n.op)
        if op.layer is None:
            continue
        name = ".".join(_identifier(part) for part in str(n.get("name", f"node_{i}")).split("."))
        expression = op.layer(dict(n.params), [shapes[j] for j in n.inputs])
        if n.get("again"):
            if used.get(name) != expression:
                raise GraphnasError(f"node {i} ({n.op}) runs {name!r} again, but no earlier node has such a layer")
        elif name in used:
            raise GraphnasError(f"two nodes of the network have the name {name!r}")
        used[name] = expression
        result[i] = (name, expression)
    return result


def _identifier(name: str) -> str:
    text = re.sub(r"\W", "_", name)
    if not text or text[0].isdigit() or keyword.iskeyword(text):
        text = f"n_{text}"
    return text
