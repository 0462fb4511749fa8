"""The same graph layers on PyG or on DGL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphnas.errors import unknown

if TYPE_CHECKING:
    from torch import nn
    from torch.fx import GraphModule

    from graphnas.architecture import Architecture

BACKENDS = ("pyg", "dgl")


def use_backend(module: nn.Module, backend: str) -> nn.Module:
    """Let the graph layers inside a module pass messages by PyG or DGL from now on; returns the module.

    Parameters, their names and the results stay, up to rounding.

    Raises:
        GraphnasError: an unknown backend, or DGL is not installed.
    """
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    if backend == "dgl":
        from graphnas.ops.dgl_neighbourhood import library

        library()
    for part in module.modules():
        if hasattr(part, "backend"):
            part.backend = backend  # type: ignore[assignment]
    return module


def compile_on(network: Architecture, backend: str, seed: int | None = None) -> GraphModule:
    """``graphnas.compile.compile`` with the graph layers on a backend; the weights of a seed are the same on both.

    Raises:
        GraphnasError: an unknown backend, DGL is not installed, or the network does not compile.
    """
    from graphnas.compile import compile

    module = compile(network, seed=seed)
    use_backend(module, backend)
    return module


def compile_dgl(network: Architecture) -> GraphModule:
    """A network on DGL, for ``TrainingEstimator(build=compile_dgl)``.

    Raises:
        GraphnasError: DGL is not installed.
    """
    return compile_on(network, "dgl")
