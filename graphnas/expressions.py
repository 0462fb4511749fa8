"""The short way to a key: most cells need no graph search, since their expression tells what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from graphnas.architecture import Params
from graphnas.labelling import label_of
from graphnas.semantics import Plain


def digest(text: bytes) -> str:
    """128 bits as 32 hexadecimal digits."""
    return hashlib.blake2b(text, digest_size=16).hexdigest()


class Expressions:
    """The short way to a key, for DAGs that their expression determines.

    A node's expression is its label with the expressions of its inputs. If every node that is read more than once is the
    only one with its expression, then the expressions of the sinks, with the note which of them are shared, say what the
    DAG is: a shared expression stands for one node, every other occurrence for a node of its own. Both the condition and
    the key are the same for isomorphic DAGs. Expressions are numbered once and looked up ever after.
    """

    LIMIT = 200_000

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all expressions; numbers given before mean nothing any more."""
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._digests: list[bytes] = []
        self._keys: dict[tuple[Any, ...], str] = {}

    def key(self, nodes: Sequence[Plain], ordered_ops: frozenset[str]) -> str | None:
        """The key, or None when the DAG is not determined by its expressions."""
        if len(self._digests) > self.LIMIT or len(self._keys) > self.LIMIT:
            self.clear()
        numbers = self._numbers
        mine: list[int] = []
        readers = [0] * len(nodes)
        for op, inputs, params in nodes:
            if len(inputs) == 1:
                readers[inputs[0]] += 1
                signature: tuple[Any, ...] = (op, params, mine[inputs[0]])
            else:
                children = []
                for j in inputs:
                    readers[j] += 1
                    children.append(mine[j])
                ordered = op in ordered_ops
                if not ordered:
                    children.sort()
                signature = (op, params, -2 if ordered else -1, *children)  # no number is negative
            found = numbers.get(signature)
            if found is None:
                found = self._number(signature, op, params, len(inputs), len(inputs) != 1 and op in ordered_ops)
            mine.append(found)
        sinks = []
        shared = []
        for number, count in zip(mine, readers, strict=True):
            if count == 0:
                sinks.append(number)
            elif count > 1:
                shared.append(number)
        for number in shared:
            if mine.count(number) > 1:
                return None
        if len(sinks) > 1:
            sinks.sort()
        shared.sort()
        whole = (*sinks, -1, *shared)
        result = self._keys.get(whole)
        if result is None:
            digests = self._digests
            text = b"".join(sorted([digests[n] for n in sinks])) + b";" + b"".join(sorted([digests[n] for n in shared]))
            result = self._keys[whole] = digest(text)
        return result

    def _number(self, signature: tuple[Any, ...], op: str, params: Params, inputs: int, ordered: bool) -> int:
        """A new number for an expression; its digest does not depend on this process."""
        children = [self._digests[n] for n in signature[len(signature) - inputs :]]
        if not ordered:
            children.sort()
        number = self._numbers[signature] = len(self._digests)
        # The label ends with a byte that it cannot contain; the digests behind it have a fixed length.
        label = label_of(op, params).encode() + (b"\x01" if ordered else b"\x00")
        self._digests.append(hashlib.blake2b(label + b"".join(children), digest_size=16).digest())
        return number
