"""A search space is an architecture with choices left open."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import index
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from graphnas.architecture import Architecture, Node
from graphnas.canonical import Semantics, canonical, clear_expressions, key
from graphnas.errors import GraphnasError
from graphnas.network_checks import check_inputs, check_size
from graphnas.template import Choice, Decisions, NodePlan, Pick, choices_of

__all__ = ["Choice", "Decisions", "Pick", "Relaxed", "Space"]

_MEMO_LIMIT = 200_000
_MAX_TRIES = 1_000_000


class Relaxed(NamedTuple):
    """A larger space with the same networks, which a supernet can hold, where it cannot hold the template of a space itself.

    Attributes:
        space: every decision of it is an operation at a fixed place.
        to: from a member of the original space to the same network in ``space``.
        back: the inverse, a GraphnasError for an architecture that the original space does not have.
        keep: how many operations of a node the original space has; None: all that ``space`` has.
        absent: options that a search may not choose and a supernet does not hold: those of every decision, or of each by its
            name.
        inherit: ``inherit(state, architecture)`` gives the state of an architecture's network from that of the supernet's,
            where its names or shapes are others; None: those of the chosen options.
        size: what the networks of a supernet have otherwise than ``network_size`` says.
    """

    space: Space
    to: Callable[[Architecture], Architecture]
    back: Callable[[Architecture], Architecture]
    keep: int | None = None
    absent: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()
    inherit: Callable[[Mapping[str, Any], Architecture], dict[str, Any]] | None = None
    size: Mapping[str, Any] = MappingProxyType({})


class Space:
    """A template Architecture that contains Choices, a validity rule and the meaning of its operations.

    Decisions are a tuple of option indices, one for each Choice in the order of ``choices``. Everything else
    (token encodings, mutation groups, controllers, supernets) derives from them.

    Args:
        name: the registered name.
        template: nodes in which ops, params and inputs may be Choices or Picks.
        semantics: what may be simplified when architectures are compared.
        valid: rule over decisions; None accepts all. It must hold for at least one in a million.
        distinct: count, enumerate and sample one writing for each key instead of all writings.
        network: ``network(architecture, signature, **size) -> Architecture`` builds the whole network (stem, stacked
            cells, head) around an architecture for a Task's signature; see ``graphnas.compile``.
        size: keyword arguments that ``network`` accepts, with their defaults (channels, cells, ...).
        accepts: the kinds of Task signature that ``network`` can serve.
        reads: names of the inputs beside ``x`` that networks need (``Signature.extra``); None: they take none.
        recipe: fields of a training Recipe that suit these networks better than the default of the kind of task.
        count: the exact number of architectures where enumeration would be slow.
        order: the choices in the order of the decisions; by default the order of first appearance.
        recover: rewrites an architecture of the space that is written otherwise (pruned, relabelled) in the form of the
            template; needed where the space is too large to find it by its key.
        relaxed: makes the space whose template supernets of this space compile, when it is another one.
        description: one line for lists.
    """

    def __init__(
        self,
        name: str,
        template: Sequence[Node],
        *,
        semantics: Semantics | None = None,
        valid: Callable[[Decisions], bool] | None = None,
        distinct: bool = False,
        network: Callable[..., Architecture] | None = None,
        size: Mapping[str, float] | None = None,
        accepts: Sequence[str] = (),
        reads: Sequence[str] | None = None,
        recipe: Mapping[str, Any] | None = None,
        count: int | None = None,
        order: Sequence[Choice] = (),
        recover: Callable[[Architecture], Architecture] | None = None,
        relaxed: Callable[[], Relaxed] | None = None,
        description: str = "",
    ) -> None:
        self.name = name
        self.template = tuple(template)
        self.semantics = semantics or Semantics()
        self.distinct = distinct
        self.description = description
        self.accepts = tuple(accepts)
        self.reads = None if reads is None else tuple(reads)
        self.network_size = dict(size or {})
        self.recipe = dict(recipe or {})
        self._network = network
        self._valid = valid
        self._count = count
        self._recover = recover
        self._relaxed = relaxed
        self.choices: tuple[Choice, ...] = tuple(order) or choices_of(self.template)
        missing = set(choices_of(self.template)) - set(self.choices)
        if missing:
            raise GraphnasError(f"space {name!r}: the order of choices lacks {sorted(c.name for c in missing)}")
        if len({c.name for c in self.choices}) != len(self.choices):
            raise GraphnasError(f"space {name!r} has two choices of the same name")
        self.radices = tuple(len(c.options) for c in self.choices)
        position = {c: i for i, c in enumerate(self.choices)}
        self._plan = [NodePlan(n, position) for n in self.template]
        self._tables = [plan.table() for plan in self._plan]
        self._memo: dict[Decisions, str] = {}
        self._representatives: np.ndarray | None = None
        self._by_key: dict[str, Decisions] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memo": {}, "_representatives": None, "_by_key": None}

    def __repr__(self) -> str:
        return f"Space({self.name!r}, {len(self.choices)} choices)"

    @property
    def listed(self) -> np.ndarray | None:
        """Decisions ``[n, choices]`` of all members where the space is a list of them (``graphnas.listed``), else None."""
        return None

    # -- decisions <-> architectures ----------------------------------------------------------

    def decode(self, decisions: Sequence[int]) -> Architecture:
        """The architecture of these decisions.

        Raises:
            GraphnasError: wrong number, out of range, or against the validity rule.
        """
        try:
            made = tuple(index(d) for d in decisions)
        except TypeError:
            raise GraphnasError(f"decisions must be whole numbers, not {list(decisions)!r:.100}") from None
        if len(made) != len(self.radices):
            raise GraphnasError(f"space {self.name!r} has {len(self.radices)} decisions, but {len(made)} are given")
        for d, c in zip(made, self.choices, strict=True):
            if not 0 <= d < len(c.options):
                raise GraphnasError(f"decision {c.name!r} is {d}; it must be between 0 and {len(c.options) - 1}")
        if not self.is_valid(made):
            raise GraphnasError(f"decisions {list(made)} break the validity rule of space {self.name!r}")
        return Architecture.of_space(self, made)

    def build(self, decisions: Decisions) -> tuple[Node, ...]:
        """The nodes for decisions that are known to be valid."""
        nodes = []
        for first, stride, second, table in self._tables:
            if second >= 0:
                nodes.append(table[decisions[first] * stride + decisions[second]])
            elif first >= 0:
                nodes.append(table[decisions[first]])
            elif stride:
                nodes.append(table[0])
            else:
                nodes.append(self._plan[len(nodes)].build(decisions))
        return tuple(nodes)

    def encode(self, architecture: Architecture) -> Decisions:
        """The decisions of an architecture: the inverse of ``decode``.

        An architecture that is written otherwise (pruned, relabelled, from a file) gets the decisions of the first
        writing with the same key, where the space is enumerable.

        Raises:
            GraphnasError: when it is no member of the space.
        """
        known = architecture.decisions_in(self)
        if known is not None:
            return known
        found = self._match(architecture.nodes)
        if found is not None and self.is_valid(found):
            return found
        if self._recover is not None:
            written = self._recover(architecture)
            known = written.decisions_in(self) or self._match(written.nodes)
            if known is not None:
                return known
        if self.enumerable:
            if self._by_key is None:
                by_key: dict[str, Decisions] = {}
                for a in self.enumerate():
                    by_key.setdefault(self.key(a), self.encode(a))
                self._by_key = by_key
            found = self._by_key.get(key(architecture.nodes, self.semantics))
            if found is not None:
                return found
        raise GraphnasError(f"the architecture is not a member of space {self.name!r}: {architecture!r:.120}")

    def _match(self, nodes: Sequence[Node]) -> Decisions | None:
        if len(nodes) != len(self._plan):
            return None
        possible: dict[int, list[int]] = {}
        for plan, n in zip(self._plan, nodes, strict=True):
            if not plan.match(n, possible):
                return None
        found = tuple(possible[i][0] if i in possible else 0 for i in range(len(self.choices)))
        return found if self.build(found) == tuple(nodes) else None

    def is_valid(self, decisions: Decisions) -> bool:
        """Whether the validity rule accepts these decisions."""
        return self._valid is None or self._valid(decisions)

    @property
    def ruled(self) -> bool:
        """Whether there is a validity rule, so that not all decisions go together."""
        return self._valid is not None

    @property
    def parts(self) -> tuple[tuple[int, ...], ...]:
        """Sets of decisions that the validity rule judges by themselves: its attribute ``parts``, or all decisions together."""
        if self._valid is None:
            return ()
        return tuple(getattr(self._valid, "parts", (tuple(range(len(self.choices))),)))

    def contains(self, architecture: Architecture) -> bool:
        """Whether the architecture belongs to the space."""
        try:
            self.encode(architecture)
        except GraphnasError:
            return False
        return True

    def describe(self, architecture: Architecture) -> dict[str, Any]:
        """The decisions by name, with the chosen options."""
        decisions = self.encode(architecture)
        return {c.name: c.options[d] for c, d in zip(self.choices, decisions, strict=True)}

    # -- equality -----------------------------------------------------------------------------

    def key(self, architecture: Architecture) -> str:
        """Equal exactly for architectures that are the same under the semantics of the space."""
        decisions = architecture.decisions_in(self)
        if decisions is None:
            return key(architecture.nodes, self.semantics)
        found = self._memo.get(decisions)
        if found is None:
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            found = self._memo[decisions] = key(architecture.nodes, self.semantics)
        return found

    def forget(self) -> None:
        """Drop the remembered keys (benchmarks start cold with it)."""
        self._memo.clear()
        clear_expressions()

    def canonical(self, architecture: Architecture) -> Architecture:
        """The simplified, canonically ordered form that predictors see."""
        return canonical(architecture, self.semantics)

    # -- moving about -------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Architecture:
        """One architecture, uniform over what ``enumerate`` yields (over valid writings where that is too many)."""
        if self.distinct and self.enumerable:
            table = self.representatives
            return Architecture.of_space(self, tuple(table[int(rng.random() * len(table))].tolist()))
        for _ in range(_MAX_TRIES):
            made = tuple(
                [int(u * r) for u, r in zip(rng.random(len(self.radices)).tolist(), self.radices, strict=True)]
            )
            if self.is_valid(made):
                return Architecture.of_space(self, made)
        raise GraphnasError(f"space {self.name!r}: no valid architecture in {_MAX_TRIES} random draws")

    def mutate(self, architecture: Architecture, rng: np.random.Generator, group: str | None = None) -> Architecture:
        """A valid architecture that differs in exactly one decision (of ``group``, when given)."""
        decisions = self.encode(architecture)
        if group is None:
            places: Sequence[int] = range(len(decisions))
        else:
            places = [i for i, c in enumerate(self.choices) if c.group == group]
        open_places = [i for i in places if self.radices[i] > 1]
        if not open_places:
            raise GraphnasError(f"space {self.name!r} has no open decision in group {group!r}")
        for _ in range(100 * len(open_places)):
            i = open_places[int(rng.random() * len(open_places))]
            other = int(rng.random() * (self.radices[i] - 1))
            other += other >= decisions[i]
            made = (*decisions[:i], other, *decisions[i + 1 :])
            if self.is_valid(made):
                return Architecture.of_space(self, made)
        near = [
            a for a in self.neighbours(architecture) if group is None or self._group_of_change(decisions, a) == group
        ]
        if not near:
            raise GraphnasError(f"{architecture!r:.80} has no valid neighbour in space {self.name!r}")
        return near[int(rng.random() * len(near))]

    def _group_of_change(self, decisions: Decisions, other: Architecture) -> str:
        changed = self.encode(other)
        return next(c.group for c, a, b in zip(self.choices, decisions, changed, strict=True) if a != b)

    def crossover(self, a: Architecture, b: Architecture, rng: np.random.Generator) -> Architecture:
        """A valid architecture whose every decision comes from one of the parents."""
        first, second = self.encode(a), self.encode(b)
        for _ in range(100):
            coins = rng.random(len(first)).tolist()
            made = tuple([x if coin < 0.5 else y for x, y, coin in zip(first, second, coins, strict=True)])
            if self.is_valid(made):
                return Architecture.of_space(self, made)
        return Architecture.of_space(self, first)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All valid architectures that differ in one decision, in a fixed order."""
        decisions = self.encode(architecture)
        for i, radix in enumerate(self.radices):
            for d in range(radix):
                if d != decisions[i]:
                    made = (*decisions[:i], d, *decisions[i + 1 :])
                    if self.is_valid(made):
                        yield Architecture.of_space(self, made)

    # -- the whole space ----------------------------------------------------------------------

    @property
    def writings(self) -> int:
        """Number of decision tuples, valid or not."""
        return math.prod(self.radices)

    @property
    def enumerable(self) -> bool:
        """Whether ``enumerate`` visits at most a million writings."""
        return self.writings <= 1_000_000

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture once: all valid writings, or the first writing of each key if ``distinct``."""
        if self.distinct and self._representatives is not None:
            for row in self._representatives.tolist():
                yield Architecture.of_space(self, tuple(row))
            return
        seen: set[str] = set()
        for made in itertools.product(*map(range, self.radices)):
            if not self.is_valid(made):
                continue
            architecture = Architecture.of_space(self, made)
            if self.distinct:
                k = key(self.build(made), self.semantics)
                if k in seen:
                    continue
                seen.add(k)
            yield architecture

    @property
    def representatives(self) -> np.ndarray:
        """Decisions ``[size, choices]`` (int16) of everything that ``enumerate`` yields; computed once."""
        if self._representatives is None:
            if not self.enumerable:
                raise GraphnasError(f"space {self.name!r} has {self.writings:.3g} writings: too many to enumerate")
            self._representatives = np.array([self.encode(a) for a in self.enumerate()], dtype=np.int16)
        return self._representatives

    @property
    def size(self) -> int:
        """Exact number of architectures that ``enumerate`` yields."""
        if self._count is None:
            if self.distinct:
                self._count = len(self.representatives)
            elif self._valid is None:
                self._count = self.writings
            elif self.enumerable:
                self._count = sum(1 for _ in self.enumerate())
            else:
                raise GraphnasError(f"the size of space {self.name!r} is not known: pass count= when it is made")
        return self._count

    # -- networks -----------------------------------------------------------------------------

    def network(self, architecture: Architecture, signature: Any, **size: Any) -> Architecture:
        """The whole network (stem, stacked cells, head) as one Architecture that ``compile`` turns into a module.

        Args:
            architecture: a member of the space.
            signature: the Task's Signature (kind, input shape, outputs).
            **size: overrides of ``network_size``.

        Raises:
            GraphnasError: the space builds no networks, not for this kind of task, or not with this size.
        """
        if self._network is None:
            raise GraphnasError(f"space {self.name!r} defines no networks; search it on a table instead")
        if signature.kind not in self.accepts:
            raise GraphnasError(
                f"space {self.name!r} builds networks for {' or '.join(self.accepts)} tasks, not for {signature.kind!r}"
            )
        self.check_inputs(signature)
        for name, value in size.items():
            check_size(self.name, self.network_size, name, value)
        return self._network(architecture, signature, **{**self.network_size, **size})

    def check_inputs(self, signature: Any) -> None:
        """Check that networks can take the inputs of a task of this signature, and find those that they need.

        Raises:
            GraphnasError: naming what is too much or missing.
        """
        check_inputs(self.name, self.reads, signature)

    def relaxed(self) -> Relaxed:
        """The space that a supernet holds, and the way there and back: by default the space itself."""
        if self._relaxed is not None:
            return self._relaxed()
        return Relaxed(self, lambda architecture: architecture, lambda architecture: architecture)
