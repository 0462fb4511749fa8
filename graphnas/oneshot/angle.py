"""How far training has turned the weights of an architecture within a supernet: the score of RLNAS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from graphnas.architecture import INPUT, OUTPUT, Architecture
from graphnas.errors import GraphnasError
from graphnas.oneshot.discretisers import NONE
from graphnas.oneshot.opened import OPEN, opened
from graphnas.oneshot.supernet import Supernet
from graphnas.ops.registry import infer


class Block(NamedTuple):
    """Sums over the entries of two versions a (before) and b (after) of some weights, in double precision.

    Attributes:
        before: of a squared.
        after: of b squared.
        moved: of (a - b) squared.
    """

    before: float = 0.0
    after: float = 0.0
    moved: float = 0.0

    def plus(self, other: Block, times: float = 1.0) -> Block:
        """This block beside so many copies of another."""
        return Block(
            self.before + times * other.before, self.after + times * other.after, self.moved + times * other.moved
        )

    def angle(self) -> float:
        """The angle between a and b in radians, in [0, pi]; 0 where either is zero.

        From the two diagonals of the rhombus of the unit vectors, ``2 atan2(|u - v|, |u + v|)``, which is exact near 0 and pi,
        where the arc cosine loses half of the digits.
        """
        a, b = math.sqrt(self.before), math.sqrt(self.after)
        if a == 0 or b == 0:
            return 0.0
        # |a - b|^2 = (|a| - |b|)^2 + |a| |b| |u - v|^2 for unit vectors u and v.
        apart = min(4.0, max(0.0, (self.moved - (a - b) ** 2) / (a * b)))
        return 2.0 * math.atan2(math.sqrt(apart), math.sqrt(4.0 - apart))


class Angle:
    """The angle between the initial and the trained weights of an architecture (Zhang et al., CVPR 2021, section 3.3).

    ``arccos(<V0, V> / (|V0| |V|))``, where V joins the kernels of all fixed layers once and, for every cell, those on each path
    from an input of the cell to its output: an operation on several paths counts as often. Operations without
    weights would add nothing, and an architecture of nothing else would have the largest angle; so a pool of size k adds the constant 1/k^2
    in the shape ``[C, k, k]``, the same before and after, which lowers the angle. A path with a "none" is no path, and
    where the input reaches no output the angle is 0.

    Args:
        supernet: the structure; its weights do not matter.
        initial: weights before training, by the names of its ``state_dict``.
        trained: weights after it.
        identity: an identity adds the constant identity matrix of its channels, as in RLNAS's DARTS and MobileNet
            spaces; on NAS-Bench-201 it adds nothing.
        affine: the learned scales and shifts of normalisations belong to V too, as in RLNAS's DARTS space.
        fixed: the layers that all architectures have belong to V, as in the paper. They learn in every step, an option in one of
            K only; in small supernets, where they hold most of the weights, they turn further than the options, so that every
            option lowers the angle. False leaves them out.

    Raises:
        GraphnasError: a space in which one decision sets operations at several places of a cell.
    """

    def __init__(
        self,
        supernet: Supernet,
        initial: Tensors,
        trained: Tensors,
        *,
        identity: bool = False,
        affine: bool = False,
        fixed: bool = True,
    ) -> None:
        self.supernet = supernet
        self._dead = frozenset(supernet.space.semantics.zero_ops) | frozenset(NONE)
        template, _ = opened(supernet.space)
        at = [tuple(n.get("rows")) if n.op == OPEN and n.get("rows") else None for n in template.nodes]
        shapes = [shape for shape, _ in infer(supernet.architecture.nodes)]
        mixed = supernet.mixed()
        self._blocks: dict[str, tuple[int, list[Block]]] = {}
        self._fixed = Block()
        for n in supernet.architecture.nodes:
            if n.op == "mixed":
                rows, name = tuple(n.get("rows")), n.get("name")
                if at.count(rows) != 1:
                    raise GraphnasError(
                        f"a decision of space {supernet.space.name!r} sets several operations of a cell, which the angle "
                        "does not tell apart; score by 'validation'"
                    )
                channels = shapes[n.inputs[0]][0]
                options = [
                    _weights(option, f"network.{name}.options.{k}.", initial, trained, affine).plus(
                        _filler(option, channels, identity)
                    )
                    for k, option in enumerate(mixed[name].options)
                ]
                self._blocks[name] = at.index(rows), options
        open_ = tuple(f"{name}." for name in self._blocks)
        for name, module in supernet.network.named_modules():
            if fixed and not f"{name}.".startswith(open_):
                own = _own(module, f"network.{name}.", affine)
                for full in own:
                    self._fixed = self._fixed.plus(_block(initial[full], trained[full]))

    def __call__(self, architecture: Architecture) -> float:
        """In radians, in [0, pi]."""
        counts = self.paths(architecture)
        if counts is None:
            return 0.0
        total = self._fixed
        chosen = self.supernet.chosen(architecture)
        for name, (place, options) in self._blocks.items():
            if counts[place]:
                total = total.plus(options[chosen[name]], counts[place])
        return total.angle()

    def paths(self, architecture: Architecture) -> list[int] | None:
        """Paths from an input to an output of a cell through each node of the template; None if some output is not reached."""
        nodes = self.supernet.space.decode(self.supernet.decisions(architecture)).nodes
        to, onward = [0] * len(nodes), [0] * len(nodes)
        for i, n in enumerate(nodes):
            if n.op == INPUT:
                to[i] = 1
            elif n.op not in self._dead:
                to[i] = sum(to[j] for j in n.inputs)
        if any(n.op == OUTPUT and to[i] == 0 for i, n in enumerate(nodes)):
            return None
        for i in reversed(range(len(nodes))):
            onward[i] += nodes[i].op == OUTPUT
            if nodes[i].op not in self._dead:
                for j in nodes[i].inputs:
                    onward[j] += onward[i]
        return [first * rest for first, rest in zip(to, onward, strict=True)]


Tensors = Mapping[str, Tensor]


def _own(module: nn.Module, prefix: str, affine: bool) -> list[str]:
    """Names of the tensors of one module, without those below it, that belong to V."""
    normalises = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return [
        prefix + name
        for name, p in module.named_parameters(recurse=False)
        if (p.ndim > 1 and not normalises) or (affine and normalises)
    ]


def _weights(module: nn.Module, prefix: str, initial: Tensors, trained: Tensors, affine: bool) -> Block:
    total = Block()
    for name, part in module.named_modules():
        for full in _own(part, f"{prefix}{name}." if name else prefix, affine):
            total = total.plus(_block(initial[full], trained[full]))
    return total


def _block(before: Tensor, after: Tensor) -> Block:
    a, b = before.double(), after.double()
    return Block(float(a.square().sum()), float(b.square().sum()), float((a - b).square().sum()))


def _filler(option: nn.Module, channels: int, identity: bool) -> Block:
    """The constants that stand for an operation without weights."""
    total = 0.0
    for part in option.modules():
        if isinstance(part, (nn.AvgPool2d, nn.MaxPool2d)):
            size = part.kernel_size if isinstance(part.kernel_size, int) else part.kernel_size[0]
            total += channels / size**2  # C k^2 entries of 1/k^2
        elif isinstance(part, nn.Identity) and identity:
            total += channels
    return Block(total, total, 0.0)
