"""Language models around a recurrent cell: words, the cell along the text, and a score for every next word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from graphnas.architecture import INPUT, Architecture, Node
from graphnas.errors import GraphnasError
from graphnas.tasks.base import Signature
from spaces.skeletons import Builder

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
SIZE = {
    "features": 300,
    "norm": False,
    "dropout": 0.75,
    "dropout_hidden": 0.25,
    "dropout_cell": 0.75,
    "dropout_input": 0.2,
    "dropout_word": 0.0,
}
"""300 features and normalised states are what DARTS searches with (a supernet normalises of itself); it trains with 850 on Penn
Treebank and 700 on WikiText-2, where ``dropout_hidden`` is 0.15, and without normalisation."""
RECIPE = {"optimiser": "asgd", "learning_rate": 20.0, "weight_decay": 8e-7, "clip": 0.25}
"""DARTS's final training on Penn Treebank; 5e-7 on WikiText-2."""

Steps = Sequence[tuple[str, int]]
"""Activation and number of the input of each node of a cell."""

MakeCell = Callable[[Architecture, int, bool], Architecture]
"""``make(architecture, features, norm)`` gives the cell with the inputs x, h and mask, each ``[features]``."""


def activations_of(steps: Steps, nodes: int, space: str) -> list[int]:
    """The places of the activations of a cell among ``ACTIVATIONS``.

    Raises:
        GraphnasError: another number of nodes than the cells of the space have, or an unknown activation.
    """
    if len(steps) != nodes:
        raise GraphnasError(f"a cell of the space {space} has {nodes} nodes, not {len(steps)}")
    for op, _ in steps:
        if op not in ACTIVATIONS:
            raise GraphnasError(f"activation {op!r} is not one of the space {space}: {', '.join(ACTIVATIONS)}")
    return [ACTIVATIONS.index(op) for op, _ in steps]


def language_model(
    make: MakeCell,
    architecture: Architecture,
    signature: Signature,
    *,
    features: int,
    norm: bool,
    dropout: float,
    dropout_hidden: float,
    dropout_cell: float,
    dropout_input: float,
    dropout_word: float,
) -> Architecture:
    """The network from words ``[B, T]`` and a state ``[B, H]`` to scores of the next words and all states ``[B, T, H]``.

    Embedding and output share one matrix (Inan et al., ICLR 2017), so all layers have one width. All dropout is
    variational: one mask a sequence. Source: Liu, Simonyan & Yang, ICLR 2019, section 3.1.2 and their released code, after Merity, Keskar &
    Socher, ICLR 2018.

    Args:
        make: builds the cell.
        architecture: a cell, decided or open.
        signature: of a text task.
        features: of words and states.
        norm: batch normalisation of every state of the cell.
        dropout: of the states that the output reads.
        dropout_hidden: of the states that the cell's weights read.
        dropout_cell: of the inputs of the cell.
        dropout_input: of the rows of the embedding, on top.
        dropout_word: of whole words.
    """
    cell = make(architecture, features, norm)
    b = Builder()
    tokens = b.add(INPUT, name="tokens", shape=signature.input, tokens=signature.outputs)
    state = b.add(INPUT, name="state", shape=(features,))
    rows = {"words": signature.outputs, "features": features, "dropout": dropout_word}
    x = b.add("word_embedding", [tokens], **rows, name="words")
    x = b.add("locked_dropout", [x], p=dropout_input, name="input.dropout")
    x = b.add("locked_dropout", [x], p=dropout_cell, name="input.cell_dropout")
    is_open = {"open": True} if any(n.get("rows") for n in cell.nodes) else {}
    held = {"cell": [tuple(n) for n in cell.nodes], "features": features, "dropout": dropout_hidden}
    states = b.add("recurrent", [x, state], **held, **is_open, name="recurrent")
    y = b.add("locked_dropout", [states], p=dropout, name="output.dropout")
    weight = b.add("parameter", path="words.weight", shape=(signature.outputs, features))
    return b.finish(b.add("word_scores", [y, weight], name="output.words"), states)


class CellBuilder(Builder):
    """A growing cell: its three inputs, and the gated operations that all these cells consist of.

    Args:
        features: of inputs and states.
        norm: normalise every state.
    """

    def __init__(self, features: int, norm: bool) -> None:
        super().__init__()
        self.features, self.norm = features, norm
        self.x, self.h, self.mask = (self.add(INPUT, name=name, shape=(features,)) for name in ("x", "h", "mask"))
        self._masked: dict[int, int] = {}
        self._made: set[str] = set()

    def masked(self, state: int) -> int:
        """A state as the weights read it."""
        if state not in self._masked:
            self._masked[state] = self.add("product", [state, self.mask])
        return self._masked[state]

    def linear(self, source: int, name: str) -> int:
        """Gate and candidate from an input; maps of one name have the same weights."""
        again = {"again": True} if name in self._made else {}
        self._made.add(name)
        return self.add("gate_linear", [source], features=self.features, name=name, **again)

    def first(self, name: str) -> int:
        """Gate and candidate from the cell's input and the state before."""
        return self.linear(self.add("concat", [self.x, self.masked(self.h)]), name)

    def gated(self, state: int, both: int, n: Node | str, place: str) -> int:
        """``w (s + c (f(candidate) - s))`` with an activation f, or the sum over those still open with their weights.

        Args:
            state: s.
            both: what ``linear`` gave.
            n: the activation, or a node ``open`` that decides between activations and perhaps ``none``.
            place: name of the activation.
        """
        candidate = self.add("candidate", [both], features=self.features)
        if isinstance(n, str):
            made = candidate if n == "identity" else self.add(n, [candidate], name=place)
        else:
            options = [("zero" if op == "none" else op, ()) for op, _ in n.get("options")]
            made = self.add("mixed", [candidate], options=options, rows=n.get("rows"), name=place)
            kept = [k for k, (op, _) in enumerate(options) if op != "zero"]
            if len(kept) < len(options):
                share = self.add("share", options=kept, rows=n.get("rows"), name=f"{place}_share")
                state = self.add("scale", [state, share])
        return self.add("gate", [state, both, made], features=self.features)

    def state(self, value: int, name: str) -> int:
        """A state of the cell, normalised if that is asked for."""
        return self.add("state_norm", [value], name=name) if self.norm else value

    def done(self, states: Sequence[int]) -> Architecture:
        """The cell whose result is the mean of these states."""
        return self.finish(self.add("mean", states))


def merged(b: Builder, values: Sequence[int]) -> int:
    """The sum of some values; the one value itself."""
    return values[0] if len(values) == 1 else b.add("sum", values)


def inherited(make: MakeCell, state: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """The weights of a supernet that the network of an architecture has: all but maps of the cell that it does not use."""
    layers = {n.get("name") for n in make(architecture, 1, True).nodes}
    start = "recurrent.cell."
    return {
        name: value
        for name, value in state.items()
        if not name.startswith(start) or name[len(start) :].partition(".")[0] in layers
    }
