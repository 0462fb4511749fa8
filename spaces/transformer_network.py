"""The translation networks around a Transformer's cells, and Vaswani's own in the same operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, freeze
from graphnas.errors import GraphnasError
from graphnas.tasks.base import Signature
from spaces.skeletons import Builder

POOLS = {"max": "maximum", "mean": "mean_of"}
CROSS = "cross_attention"


def transformer_network(
    architecture: Architecture,
    signature: Signature,
    *,
    width: int,
    embedding: int,
    blocks: int,
    heads: int,
    dropout: float,
    affine: bool,
) -> Architecture:
    """From tokens ``source[B, S]`` and ``target[B, T]`` to scores ``[B, T, tokens]`` of the tokens that follow.

    One table of vectors serves both languages and the output. The embedded sequence is cut into splits; the cell is repeated
    ``blocks`` times on them, and the parts are joined and normalised. The memory of a decoder is the encoder's result.

    Args:
        architecture: an encoder and a decoder cell, decided or open.
        signature: of a translation task.
        width: features of the hidden state; the splits of the encoder and of the decoder must divide it.
        embedding: features of the table.
        blocks: repetitions of each cell.
        heads: of attentions and dynamic convolutions; they must divide every part.
        dropout: of embeddings, and of every operation before its sum and normalisation.
        affine: learned scale and shift in the operations' normalisations.
    """
    b, ends = _Ends(signature, width, embedding, dropout).open()
    table, source, target, mask = ends
    cells = _cells(architecture.nodes)
    usual = {"heads": heads, "dropout": dropout, "affine": affine}
    results: list[int] = []
    for name, x in (("encoder", source), ("decoder", target)):
        context = [mask] if name == "encoder" else [results[0], mask]
        state = _split(b, x, len(cells[name].parts), width)
        for block in range(blocks):
            state = cells[name].place(b, state, context, f"{name}.block{block}", usual)
        x = b.add("concat", state, dim=-1)
        results.append(b.add("sequence_norm", [x], name=f"{name}.norm"))
    return _scores(b, results[1], table, width, embedding)


def standard_network(
    signature: Signature, *, width: int, hidden: int, embedding: int, layers: int, heads: int, dropout: float
) -> Architecture:
    """The Transformer of Vaswani et al. (NeurIPS 2017) in the same operations, tables and ends, to compare with.

    Every encoder layer is self-attention and two linear maps of ``hidden`` features, each with sum and normalisation; a decoder
    layer has attention to the encoder between them.
    """
    b, ends = _Ends(signature, width, embedding, dropout).open()
    table, memory, x, mask = ends
    usual = {"heads": heads, "dropout": dropout}
    for i in range(layers):
        name = f"encoder.layer{i}"
        memory = b.add("sequence_self_attention", [memory, mask], **usual, name=f"{name}.attention")
        memory = b.add("sequence_ffn", [memory], hidden=hidden, dropout=dropout, name=f"{name}.ffn")
    for i in range(layers):
        name = f"decoder.layer{i}"
        x = b.add("sequence_self_attention", [x], causal=True, **usual, name=f"{name}.attention")
        x = b.add("sequence_cross_attention", [x, memory, mask], **usual, name=f"{name}.memory")
        x = b.add("sequence_ffn", [x], hidden=hidden, dropout=dropout, name=f"{name}.ffn")
    return _scores(b, x, table, width, embedding)


class _Ends:
    """Tokens, tables and embeddings: what all networks of a task begin with."""

    def __init__(self, signature: Signature, width: int, embedding: int, dropout: float) -> None:
        self.signature, self.width, self.embedding, self.dropout = signature, width, embedding, dropout

    def open(self) -> tuple[Builder, tuple[int, int, int, int]]:
        """A builder with the table, the embedded source and target, and the mask of the source."""
        b, tokens = Builder(), self.signature.outputs
        lengths = dict(zip(("source", "target"), self.signature.input, strict=True))
        raw = {name: b.add(INPUT, name=name, shape=(size,), tokens=tokens) for name, size in lengths.items()}
        mask = b.add("token_mask", [raw["source"]])
        table = b.add("token_table", tokens=tokens, features=self.embedding, name="tokens")
        size = {"features": self.width, "dropout": self.dropout}
        source, target = (
            b.add("token_embedding", [x, table], **size, name=f"{name}.embedding") for name, x in raw.items()
        )
        return b, (table, source, target, mask)


def _scores(b: Builder, x: int, table: int, width: int, embedding: int) -> Architecture:
    if width != embedding:
        x = b.add("linear", [x], features=embedding, name="head.project")
    return b.finish(b.add("tied_output", [x, table], name="head.scores"))


def _split(b: Builder, x: int, parts: int, width: int) -> list[int]:
    if width % parts:
        raise GraphnasError(f"a width of {width} cannot be cut into {parts} equal splits; choose a multiple")
    size = width // parts
    return [b.add("feature_slice", [x], start=k * size, size=size) for k in range(parts)]


class _Cell:
    """The nodes of an encoder or decoder cell with their places in the architecture."""

    def __init__(self, name: str, members: Sequence[tuple[int, Node]], memory: int | None) -> None:
        self.name, self.members, self.memory = name, members, memory
        self.parts = [i for i, n in members if n.op == INPUT]

    def place(
        self, b: Builder, state: Sequence[int], context: Sequence[int], name: str, usual: dict[str, Any]
    ) -> list[int]:
        """Append one copy that reads these parts; ``context`` is the mask, after the memory in a decoder.

        Returns the parts after it.
        """
        at = dict(zip(self.parts, state, strict=True))
        split = {i: k for k, i in enumerate(self.parts)}
        for i, n in self.members:
            if n.op in POOLS:
                read = [at[j] for j in n.inputs]
                at[i] = read[0] if len(read) == 1 else b.add(POOLS[n.op], read)
            elif n.op == "sum":
                split[i] = split[n.inputs[0]]
                at[i] = b.add("coupling", [at[j] for j in n.inputs], chain=self.name, split=split[i])
            elif n.op == "concat":
                return [at[j] for j in n.inputs]
            elif n.op != INPUT:
                pooled = next(at[j] for j in n.inputs if j != self.memory)
                at[i] = self._operation(b, n, [pooled, *context], f"{name}.node{i}", usual)
        raise GraphnasError(f"the {self.name} of the architecture has no result")

    def _operation(self, b: Builder, n: Node, inputs: list[int], name: str, usual: dict[str, Any]) -> int:
        if n.op == "open":
            options = [self._written(op, usual) for op, _ in n.get("options")]
            given = [(op, freeze({**params, "reads": reads})) for op, params, reads in options]
            return b.add("mixed", inputs, options=given, rows=n.get("rows"), name=name)
        op, params, reads = self._written(n.op, usual)
        return b.add(op, inputs[:reads], **params, **({} if op in ("zero", "identity") else {"name": name}))

    def _written(self, op: str, usual: dict[str, Any]) -> tuple[str, dict[str, Any], int]:
        """An operation of the space as one of the network: its name, its parameters, how many inputs it reads."""
        causal = {"causal": True} if self.name == "decoder" else {}
        own = 1 if causal else 2  # an encoder minds where the sentence ends
        plain = {name: value for name, value in usual.items() if name != "heads"}
        kind, _, kernel = op.rpartition("_")
        if op in ("zero", "identity"):
            return op, {}, 1
        if op in ("glu", "ffn"):
            return f"sequence_{op}", plain, 1
        if op == CROSS:
            return "sequence_cross_attention", usual, 3
        if op == "self_attention":
            return "sequence_self_attention", {**usual, **causal}, own
        if kind == "dynamic":
            return "sequence_dynamic_conv", {**usual, **causal, "kernel": int(kernel)}, own
        if kind == "conv":
            return "sequence_conv", {**plain, **causal, "kernel": int(kernel)}, own
        raise GraphnasError(f"{op!r} is no operation of a Transformer cell")


def _cells(nodes: Sequence[Node]) -> dict[str, _Cell]:
    """The encoder ends with the first joined state, which the decoder reads."""
    memory = next((i for i, n in enumerate(nodes) if n.op == "concat"), -1)
    numbered = [(i, n) for i, n in enumerate(nodes) if n.op != OUTPUT]
    encoder, decoder = numbered[: memory + 1], numbered[memory + 1 :]
    return {"encoder": _Cell("encoder", encoder, None), "decoder": _Cell("decoder", decoder, memory)}
