"""A mapped netlist: library cells, ports and the nets between them, read from the JSON that yosys writes.

Bits that are constant (the text "0", "1", "x" or "z" in the JSON) belong to no net: they are left unrouted.
"""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eda.technology import Technology
from graphnas.errors import GraphnasError, unknown

MAX_BYTES = 512 << 20
"""Largest netlist file that is read, unpacked."""


@dataclass(frozen=True)
class NetlistPort:
    """One bit of a port of the design: its name, INPUT, OUTPUT or INOUT, and the index of its net."""

    name: str
    direction: str
    net: int


@dataclass(frozen=True)
class Netlist:
    """Cells of a library and the nets between them.

    Args:
        design: name of the top module.
        cell_names: n names, as the synthesis gave them.
        cell_macros: n names of library cells.
        net_names: m names.
        net_pins: for each net its (index of a cell, name of its pin) pairs.
        ports: bits of the design's ports; constant bits are not among them.
    """

    design: str
    cell_names: tuple[str, ...]
    cell_macros: tuple[str, ...]
    net_names: tuple[str, ...]
    net_pins: tuple[tuple[tuple[int, str], ...], ...]
    ports: tuple[NetlistPort, ...]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.cell_macros)

    def check(self, technology: Technology) -> Netlist:
        """The same netlist, after every cell and pin was found in the technology.

        Raises:
            GraphnasError: there is no cell, or a macro or pin is not in the technology.
        """
        if not self.cells:
            raise GraphnasError(f"design {self.design!r} has no cells; is it the right top module?")
        for name in sorted(set(self.cell_macros)):
            technology.macro(name)
        used = {(self.cell_macros[cell], pin) for pins in self.net_pins for cell, pin in pins}
        for macro, pin in sorted(used):
            technology.macro(macro).pin(pin)
        return self


def read_netlist(path: Path | str, top: str | None = None) -> Netlist:
    """Read a mapped, flat netlist in yosys' JSON form (``write_json``); ``.gz`` and ``.xz`` are unpacked.

    Args:
        path: the file.
        top: name of the module; by default the one marked as top, or the only one that has cells.

    Raises:
        GraphnasError: the file cannot be read, is too large, is no such netlist, or still has hierarchy or unmapped cells.
    """
    path = Path(path)
    try:
        document = json.loads(_unpacked(path))
    except (ValueError, RecursionError) as error:
        raise GraphnasError(f"{path} is not JSON ({error}); write the netlist with yosys' write_json") from None
    try:
        return _netlist(document, top)
    except GraphnasError as error:
        raise GraphnasError(f"{path}: {error}") from None


def _unpacked(path: Path) -> bytes:
    opener: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    try:
        with opener(path, "rb") as file:
            data: bytes = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise GraphnasError(f"cannot read {path} ({why}); give a netlist as .json, .json.gz or .json.xz") from None
    if len(data) > MAX_BYTES:
        raise GraphnasError(f"{path} unpacks to more than {MAX_BYTES} bytes; give a smaller netlist")
    return data


def _netlist(document: Any, top: str | None) -> Netlist:
    modules = _table(document, "modules", "the file")
    name = _top(modules, top)
    module = modules[name]
    bits: dict[int, int] = {}
    pins: list[list[tuple[int, str]]] = []

    def net_of(bit: object, where: str) -> int | None:
        if isinstance(bit, str):
            return None
        if type(bit) is not int:
            raise GraphnasError(f'{where} is connected to {bit!r}; a bit is a number or a constant such as "0"')
        if bit not in bits:
            bits[bit] = len(pins)
            pins.append([])
        return bits[bit]

    names: list[str] = []
    macros: list[str] = []
    for cell_name, cell in _table(module, "cells", f"module {name}").items():
        kind = cell.get("type") if isinstance(cell, dict) else None
        if not isinstance(kind, str) or not kind:
            raise GraphnasError(f"cell {cell_name} has no type")
        if kind.startswith("$"):
            raise GraphnasError(
                f"cell {cell_name} of type {kind} is not mapped; run dfflibmap and abc on the library first"
            )
        if _is_design(modules.get(kind)):
            raise GraphnasError(f"cell {cell_name} is an instance of module {kind}; flatten the design first")
        for pin, connected in _table(cell, "connections", f"cell {cell_name}").items():
            where = f"pin {pin} of cell {cell_name}"
            for bit in _list(connected, where):
                net = net_of(bit, where)
                if net is not None:
                    pins[net].append((len(names), pin))
        names.append(cell_name)
        macros.append(kind)
    ports = []
    for port_name, port in _table(module, "ports", f"module {name}").items():
        connected = _list(port.get("bits") if isinstance(port, dict) else None, f"port {port_name}")
        direction = str(port.get("direction", "inout")).upper()
        for place, bit in enumerate(connected):
            net = net_of(bit, f"port {port_name}")
            if net is not None:
                full = port_name if len(connected) == 1 else f"{port_name}[{place}]"
                ports.append(NetlistPort(full, direction, net))
    return Netlist(
        name,
        tuple(names),
        tuple(macros),
        _net_names(module, bits),
        tuple(tuple(each) for each in pins),
        tuple(ports),
    )


def _top(modules: Mapping[str, Any], top: str | None) -> str:
    if top is not None:
        if top not in modules:
            raise unknown("module", top, modules)
        return top
    designs = [name for name, module in modules.items() if _is_design(module)]
    marked = [name for name in designs if str(_attributes(modules[name]).get("top", "0")).endswith("1")]
    found = marked or designs
    if len(found) != 1:
        listed = ", ".join(found[:5]) or "none"
        raise GraphnasError(f"expected one module with cells, found {len(found)} ({listed}); name the top module")
    return found[0]


def _is_design(module: object) -> bool:
    return isinstance(module, dict) and bool(module.get("cells"))


def _attributes(module: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = module.get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def _table(holder: Any, key: str, where: str) -> dict[str, Any]:
    table = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(table, dict):
        raise GraphnasError(f"{where} has no table {key!r}; it is no netlist written by yosys' write_json")
    return table


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise GraphnasError(f"{where} has no list of bits")
    return value


def _net_names(module: Mapping[str, Any], bits: Mapping[int, int]) -> tuple[str, ...]:
    """A name for every net: the first public one of ``netnames``, else one made from the number of its bit."""
    found = {net: f"n{bit}" for bit, net in bits.items()}
    taken: set[int] = set()
    table = module.get("netnames")
    for name, entry in table.items() if isinstance(table, dict) else ():
        if not isinstance(entry, dict) or entry.get("hide_name") or not isinstance(entry.get("bits"), list):
            continue
        for place, bit in enumerate(entry["bits"]):
            net = bits.get(bit) if type(bit) is int else None
            if net is not None and net not in taken:
                taken.add(net)
                found[net] = name if len(entry["bits"]) == 1 else f"{name}[{place}]"
    return tuple(found[net] for net in range(len(bits)))
