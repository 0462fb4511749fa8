"""What a network costs: parameters, multiply-adds, and latency added up from a table of what was measured here."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node
from graphnas.compile import compile
from graphnas.errors import GraphnasError
from graphnas.files import replacing
from graphnas.ops.layers import Cost, Shape
from graphnas.ops.registry import infer

if TYPE_CHECKING:
    from torch import Tensor

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

    Each distinct (operation, parameters, input shapes) is measured where it stands in the networks that are given, so that it
    finds caches and memory as they are there. The sum ignores the overhead of the graph and what differs from network to network:
    check it against others (``relative_error``) before trusting it, and bring it to their scale (``calibrate``) where it is off.

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

    def _names(self, network: Architecture) -> dict[int, str]:
        """The entry of every node by its place."""
        shapes = [shape for shape, _ in infer(network.nodes)]
        return {
            place: self.entry_name(n, [shapes[j] for j in n.inputs])
            for place, n in enumerate(network.nodes)
            if n.op not in (INPUT, OUTPUT)
        }

    def measure(self, networks: Iterable[Architecture], **options: Any) -> LatencyTable:
        """Measure every node of these networks that the table lacks, as the median over the places where it stands.

        Args:
            networks: each is run whole, unless the table knows all of its nodes.
            options: those of ``graphnas.timing.node_latencies``.
        """
        from graphnas.timing import node_latencies

        found: dict[str, list[float]] = defaultdict(list)
        for network in networks:
            lacking = {place: name for place, name in self._names(network).items() if name not in self.entries}
            if lacking:
                times = node_latencies(compile(network, seed=0), example_inputs(network), **options)
                for place, name in lacking.items():
                    found[name].append(times.get(place, 0.0))  # nothing runs for a sum of one
        self.entries |= {name: statistics.median(times) for name, times in found.items()}
        return self

    def latency(self, network: Architecture) -> float:
        """The sum over all nodes, in milliseconds.

        Raises:
            GraphnasError: the table lacks a node of this network.
        """
        total = 0.0
        for name in self._names(network).values():
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
        networks = list(networks)
        self.measure(networks, **options)
        ratios = [_measured(network, **options) / self.latency(network) for network in networks]
        if not ratios:
            raise GraphnasError("give at least one network to calibrate the latency table on")
        self.scale *= statistics.median(ratios)
        return self

    def relative_error(self, network: Architecture, **options: Any) -> float:
        """(table - measured) / measured for a whole network on this machine."""
        measured = _measured(network, **options)
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


def _measured(network: Architecture, **options: Any) -> float:
    from graphnas.timing import latency

    return latency(compile(network, seed=0), example_inputs(network), **options)
