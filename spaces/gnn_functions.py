"""What a supernet of the AGNN and GraphNAS spaces holds: the functions of their layers, with one width and one number of heads.

Widths and numbers of heads are not searched by gradients. Layers of other widths would be other weights, and a supernet would run all of them
up to 4,096 features; the differentiable searches of the field fix both and tune them afterwards (Zhao, Yao & Tu, "Search to aggregate
neighborhood", ICDE 2021, section 4). Here they are GAT's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from graphnas.architecture import INPUT, Architecture, Node, freeze, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Relaxed, Space
from graphnas.tasks.base import Signature
from spaces.gnn_network import gnn_network
from spaces.skeletons import Builder

WIDTH, HEADS = 8, 8
"""Features of a head and heads of a layer (Veličković et al., ICLR 2018)."""
SEMANTICS = Semantics(identity_ops=frozenset({"linear"}))


def relaxed(space: Space, batch_norm: bool) -> Relaxed:
    """The functions of a chain of layers, and the way there and back.

    Raises:
        GraphnasError: a space with links between layers.
    """
    links = [c.name for c in space.choices if c.group in ("residual", "jumping_knowledge", "propagation")]
    if links:
        raise GraphnasError(
            f"a supernet of GNN layers holds plain chains: leave out the links of space {space.name!r} ({links[0]}, ...)"
        )
    return Relaxed(_functions(space, batch_norm), partial(_to, space, batch_norm), partial(back, space))


def _functions(space: Space, batch_norm: bool) -> Space:
    """Each layer as a node ``agnn`` without activation, and a node for the activation."""
    classes: dict[str, dict[str, tuple[str, ...]]] = {}
    for choice in space.choices:
        number = choice.name.removeprefix(choice.group)
        classes.setdefault(number, {})[choice.group] = choice.options  # type: ignore[assignment]
    nodes: list[Node] = [node(INPUT)]
    for number, options in classes.items():
        choices = {g: Choice(f"{g}{number}", o, g) for g, o in options.items() if g not in ("width", "heads")}
        activation = choices.pop("activation")
        nodes.append(node("agnn", (len(nodes) - 1,), **choices))
        nodes.append(Node(activation, (len(nodes) - 1,)))
    nodes.append(node("output", (len(nodes) - 1,)))
    return Space(
        f"{space.name}_functions",
        nodes,
        semantics=SEMANTICS,
        network=partial(_network, space, batch_norm),
        size=space.network_size,
        accepts=space.accepts,
        recipe=space.recipe,
        description=f"the functions of the layers of {space.name}",
    )


def _to(space: Space, batch_norm: bool, architecture: Architecture) -> Architecture:
    chosen = space.describe(architecture)
    last = max(int(name.removeprefix("heads")) for name in chosen if name.startswith("heads"))
    for name, value in chosen.items():
        fixed = {"width": WIDTH, "heads": HEADS}.get(name.rstrip("0123456789"))
        if fixed is not None and value != fixed and name != f"width{last}":
            raise GraphnasError(
                f"{name} is {value}, but a supernet has layers of {HEADS} heads of {WIDTH} features only: widths and heads are not "
                "searched by gradients, as layers of other sizes are other weights"
            )
    functions = _functions(space, batch_norm)
    return functions.decode([c.options.index(chosen[c.name]) for c in functions.choices])


def back(space: Space, architecture: Architecture) -> Architecture:
    """The member of the whole space with these functions, of the fixed width and heads."""
    fixed = {"width": WIDTH, "heads": HEADS}
    pairs = [n for n in architecture.nodes if n.op not in (INPUT, "output")]
    functions = [{**dict(a.params), "activation": b.op} for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    decisions = []
    for choice in space.choices:
        layer = functions[int(choice.name.removeprefix(choice.group)) - 1]
        decisions.append(choice.options.index({**layer, **fixed}[choice.group]))
    return space.decode(decisions)


def _network(
    space: Space,
    batch_norm: bool,
    architecture: Architecture,
    signature: Signature,
    *,
    dropout: float,
    attention_dropout: float,
) -> Architecture:
    """The network of decided layers, or that of open ones: all combinations of functions side by side, then all activations."""
    sizes = {"dropout": dropout, "attention_dropout": attention_dropout}
    if all(n.op != "open" for n in architecture.nodes):
        return gnn_network(back(space, architecture), signature, batch_norm=batch_norm, **sizes)
    b = Builder()
    x = b.add(INPUT, name="x", shape=(signature.nodes, *signature.input))
    edges = b.add(INPUT, name="edge_index", shape=(2, signature.edges))
    h = b.add("feature_dropout", [x], p=dropout, name="input.dropout")
    inner = [n for n in architecture.nodes if n.op == "open"]
    layers = len(inner) // 2
    for number, (functions, activation) in enumerate(zip(inner[::2], inner[1::2], strict=True), 1):
        if number > 1:
            h = b.add("dropout", [h], p=dropout, name=f"layer{number}.dropout")
            if batch_norm:
                h = b.add("feature_norm", [h], name=f"layer{number}.norm")
        size = {"width": WIDTH, "heads": HEADS}
        if number == layers:
            size = {"width": signature.outputs, "heads": HEADS, "average": True}
        fixed = {**size, "activation": "linear", "dropout": attention_dropout}
        h = _mixed(b, [h, edges], functions, "agnn", fixed, f"layer{number}.conv")
        h = _mixed(b, [h], activation, "activation", None, f"layer{number}.activation")
    return b.finish(h)


def _mixed(b: Builder, inputs: Sequence[int], n: Node, op: str, fixed: Mapping[str, object] | None, name: str) -> int:
    """The options of an open node; without ``fixed``, each is a function by its name."""
    options = [
        (op, freeze({"function": chosen} if fixed is None else {**dict(params), **fixed}))
        for chosen, params in n.get("options")
    ]
    return b.add("mixed", inputs, options=options, rows=n.get("rows"), name=name)
