"""What a network costs: parameters, multiply-adds, and latency measured here or added up from a table."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, node
from graphnas.compile import compile
from graphnas.errors import GraphnasError
from graphnas.files import replacing
from graphnas.ops.layers import Cost, Shape
from graphnas.ops.registry import get, infer

if TYPE_CHECKING:
    from torch import Tensor, nn

TABLE_FORMAT = "graphnas.latency"


def cost(network: Architecture) -> Cost:
    """Trainable parameters, and multiply-adds for one example, without building or running the network.

    Convolutions and linear maps count one multiply-add for each weight use and bias; normalisation, activations and
    pooling count none, as in NAS-Bench-201.
    """
    params = macs = 0
    for _, node_cost in infer(network.nodes):
        params += node_cost.params
        macs += node_cost.macs
    return Cost(params, macs)


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
    import torch

    before, training = torch.get_num_threads(), module.training
    torch.set_num_threads(threads)
    module.eval()
    times = []
    try:
        with torch.no_grad():
            for _ in range(warm_up):
                module(*inputs)
            for _ in range(repeats):
                start = time.perf_counter()
                module(*inputs)
                times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
        module.train(training)
    return 1000 * statistics.median(times)


def example_inputs(network: Architecture, batch: int = 1, seed: int = 0) -> list[Tensor]:
    """Random inputs of the network's shapes: normal features, uniform edge lists, indices and tokens (without the token 0)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    shapes = {n.get("name", f"input_{i}"): n.get("shape") for i, n in enumerate(network.nodes) if n.op == INPUT}
    tokens = {n.get("name"): n.get("tokens") for n in network.nodes if n.op == INPUT and n.get("tokens")}
    points = {n.get("name"): n.get("points_to") for n in network.nodes if n.op == INPUT and n.get("points_to")}
    nodes = next((shape[0] for shape in shapes.values() if len(shape) == 2), 1)
    result = []
    for name, shape in shapes.items():
        if name == "edge_index":
            result.append(torch.randint(nodes, shape, generator=generator))
        elif name in points:
            most = [batch * math.prod(shapes[of][1:]) if of == "x" else shapes[of][0] for of in points[name]]
            rows = torch.stack([torch.randint(count, shape[-1:], generator=generator) for count in most])
            result.append(rows if len(shape) == 2 else rows[0])
        elif name in tokens:
            result.append(torch.randint(1, tokens[name], (batch, *shape), generator=generator))
        else:
            full = shape if len(shape) == 2 else (batch, *shape)  # node features have no batch axis
            result.append(torch.randn(full, generator=generator))
    return result


class LatencyTable:
    """Latency of networks as the sum of the measured latencies of their nodes.

    Each distinct (operation, parameters, input shapes) is measured once. The sum ignores what operations share and the
    overhead of the graph, and operations that are measured alone find their data in the cache: bring it to the scale of whole
    networks (``calibrate``), and check it against others (``relative_error``) before trusting it.

    Args:
        entries: milliseconds by ``LatencyTable.entry_name``.
        device: where they were measured.
        scale: what sums are multiplied with.
    """

    def __init__(self, entries: Mapping[str, float] | None = None, device: str = "cpu", scale: float = 1.0) -> None:
        self.entries = dict(entries or {})
        self.device = device
        self.scale = scale

    @staticmethod
    def entry_name(n: Node, inputs: Sequence[Shape]) -> str:
        """The table's name for a node: operation, parameters (but for its name), input shapes."""
        params = ",".join(f"{k}={v}" for k, v in n.params if k != "name")
        return f"{n.op}({params})" + "".join(f"[{'x'.join(map(str, s))}]" for s in inputs)

    def _nodes(self, network: Architecture) -> Iterable[tuple[Node, list[Shape], str]]:
        shapes = [shape for shape, _ in infer(network.nodes)]
        for n in network.nodes:
            if n.op not in (INPUT, OUTPUT):
                inputs = [shapes[j] for j in n.inputs]
                yield n, inputs, self.entry_name(n, inputs)

    def measure(self, networks: Iterable[Architecture], **options: Any) -> LatencyTable:
        """Measure every node of these networks that the table lacks; options are those of ``latency``."""
        for network in networks:
            for n, inputs, name in self._nodes(network):
                if name not in self.entries:
                    alone = _single(n, inputs)
                    self.entries[name] = latency(compile(alone, seed=0), example_inputs(alone), **options)
        return self

    def latency(self, network: Architecture) -> float:
        """The sum over all nodes, in milliseconds.

        Raises:
            GraphnasError: the table lacks a node of this network.
        """
        total = 0.0
        for _, _, name in self._nodes(network):
            if name not in self.entries:
                raise GraphnasError(
                    f"the latency table has no entry {name!r}: measure a network that contains it first"
                )
            total += self.entries[name]
        return self.scale * total

    def calibrate(self, networks: Iterable[Architecture], **options: Any) -> LatencyTable:
        """Measure these whole networks, and scale the sums so that the median of measured / table is 1.

        Raises:
            GraphnasError: no network.
        """
        ratios = []
        for network in networks:
            self.measure([network], **options)
            ratios.append(latency(compile(network, seed=0), example_inputs(network), **options) / self.latency(network))
        if not ratios:
            raise GraphnasError("give at least one network to calibrate the latency table on")
        self.scale *= statistics.median(ratios)
        return self

    def relative_error(self, network: Architecture, **options: Any) -> float:
        """(table - measured) / measured for a whole network on this machine."""
        measured = latency(compile(network, seed=0), example_inputs(network), **options)
        return (self.latency(network) - measured) / measured

    def save(self, path: str | Path) -> None:
        """Write the table as JSON."""
        record = {"format": TABLE_FORMAT, "device": self.device, "scale": self.scale, "milliseconds": self.entries}
        with replacing(Path(path)) as file:
            file.write(json.dumps(record, indent=1, sort_keys=True).encode())

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read what ``save`` wrote.

        Raises:
            GraphnasError: missing, or another kind of file.
        """
        try:
            record = json.loads(Path(path).read_text())
            entries = {str(k): float(v) for k, v in record["milliseconds"].items()}
            if record["format"] != TABLE_FORMAT:
                raise KeyError("format")
            scale = float(record.get("scale", 1.0))
            if not all(0 <= v < math.inf for v in entries.values()) or not 0 < scale < math.inf:
                raise ValueError("a latency is negative or not finite")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise GraphnasError(f"{path} is not a latency table that graphnas wrote ({error!r})") from None
        return cls(entries, str(record.get("device", "unknown")), scale)


def _single(n: Node, inputs: Sequence[Shape]) -> Architecture:
    """A network of one node, with inputs of these shapes."""
    get(n.op)
    names = [f"x{i}" for i in range(len(inputs))]
    points: dict[int, tuple[str, ...]] = {}
    if len(inputs) == 2 and inputs[1][0] == 2 and len(inputs[0]) == 2:
        names = ["x", "edge_index"]
    elif (ranks := [len(shape) for shape in inputs]) == [3, 2, 2, 2]:  # a map, nets, and which net is at which tile
        names, points = ["x", "nets", "covers", "ends"], {2: ("nets", "x"), 3: ("nets", "x")}
    elif ranks == [2, 1]:  # pins, and the tiles of cells
        names, points = ["pins", "places"], {0: ("places", "places"), 1: ("places",)}
    nodes = [node(INPUT, name=names[i], shape=s, points_to=points.get(i, ())) for i, s in enumerate(inputs)]
    params = tuple(pair for pair in n.params if pair[0] != "name")
    nodes.append(Node(n.op, tuple(range(len(inputs))), params))
    return Architecture([*nodes, Node(OUTPUT, (len(inputs),))])
