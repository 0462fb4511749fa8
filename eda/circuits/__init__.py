"""A few small circuits of our own, in Verilog, so that the flow can be tried without any other source."""

from __future__ import annotations

from pathlib import Path

from graphnas.errors import unknown

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Names of the circuits; each is also the name of its top module."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.v")))


def verilog(name: str) -> Path:
    """The Verilog file of a circuit.

    Raises:
        GraphnasError: there is no such circuit.
    """
    if name not in names():
        raise unknown("circuit", name, names())
    return _FOLDER / f"{name}.v"
