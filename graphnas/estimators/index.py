"""From a written architecture to its row in a table: by the rank of its decisions, or by its canonical key.

Canonical keys of many architectures are computed once and cached on disk. A cached file is used only when its
fingerprint, which covers the space, its rules and the canonical form itself, is the one of today.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
from array import array
from collections.abc import Sequence

import numpy as np

from graphnas.canonical import key
from graphnas.data import cache_path, find
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.space import Space

MAX_RANKED = 10_000_000
_PROBES = 200
_KEY = np.dtype("S32")


def ranks_of(space: Space, decisions: np.ndarray) -> np.ndarray:
    """Mixed-radix ranks ``[n]`` (int64) of decisions ``[n, d]``, the first decision most significant."""
    return np.asarray(decisions, dtype=np.int64) @ np.array(strides_of(space), dtype=np.int64)


def strides_of(space: Space) -> tuple[int, ...]:
    """How much the rank grows with each decision."""
    return tuple(itertools.accumulate((1, *reversed(space.radices[1:])), lambda a, b: a * b))[::-1]


class KeyIndex:
    """Canonical keys ``[n]`` in sorted order, with a number for each; 36 bytes an entry."""

    def __init__(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        self.keys = np.ascontiguousarray(keys[order])
        self.numbers = np.ascontiguousarray(numbers[order], dtype=np.int32)

    def find(self, wanted: str) -> int:
        """The number that belongs to a key, or -1."""
        text = wanted.encode()
        place = int(np.searchsorted(self.keys, np.bytes_(text)))
        return int(self.numbers[place]) if place < len(self.keys) and self.keys[place] == text else -1


def table_keys(space: Space, decisions: np.ndarray, cache: str = "") -> np.ndarray:
    """Canonical keys ``[n]`` (32 characters each) of decisions ``[n, d]``, cached under the relative name ``cache``."""
    stamp = hashlib.blake2b(fingerprint(space).encode(), digest_size=16)
    stamp.update(np.ascontiguousarray(decisions, dtype=np.int16).tobytes())
    found = _load(cache, stamp.hexdigest(), ("keys",))
    if found is not None and found["keys"].shape == (len(decisions),) and found["keys"].dtype == _KEY:
        return found["keys"]
    keys = np.array([key(space.build(tuple(row)), space.semantics) for row in decisions.tolist()], dtype=_KEY)
    _save(cache, stamp.hexdigest(), {"keys": keys})
    return keys


class Classes:
    """The isomorphism classes of all writings of a small space.

    ``first[rank]`` is the least rank with the same key, or -1 for an invalid writing (int32 ``[writings]``).
    """

    def __init__(self, space: Space, cache: str = "") -> None:
        if space.writings > MAX_RANKED:
            raise GraphnasError(f"space {space.name!r} has {space.writings:.3g} writings: too many to index")
        self._cache, self._stamp = cache, fingerprint(space)
        self._index: KeyIndex | None = None
        found = _load(cache, self._stamp, ("first",))
        if found is not None and found["first"].shape == (space.writings,) and _within(found["first"], space.writings):
            self.first = found["first"]
            return
        seen: dict[str, int] = {}
        first = array("i", bytes(4 * space.writings))
        for rank, made in enumerate(itertools.product(*map(range, space.radices))):
            valid = space.is_valid(made)
            first[rank] = seen.setdefault(key(space.build(made), space.semantics), rank) if valid else -1
        self.first = np.array(first, dtype=np.int32)
        self._index = KeyIndex(np.array(list(seen), dtype=_KEY), np.array(list(seen.values()), dtype=np.int32))
        _save(cache, self._stamp, {"first": self.first, "keys": self._index.keys, "numbers": self._index.numbers})

    def find(self, wanted: str) -> int:
        """The least rank of a writing with this key, or -1. The keys are read when first needed."""
        if self._index is None:
            found = _load(self._cache, self._stamp, ("keys", "numbers"))
            if (
                found is None
                or found["keys"].shape != found["numbers"].shape
                or found["keys"].dtype != _KEY
                or not _within(found["numbers"], len(self.first))
            ):
                raise GraphnasError(f"{cache_path(self._cache)} changed while it was in use; start again")
            self._index = KeyIndex(found["keys"], found["numbers"])
        return self._index.find(wanted)


def fingerprint(space: Space) -> str:
    """32 digits that change when the template, the semantics, the validity or the canonical form of a space does.

    The last two are covered by what they do: validity of every writing (of a sample, in a large space), and the keys
    of about 200 writings spread over the space.
    """
    digest = hashlib.blake2b(digest_size=16)
    fields = dataclasses.asdict(space.semantics)
    semantics = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in fields.items()}
    digest.update(repr((space.name, space.template, space.choices, semantics, space.distinct)).encode())
    if space.writings <= 1_000_000:
        valid = [made for made in itertools.product(*map(range, space.radices)) if space.is_valid(made)]
        digest.update(np.packbits(np.isin(np.arange(space.writings), ranks_of(space, np.array(valid)))).tobytes())
        probes: Sequence[tuple[int, ...]] = valid[:: max(1, len(valid) // _PROBES)]
    else:
        rng = np.random.default_rng(0)
        probes = [d for a in range(_PROBES) if (d := space.sample(rng).decisions_in(space)) is not None]
    for made in probes:
        digest.update(key(space.build(made), space.semantics).encode())
    return digest.hexdigest()


def _within(numbers: np.ndarray, size: int) -> bool:
    return numbers.dtype == np.int32 and bool(((numbers >= -1) & (numbers < size)).all())


def _load(cache: str, stamp: str, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    for path in (cache_path(cache), find(cache)) if cache else ():
        with contextlib.suppress(GraphnasError):  # broken files are replaced, like stale ones
            if path is not None and str(load_npz(path, ["fingerprint"])["fingerprint"]) == stamp:
                return load_npz(path, names)
    return None


def _save(cache: str, stamp: str, arrays: dict[str, np.ndarray]) -> None:
    if cache:
        with contextlib.suppress(GraphnasError):  # a cache that cannot be written only costs time
            save_npz(cache_path(cache), {"fingerprint": np.array(stamp), **arrays})
