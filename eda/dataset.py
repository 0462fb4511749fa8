"""Placements with feature maps and routed labels, in parts that never share a family of designs.

The labels are shorts left by qrouter at a stated effort on OSU035 (``eda.shorts``); every sample carries its recipe and the
versions of the tools that made it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eda.net_graph import NetGraph
from eda.route import Recipe
from graphnas.errors import GraphnasError, unknown

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class SampleLabel:
    """Violations at one routing effort.

    Args:
        effort: of qrouter's rip-up.
        violated: number of nets that share a node with another.
        nets: number of nets.
        hotspots: int32[ny, nx], shorted nodes in every tile; a tile is hot from one on.
        nodes: int16[n, 3], (layer, row, column) of the shorted nodes of the routing grid, from which a map of any tile size
            can be made.
        failed_first: nets that failed when each was routed once, nothing ripped up.
    """

    effort: int
    violated: int
    nets: int
    hotspots: NDArray[np.int32]
    nodes: NDArray[np.int16]
    failed_first: int

    @property
    def rate(self) -> float:
        """Violated nets / nets."""
        return self.violated / self.nets if self.nets else 0.0


@dataclass(frozen=True, eq=False)
class Sample:
    """One placement.

    Args:
        name: design, layers and round.
        design: name of the circuit.
        family: of near-copies of the circuit.
        part: train, validation or test.
        features: float32[maps, ny, nx], row j from the bottom.
        labels: effort -> label.
        recipe: how it was made.
        facts: further words and numbers: cells, ports, nets, die, tools, ...
        graph: its cells, nets and pins on the tiles; None where only maps are known.
    """

    name: str
    design: str
    family: str
    part: str
    features: NDArray[np.float32]
    labels: Mapping[int, SampleLabel]
    recipe: Recipe
    facts: Mapping[str, Any] = field(default_factory=dict)
    graph: NetGraph | None = None

    @property
    def seed(self) -> int:
        """Seed of the placement."""
        return self.recipe.seed

    @property
    def tools(self) -> Mapping[str, str]:
        """Versions of the tools that made the sample."""
        tools: Mapping[str, str] = self.facts.get("tools", {})
        return tools

    def fingerprint(self) -> str:
        """MD5 sum of the feature maps: equal for samples that a model cannot tell apart."""
        shape = np.array(self.features.shape, np.int64).tobytes()
        return hashlib.md5(shape + np.ascontiguousarray(self.features).tobytes(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples in parts; construction refuses parts that share a family, and copies in different parts.

    Args:
        maps: names of the feature maps.
        samples: all placements.
        tile: edge of a tile in microns.

    Raises:
        GraphnasError: an unknown part, a family in two parts, two samples of a name, the same feature maps in two parts,
            or maps and labels that do not fit together.
    """

    maps: tuple[str, ...]
    samples: tuple[Sample, ...]
    tile: float = 20.0

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_families()
        for group in self.duplicates():
            parts = {sample.part for sample in group}
            if len(parts) > 1:
                names = ", ".join(sample.name for sample in group)
                raise GraphnasError(
                    f"{names} have the same feature maps but lie in {' and '.join(sorted(parts))}; drop one"
                )

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @property
    def graphs(self) -> bool:
        """Whether every sample carries its cells, nets and pins."""
        return all(sample.graph is not None for sample in self.samples)

    def _check_shapes(self) -> None:
        names: set[str] = set()
        for sample in self.samples:
            if sample.part not in PARTS:
                raise unknown("part of a data set", sample.part, PARTS)
            if sample.name in names:
                raise GraphnasError(f"two samples are called {sample.name!r}")
            names.add(sample.name)
            if sample.features.ndim != 3 or len(sample.features) != len(self.maps):
                raise GraphnasError(
                    f"{sample.name} has features of shape {sample.features.shape}; {len(self.maps)} maps expected"
                )
            for label in sample.labels.values():
                if label.hotspots.shape != sample.features.shape[1:]:
                    raise GraphnasError(f"the hotspots of {sample.name} are not of the shape of its features")

    def _check_families(self) -> None:
        parts: dict[str, set[str]] = defaultdict(set)
        designs: dict[str, set[str]] = defaultdict(set)
        for sample in self.samples:
            parts[sample.family].add(sample.part)
            designs[sample.design].add(sample.family)
        for name, found in sorted(parts.items()):
            if len(found) > 1:
                raise GraphnasError(
                    f"family {name!r} lies in {' and '.join(sorted(found))}; a family of designs must be in one part"
                )
        for name, found in sorted(designs.items()):
            if len(found) > 1:
                raise GraphnasError(f"design {name!r} is given the families {' and '.join(sorted(found))}; it has one")

    @property
    def efforts(self) -> tuple[int, ...]:
        """The routing efforts that every sample is labelled at, ascending."""
        sets = [set(sample.labels) for sample in self.samples]
        return tuple(sorted(set.intersection(*sets))) if sets else ()

    @property
    def designs(self) -> tuple[str, ...]:
        """Names of the designs, in order."""
        return tuple(dict.fromkeys(sample.design for sample in self.samples))

    def part(self, name: str) -> tuple[Sample, ...]:
        """The samples of one part.

        Raises:
            GraphnasError: there is no such part.
        """
        if name not in PARTS:
            raise unknown("part of a data set", name, PARTS)
        return tuple(sample for sample in self.samples if sample.part == name)

    def channel(self, name: str) -> int:
        """The channel of a feature map.

        Raises:
            GraphnasError: there is no such map.
        """
        if name not in self.maps:
            raise unknown("feature map", name, self.maps)
        return self.maps.index(name)

    def duplicates(self) -> tuple[tuple[Sample, ...], ...]:
        """Groups of two or more samples whose feature maps are equal."""
        groups: dict[str, list[Sample]] = defaultdict(list)
        for sample in self.samples:
            groups[sample.fingerprint()].append(sample)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)

    def with_parts(self, parts: Mapping[str, str]) -> Dataset:
        """The same samples in other parts.

        Args:
            parts: design -> part; designs that are absent are left out.

        Raises:
            GraphnasError: a family in two parts, or an unknown design or part.
        """
        known = self.designs
        for design in parts:
            if design not in known:
                raise unknown("design", design, known)
        kept = [replace(sample, part=parts[sample.design]) for sample in self.samples if sample.design in parts]
        return replace(self, samples=tuple(kept))

    def redrawn(self, generator: np.random.Generator, shares: Sequence[float] = (0.6, 0.15, 0.25)) -> Dataset:
        """The same samples, their families dealt to train, validation and test at random.

        Args:
            generator: draws the order of the families.
            shares: of the families, for each part; they sum to 1.

        Raises:
            GraphnasError: the shares do not sum to 1, or a part would be empty.
        """
        families = sorted({sample.family for sample in self.samples})
        if len(shares) != len(PARTS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise GraphnasError(f"shares {tuple(shares)} are not three numbers that sum to 1")
        ends = np.rint(np.cumsum(shares) * len(families)).astype(int)
        counts = np.diff(ends, prepend=0)
        for share, count, name in zip(shares, counts, PARTS, strict=True):
            if share > 0 and count == 0:
                raise GraphnasError(f"{len(families)} families are too few for a share of {share:g} for {name}")
        order = generator.permutation(len(families))
        dealt = {
            families[place]: PARTS[int(np.searchsorted(ends, rank, side="right"))] for rank, place in enumerate(order)
        }
        return self.with_parts({sample.design: dealt[sample.family] for sample in self.samples})


def statistics(samples: Sequence[Sample], effort: int) -> dict[str, float]:
    """Of samples at one effort: number, designs, share without violation, quartiles and maximum of the rate, share of hot tiles."""
    labels = [sample.labels[effort] for sample in samples]
    rates = np.array([label.rate for label in labels]) if labels else np.zeros(1)
    tiles = sum(label.hotspots.size for label in labels)
    hot = sum(int((label.hotspots > 0).sum()) for label in labels)
    low, middle, high = np.quantile(rates, [0.25, 0.5, 0.75])
    return {
        "placements": len(samples),
        "designs": len({sample.design for sample in samples}),
        "clean_share": float((rates == 0).mean()),
        "rate_quartile_1": float(low),
        "rate_median": float(middle),
        "rate_quartile_3": float(high),
        "rate_maximum": float(rates.max()),
        "distinct_counts": len({label.violated for label in labels}),
        "hot_tile_share": hot / tiles if tiles else 0.0,
    }
