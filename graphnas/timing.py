"""How long networks and their nodes take on this machine."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def _measuring(module: nn.Module, threads: int) -> Iterator[None]:
    """Evaluation mode, no gradients and so many threads; afterwards as before."""
    before, training = torch.get_num_threads(), module.training
    torch.set_num_threads(threads)
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)
        module.train(training)


def latency(
    module: nn.Module, inputs: Sequence[Tensor], *, warm_up: int = 5, repeats: int = 30, threads: int = 1
) -> float:
    """Median time of a forward pass in evaluation mode on this machine, in milliseconds.

    Args:
        module: what to time; its training mode is restored.
        inputs: arguments of forward; the batch size is theirs.
        warm_up: passes that are not counted.
        repeats: passes that are counted.
        threads: torch threads while measuring.
    """
    times = []
    with _measuring(module, threads):
        for _ in range(warm_up):
            module(*inputs)
        for _ in range(repeats):
            start = time.perf_counter()
            module(*inputs)
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def node_latencies(
    module: fx.GraphModule, inputs: Sequence[Tensor], *, warm_up: int = 5, repeats: int = 30, threads: int = 1
) -> dict[int, float]:
    """Median times of the nodes of a compiled network within its forward pass, in milliseconds.

    A node that is timed within its network finds caches and memory as they are there, which a node timed alone does not.

    Args:
        module: what ``compile`` made; its training mode is restored.
        inputs, warm_up, repeats, threads: see ``latency``.

    Returns:
        milliseconds by the node's place in the network; inputs and outputs take no time and are left out.
    """
    clock = _Clock(module)
    with _measuring(module, threads):
        for _ in range(warm_up):
            clock.run(*inputs)
        clock.passes.clear()
        for _ in range(repeats):
            clock.passes.append(defaultdict(float))
            clock.run(*inputs)
    places = clock.passes[0].keys()
    return {place: 1000 * statistics.median(times[place] for times in clock.passes) for place in places}


class _Clock(fx.Interpreter):
    """Runs a compiled network node by node and adds up the seconds of each place."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.passes: list[dict[int, float]] = [defaultdict(float)]
        self._place = -1

    def run_node(self, n: fx.Node) -> Any:
        self._place = n.meta.get("place", -1)  # the last node, what is returned, has none
        return super().run_node(n)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._timed(self.fetch_attr(target), args, kwargs)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._timed(target, args, kwargs)

    def _timed(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        start = time.perf_counter()
        result = function(*args, **kwargs)
        self.passes[-1][self._place] += time.perf_counter() - start
        return result
