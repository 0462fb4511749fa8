"""The outside programs of the open flow: where they are, which version, and how they are run with a time limit."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graphnas.errors import GraphnasError

PACKAGES = {"yosys": "yosys", "qrouter": "qrouter"}
"""Program -> Debian package that holds it."""
OSU035 = Path("/usr/share/qflow/tech/osu035")
"""Where the Debian package qflow-tech-osu035 puts the OSU 0.35 um library."""


def program(name: str) -> str:
    """The path of an outside program.

    Raises:
        GraphnasError: it is not installed; the sentence names the Debian package.
    """
    found = shutil.which(name)
    if found is None:
        package = PACKAGES.get(name, name)
        raise GraphnasError(f"{name} is not installed; run `apt-get install {package}` or `make eda-tools`")
    return found


def osu035(kind: str) -> Path:
    """A file of the OSU 0.35 um standard cell library: ``lef`` (shapes) or ``lib`` (liberty).

    Raises:
        GraphnasError: the library is not installed; the sentence names the Debian package.
    """
    path = OSU035 / f"osu035_stdcells.{kind}"
    if not path.is_file():
        raise GraphnasError(
            f"the OSU035 library is not installed ({path} is missing); "
            "run `apt-get install qflow-tech-osu035` or `make eda-tools`"
        )
    return path


def missing() -> tuple[str, ...]:
    """What the flow from a mapped netlist still lacks here: Debian and Python packages; empty when it can run."""
    absent = [package for name, package in PACKAGES.items() if name != "yosys" and shutil.which(name) is None]
    if not (OSU035 / "osu035_stdcells.lef").is_file():
        absent.append("qflow-tech-osu035")
    if _installed("coloquinte") == "not installed":
        absent.append("coloquinte (pip install 'graphnas[eda]')")
    return tuple(absent)


def run(command: Sequence[str], folder: Path, time_limit: float) -> str:
    """Run a program in a folder and return what it printed; it and its children are ended at the time limit.

    Args:
        command: program and arguments.
        folder: working directory.
        time_limit: seconds.

    Raises:
        GraphnasError: the program did not end in time, could not be started or failed.
    """
    name = Path(command[0]).name
    try:
        # Its own session, so that a shell script's children end with it.
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise GraphnasError(f"cannot start {name} ({error.strerror or error}); is it installed?") from None
    try:
        output, _ = process.communicate(timeout=time_limit)
    except subprocess.TimeoutExpired:
        raise GraphnasError(
            f"{name} did not end within {time_limit:g} seconds; give a higher limit or less work"
        ) from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        last = next((line for line in reversed(output.splitlines()) if line.strip()), "it printed nothing")
        raise GraphnasError(f"{name} failed with code {process.returncode}: {last.strip()[:300]}")
    return output


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of the tools that labels depend on; "not installed" for what is not there."""
    found = {package: _installed(package) for package in ("coloquinte", "numpy", "scipy")}
    return {**found, "qrouter": _qrouter_version()}


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _qrouter_version() -> str:
    if shutil.which("qrouter") is None:
        return "not installed"
    try:
        printed = run([program("qrouter"), "-noc", "-nog", "-v", "0"], Path.cwd(), 5.0)
    except GraphnasError:
        return "unknown"
    words = printed.split()
    return words[words.index("version") + 1] if "version" in words[:-1] else "unknown"
