"""The whole network around a chain of AGNN layers: dropout, normalisation, links and output."""

from __future__ import annotations

from typing import Any

from graphnas.architecture import INPUT, OUTPUT, Architecture
from graphnas.tasks.base import Signature
from spaces.skeletons import Builder

TELEPORT = 0.1
"""Of propagation: what its authors chose for citation graphs."""


def gnn_network(
    architecture: Architecture,
    signature: Signature,
    *,
    dropout: float,
    attention_dropout: float,
    batch_norm: bool = False,
) -> Architecture:
    """The network of a member of an AGNN or GraphNAS space.

    Every layer reads its input through dropout (and batch normalisation, but for the first). The last layer has the
    task's outputs as its width and averages its heads, unless the output joins several layers: then it is a layer like
    the others, and dropout and a linear map follow. A residual link of equal width adds the features as they are, one of
    another width a linear map of them without bias; features that are joined by their maximum are mapped to the width of
    the last layer in the same way. Outputs are propagated at the very end.

    Layer k has the names ``layer<k>.conv``, ``layer<k>.norm`` and ``layer<k>.residual``, in every architecture.
    """
    b = Builder()
    raw = b.add(INPUT, name="x", shape=(signature.nodes, *signature.input))
    edges = b.add(INPUT, name="edge_index", shape=(2, signature.edges))
    features = b.add("feature_dropout", [raw], p=dropout, name="input.dropout")
    joins = any(n.op in ("concat", "max") for n in architecture.nodes)
    last = sum(n.op == "agnn" for n in architecture.nodes)
    index: list[int] = []
    widths: dict[int, int] = {features: signature.input[-1]}
    layer = steps = 0
    for n in architecture.nodes:
        if n.op == INPUT:
            index.append(features)
        elif n.op == OUTPUT:
            break
        elif n.op == "agnn":
            layer += 1
            h = index[n.inputs[0]]
            if h != features:
                h = b.add("dropout", [h], p=dropout, name=f"layer{layer}.dropout")
                if batch_norm:
                    h = b.add("feature_norm", [h], name=f"layer{layer}.norm")
            params: dict[str, Any] = {**dict(n.params), "dropout": attention_dropout, "name": f"layer{layer}.conv"}
            if layer == last and not joins:
                params.update(width=signature.outputs, average=True)
            made = b.add("agnn", [h, edges], **params)
            index.append(made)
            widths[made] = params["width"] * (1 if params.get("average") else params["heads"])
        elif len(n.inputs) == 1:
            if n.op == "propagation":
                steps = n.get("steps")
            index.append(index[n.inputs[0]])
        elif n.op == "concat":
            sources = [index[j] for j in n.inputs]
            made = b.add("concat", sources)
            index.append(made)
            widths[made] = sum(widths[j] for j in sources)
        else:
            # Of a residual link's two inputs the layer comes later; of layers that are joined, the last.
            sources = sorted(index[j] for j in n.inputs)
            width = widths[sources[-1]]
            name = f"layer{layer}.residual" if n.op == "sum" else "jump.layer{}"
            mapped = [
                j
                if widths[j] == width
                else b.add("feature_linear", [j], features=width, bias=False, name=name.format(number))
                for number, j in enumerate(sources, 1)
            ]
            made = b.add(n.op if n.op == "sum" else "maximum", mapped)
            index.append(made)
            widths[made] = width
    result = index[architecture.nodes[-1].inputs[0]]
    if joins:
        result = b.add("dropout", [result], p=dropout, name="head.dropout")
        result = b.add("linear", [result], features=signature.outputs, name="head.classifier")
    if steps:
        result = b.add("propagation", [result, edges], steps=steps, teleport=TELEPORT, name="propagation")
    return b.finish(result)
