"""A trained routability predictor: networks of one architecture, how their input is prepared, and a card; as one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eda.net_graph import NetGraph
from eda.preparation import Preparation, stacked
from eda.tile_graph import EXTRA, joined, tile_graph
from graphnas.architecture import Architecture
from graphnas.compile import compile
from graphnas.errors import GraphnasError, unknown
from graphnas.files import load_npz, save_npz
from graphnas.space import Space
from graphnas.tasks.base import Signature
from graphnas.tasks.measure import evaluating
from spaces import routability

TASKS = {"nets": (routability.nets, "image"), "hotspots": (routability.hotspots, "map")}
WITH_NETS = {"nets": routability.nets_graph, "hotspots": routability.hotspots_graph}
SHIPPED = Path(__file__).parent / "data"
MAX_BYTES = 1 << 28
_FORMAT = 1
_MULTIPLE = 8
_SIDE = 32
_MAX_CHANNELS = 1024
_MAX_NETWORKS = 64


def space_of(task: str, graph: bool = False) -> Space:
    """The space of a task, "nets" or "hotspots"; with ``graph`` the one whose operations may read the nets of a placement.

    Raises:
        GraphnasError: another name.
    """
    if task not in TASKS:
        raise unknown("routability task", task, TASKS)
    return WITH_NETS[task]() if graph else TASKS[task][0]()


def build(task: str, architecture: Architecture, inputs: int, channels: int, graph: bool = False) -> nn.Module:
    """A network of an architecture, with weights from torch's default generator; with ``graph`` it takes the graph of a placement too."""
    signature = Signature(TASKS[task][1], (inputs, _SIDE, _SIDE), 1, extra=EXTRA if graph else ())
    return compile(space_of(task, graph).network(architecture, signature, **size_of(task, channels)))


def size_of(task: str, channels: int) -> dict[str, int]:
    """The size of a task's networks: numbers are means over the die alone, whatever is padded around it."""
    return {"channels": channels, **({"inside": 1} if task == "nets" else {})}


@dataclass(frozen=True, eq=False)
class RoutabilityModel:
    """Predicts from feature maps; the mean over its networks.

    Args:
        task: "nets" or "hotspots".
        architecture: a member of the task's space.
        channels: width of its first stage.
        preparation: what is done to feature maps.
        networks: trained, at least one.
        card: what a user must know, as JSON values: data, recipe, metrics, limits.
        graph: the space is that with messages through nets, and the networks read the graph of a placement after its maps.
    """

    task: str
    architecture: Architecture
    channels: int
    preparation: Preparation
    networks: Sequence[nn.Module]
    card: Mapping[str, Any] = field(default_factory=dict)
    graph: bool = False

    def outputs(self, features: NDArray[np.float32], layers: int, graph: NetGraph | None = None) -> NDArray[np.float64]:
        """The mean output of the networks for maps ``[maps, ny, nx]``: ``[1]`` (nets) or logits ``[1, ny, nx]``.

        Args:
            features: the maps.
            layers: routing layers.
            graph: of the placement, on the tiles of the maps (``eda.net_graph``); models without nets do not read it.

        Raises:
            GraphnasError: a model that reads nets is given none.
        """
        height, width = features.shape[1:]
        x = torch.from_numpy(stacked([self.preparation(features, layers)], _MULTIPLE))
        more: tuple[torch.Tensor, ...] = ()
        if self.graph:
            if graph is None:
                raise GraphnasError(f"this model of {self.task} reads the nets of a placement; give its graph too")
            more = joined([tile_graph(graph, (height, width))], (x.shape[2], x.shape[3]))
        made = []
        for network in self.networks:
            with evaluating(network):
                said = network(x, *more)[0].double().numpy()
            made.append(said[..., :height, :width] if self.task == "hotspots" else said)
        return np.asarray(np.mean(made, axis=0))

    def rate(self, features: NDArray[np.float32], layers: int, graph: NetGraph | None = None) -> float:
        """The expected share of violated nets, in [0, 1] ("nets" models); arguments as those of ``outputs``."""
        if self.task != "nets":
            raise GraphnasError(f"this is a model of {self.task}; the rate of violated nets needs a model of nets")
        return float(np.clip(self.outputs(features, layers, graph)[0], 0, 1) ** 2)

    def hotspots(
        self, features: NDArray[np.float32], layers: int, graph: NetGraph | None = None
    ) -> NDArray[np.float64]:
        """For every tile the probability of a violation, ``[ny, nx]`` ("hotspots" models); arguments as those of ``outputs``."""
        if self.task != "hotspots":
            raise GraphnasError(f"this is a model of {self.task}; a map of hotspots needs a model of hotspots")
        return np.asarray(1 / (1 + np.exp(-self.outputs(features, layers, graph)[0])))

    def save(self, path: str | Path) -> Path:
        """Write the model as one npz file without pickle, whole or not at all."""
        meta = {
            "format": _FORMAT,
            "task": self.task,
            "graph": self.graph,
            "decisions": list(space_of(self.task, self.graph).encode(self.architecture)),
            "channels": self.channels,
            "preparation": self.preparation.describe(),
            "networks": len(self.networks),
            "card": dict(self.card),
        }
        arrays = {"meta": np.array(json.dumps(meta, sort_keys=True))}
        for name in self.networks[0].state_dict():
            arrays[f"weights.{name}"] = np.stack([n.state_dict()[name].numpy() for n in self.networks])
        return save_npz(Path(path), arrays)

    @classmethod
    def load(cls, path: str | Path) -> RoutabilityModel:
        """Read a model; "nets" and "hotspots" are the ones that come with the package.

        Raises:
            GraphnasError: missing, damaged, or not a model of this kind.
        """
        if str(path) in TASKS:
            file = SHIPPED / f"model_{path}.npz"
            if not file.is_file():
                raise GraphnasError(f"{file} is missing; give the file of a model that `graphnas eda search` wrote")
        else:
            file = Path(path)
        arrays = load_npz(file, max_bytes=MAX_BYTES)
        try:
            meta = json.loads(str(arrays["meta"]))
            return cls._of(meta, arrays)
        except GraphnasError as error:
            raise GraphnasError(f"{file} is no routability model ({error}); train it again") from None
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:120]
            raise GraphnasError(
                f"{file} is no routability model ({type(error).__name__}: {reason}); train it again"
            ) from None

    @classmethod
    def _of(cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> RoutabilityModel:
        if meta["format"] != _FORMAT:
            raise ValueError(f"format {meta['format']} is not {_FORMAT}")
        task, channels, count = str(meta["task"]), int(meta["channels"]), int(meta["networks"])
        if not (1 <= channels <= _MAX_CHANNELS and 1 <= count <= _MAX_NETWORKS):
            raise ValueError("its sizes are out of range")
        graph = meta.get("graph", False)  # files of earlier versions do not say
        if not isinstance(graph, bool):
            raise ValueError("whether it reads nets must be true or false")
        architecture = space_of(task, graph).decode([int(d) for d in meta["decisions"]])
        preparation = Preparation.from_json(meta["preparation"])
        networks = []
        for number in range(count):
            with torch.random.fork_rng(devices=[]):
                network = build(task, architecture, preparation.channels, channels, graph)
            state = {}
            for name, tensor in network.state_dict().items():
                stored = arrays[f"weights.{name}"]
                if stored.shape != (count, *tensor.shape) or not np.isfinite(stored).all():
                    raise ValueError(f"the weights {name} have a wrong shape or are not finite")
                state[name] = torch.from_numpy(np.array(stored[number])).to(tensor.dtype)
            network.load_state_dict(state)
            networks.append(network.eval())
        return cls(task, architecture, channels, preparation, networks, meta["card"], graph)
