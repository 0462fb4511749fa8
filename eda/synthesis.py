"""Verilog to a netlist of OSU035 cells, by yosys."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from eda.netlist import Netlist, read_netlist
from eda.tools import osu035, program, run
from graphnas.errors import GraphnasError

# OSU035 has no cells that tie a net to a constant, so constants stay as they are and are not routed (no hilomap).
_SCRIPT = """\
read_verilog {sources}
hierarchy -check {top}
proc; flatten; opt; memory; opt; fsm; opt; techmap; opt
dfflibmap -liberty {liberty}
abc -liberty {liberty}
setundef -zero
splitnets -ports
opt_clean -purge
write_json netlist.json
"""


def synthesise(sources: Sequence[Path | str], top: str | None = None, *, time_limit: float = 600.0) -> Netlist:
    """Map Verilog files to OSU035 cells.

    Args:
        sources: Verilog files of one design.
        top: name of the top module; by default yosys looks for it.
        time_limit: seconds.

    Returns:
        The flat netlist.

    Raises:
        GraphnasError: yosys or the library is not installed (the sentence names the Debian package), a file is missing,
            yosys rejects the design, or no cell is left of it.
    """
    if not sources:
        raise GraphnasError("no Verilog file was given")
    files = [Path(source).resolve() for source in sources]
    for file in files:
        if not file.is_file():
            raise GraphnasError(f"{file} does not exist")
        _plain(file)
    if top is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]*", top):
        raise GraphnasError(f"{top!r} is no name of a Verilog module")
    command = program("yosys")
    script = _SCRIPT.format(
        sources=" ".join(f'"{file}"' for file in files),
        top="-auto-top" if top is None else f"-top {top}",
        liberty=osu035("lib"),
    )
    with tempfile.TemporaryDirectory(prefix="graphnas-") as name:
        folder = Path(name)
        (folder / "run.ys").write_text(script)
        run([command, "-q", "-s", "run.ys"], folder, time_limit)
        netlist = read_netlist(folder / "netlist.json", top)
    if not netlist.cells:  # -auto-top may choose a module that is empty
        raise GraphnasError(f"no cell is left of {netlist.design!r} after synthesis; name the top module")
    return netlist


def _plain(file: Path) -> None:
    """Refuse a path that would end its quoted word in a yosys script."""
    if any(letter in str(file) for letter in '"\n\\'):
        raise GraphnasError(f"the path {str(file)!r} has a quote, backslash or line break, which yosys cannot take")
