"""A network as files that need no graphnas: Python source with a state dict, and ONNX."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphnas.architecture import INPUT, Architecture
from graphnas.compile import compile, layers_of
from graphnas.cost import example_inputs
from graphnas.errors import GraphnasError
from graphnas.files import replacing
from graphnas.ops.recurrent import Cell

_OWN = (
    "graphnas.ops.modules",
    "graphnas.ops.graph_attention",
    "graphnas.ops.map_modules",
    "graphnas.ops.mobile_modules",
    "graphnas.ops.net_modules",
    "graphnas.ops.sequence_modules",
    "graphnas.ops.recurrent_modules",
)
"""Files whose classes an exported network carries as text: they need PyTorch and PyG only."""

if TYPE_CHECKING:
    from torch.fx import GraphModule


def python_source(network: Architecture) -> str:
    """A Python file with the class ``Network``: plain PyTorch (and PyG for graph layers), ready to train.

    Its state dict has the keys of the compiled module's, so weights move freely between the two. The cell of a recurrent
    network is a class of its own.
    """
    expressions = [expression for _, expression in layers_of(network).values()]
    cells = [value for e in expressions for _, value in e.arguments if isinstance(value, Cell)]
    classes = [(cell.target, cell.architecture) for cell in cells] + [("Network", network)]
    expressions += [expression for cell in cells for _, expression in layers_of(cell.architecture).values()]
    targets = {target for e in expressions for target in e.targets()} - {cell.target for cell in cells}
    own = [_text_of(target) for target in sorted(targets) if target.rpartition(".")[0] in _OWN]
    roots = {target.split(".")[0] for target in targets if target.rpartition(".")[0] not in _OWN} | {"torch"}
    if "graphnas" in roots:
        raise GraphnasError("a network with open decisions cannot be exported; export the network of one architecture")
    imports = ["torch.nn"] + (["torch_geometric.nn"] if "torch_geometric" in roots else [])
    imports += ["torch_geometric.utils"] if any("torch_geometric.utils." in text for text in own) else []
    text = ["# A network found by graphnas; it needs only PyTorch" + (" and PyG." if len(imports) > 1 else ".")]
    text += ["from __future__ import annotations"] if own else []
    text += ["from typing import Any"] if any("Any" in definition for definition in own) else []
    text += ["import torch", *(f"import {name}" for name in imports)]
    text += ["from torch import Tensor, nn"] if own else []
    text += ["", "", *(f"{definition}\n" for definition in own)]
    text += [_class_of(name, part) for name, part in classes]
    return "\n".join(text)


def _class_of(class_name: str, network: Architecture) -> str:
    """The definition of a network's class."""
    layers = dict(layers_of(network).values())
    code = compile(network, seed=0).graph.python_code("self")
    own_prefix = "|".join(rf"{re.escape(file)}\." for file in _OWN)
    lines = [f"self.{name} = {re.sub(own_prefix, '', expression.source())}" for name, expression in layers.items()]
    parents: dict[str, None] = {}
    for name in layers:
        parts = name.split(".")
        for i in range(1, len(parts)):
            parents[".".join(parts[:i])] = None
    head = [f"self.{name} = torch.nn.Module()" for name in parents]
    body = "\n".join(f"        {line}" for line in ["super().__init__()", *head, *lines])
    forward = "\n".join(f"    {line}" if line else "" for line in code.src.strip().splitlines())
    others = sorted(n for n in code.globals if n != "torch" and re.search(rf"\b{re.escape(n)}\b", code.src))
    if others:
        raise GraphnasError(f"the network's code needs {', '.join(others)}, which a plain file cannot import")
    return "\n".join([f"class {class_name}(torch.nn.Module):", "    def __init__(self):", body, "", forward, ""])


def _text_of(target: str) -> str:
    """The definition of one of our own classes."""
    file, _, name = target.rpartition(".")
    return inspect.getsource(getattr(importlib.import_module(file), name))


def export_python(network: Architecture, path: str | Path, module: GraphModule | None = None) -> list[Path]:
    """Write ``path`` (source) and, for a trained module, its state dict beside it (``.pt``, loads with weights_only)."""
    import torch

    target = Path(path)
    source = python_source(network)
    with replacing(target) as file:
        file.write(source.encode())
    if module is None:
        return [target]
    weights = target.with_suffix(".pt")
    with replacing(weights) as file:
        torch.save(module.state_dict(), file)
    return [target, weights]


def export_onnx(network: Architecture, path: str | Path, module: GraphModule | None = None) -> float:
    """Write the network as ONNX and compare it with PyTorch in onnxruntime on random inputs.

    Args:
        network: a whole network.
        path: the file to write.
        module: its trained module; freshly initialised without one.

    Returns:
        the largest absolute difference between the two outputs.

    Raises:
        GraphnasError: the ONNX packages are missing, a layer cannot be exported, the outputs differ, or the network takes the
            nets of placements, whose numbers an ONNX file would fix.
    """
    if any(n.get("points_to") for n in network.nodes if n.op == INPUT):
        raise GraphnasError("an ONNX file would fix the number of cells and nets of a placement; export it as Python")
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        raise GraphnasError("ONNX export needs more packages: pip install 'graphnas[onnx]'") from None
    import numpy as np
    import torch

    built = compile(network, seed=0) if module is None else module
    training = built.training
    built.eval()
    target = Path(path)
    inputs = example_inputs(network, batch=2)
    names = [str(n.get("name")) for n in network.nodes if n.op == INPUT]
    try:
        with torch.no_grad():
            expected = built(*inputs).numpy()
            model = _to_onnx(built, tuple(inputs), names)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        found = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})[0]
        difference = float(np.abs(found - expected).max())
        if found.shape != expected.shape or difference > 1e-3 * max(1.0, float(np.abs(expected).max())):
            raise GraphnasError(
                f"the ONNX network's output differs from PyTorch's by {difference:.3g}; it was not written"
            )
    finally:
        built.train(training)
    with replacing(target) as file:
        file.write(model)
    return difference


def _to_onnx(module: GraphModule, inputs: tuple[Any, ...], names: list[str]) -> bytes:
    """The serialised ONNX model, without the exporter's chatter."""
    import contextlib
    import io
    import logging
    import warnings

    import torch

    dynamic = {n: ({0: torch.export.Dim("batch")} if n == "x" and inputs[0].dim() == 4 else None) for n in names}
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, inputs, input_names=names, output_names=["output"], dynamic_shapes=dynamic, dynamo=True
            )
        return bytes(program.model_proto.SerializeToString())  # type: ignore[union-attr]
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise GraphnasError(f"this network cannot be exported to ONNX ({type(error).__name__}: {first:.120})") from None
    finally:
        logging.disable(logging.NOTSET)
