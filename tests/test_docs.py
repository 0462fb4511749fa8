"""The documentation is true: its code runs and prints what the page shows, its links lead somewhere, its commands parse.

Comments above a code block say how it is treated: ``<!-- not run -->``, ``<!-- output varies -->`` (above the output),
``<!-- needs FILE -->`` (in GRAPHNAS_DATA), ``<!-- run -->`` (a console block whose output is compared), and
``<!-- file NAME -->`` (a file of the example package, which is built, installed and then used by the rest of its page).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from graphnas.cli import app, main
from graphnas.data import find

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"(?P<marks>(?:^<!--[^\n]*-->\n\n?)*)^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
_TIMES = re.compile(r'\d+\.\d+ s\b|(?<="seconds": )[\d.]+')
_PART = "\x00"


class Block(NamedTuple):
    """A fenced block: the comments above it, its language, its text, its line, and the output shown below it."""

    marks: tuple[str, ...]
    kind: str
    body: str
    line: int
    output: str | None

    def marked(self, word: str) -> str | None:
        """What stands after ``word`` in the comments above; None when no comment starts with it."""
        return next((m[len(word) :].strip() for m in self.marks if m.startswith(word)), None)


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    result = []
    for match, after in zip(found, [*found[1:], None], strict=False):
        shown = None
        if after is not None and after["kind"] == "text" and not text[match.end() : after.start()].strip():
            shown = None if "output varies" in after["marks"] else after["body"]
        marks = tuple(re.findall(r"<!-- *(.*?) *-->", match["marks"]))
        line = text.count("\n", 0, match.start("body"))
        result.append(Block(marks, match["kind"], match["body"], line, shown))
    return result


def code_of(page: Path) -> Iterator[Block]:
    """The blocks to execute; the test is skipped at the first one whose data is missing."""
    for block in blocks(page):
        if block.kind != "python" or block.marked("not run") is not None or block.marked("file") is not None:
            continue
        needed = block.marked("needs")
        if needed and find(needed) is None:
            pytest.skip(f"{needed} is not in GRAPHNAS_DATA: {page.name} was run up to line {block.line}")
        yield block


def has(page: Path, *, package: bool) -> bool:
    return any(b.kind == "python" for b in blocks(page)) and package == is_package(page)


def is_package(page: Path) -> bool:
    return any(b.marked("file") is not None for b in blocks(page))


def runs_commands(page: Path) -> bool:
    return any(b.kind == "console" and b.marked("run") is not None for b in blocks(page))


def test_there_is_something_to_check() -> None:
    assert {"README.md", "CHANGELOG.md", "concepts.md", "cli.md", "extending.md"} <= {page.name for page in PAGES}
    assert sum(len(blocks(page)) for page in PAGES) > 40
    assert [page.name for page in PAGES if is_package(page)] == ["extending.md"]
    assert [page.name for page in PAGES if runs_commands(page)] == ["cli.md", "extending.md"]


@pytest.mark.parametrize("page", [p for p in PAGES if has(p, package=False)], ids=lambda p: p.name)
def test_code_runs_and_prints_what_is_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in code_of(page):
        printed = io.StringIO()
        # The line numbers of a traceback are then those of the page.
        code = compile("\n" * block.line + block.body, str(page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block.output is not None:
            assert printed.getvalue() == block.output, f"{page.name}, line {block.line}"


@pytest.mark.parametrize("page", [p for p in PAGES if has(p, package=True)], ids=lambda p: p.name)
def test_the_example_package_installs_and_its_page_is_true(page: Path, tmp_path: Path) -> None:
    source, site, work = (tmp_path / name for name in ("source", "site", "work"))
    source.mkdir()
    work.mkdir()
    for block in blocks(page):
        name = block.marked("file")
        if name is not None:
            (source / name).write_text(block.body, encoding="utf-8")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run([*install, "--target", str(site), str(source)], capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr
    parts = list(code_of(page))
    script = f"\nprint({_PART!r}, end='')\n".join(block.body for block in parts)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=work, env=environment
    )
    assert done.returncode == 0, done.stderr
    for block, printed in zip(parts, done.stdout.split(_PART), strict=True):
        if block.output is not None:
            assert printed == block.output, f"{page.name}, line {block.line}"

    def elsewhere(words: list[str]) -> tuple[str, str, int]:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work, env=environment)
        return done.stdout, done.stderr, done.returncode

    check_consoles(page, elsewhere)


def commands_of(block: Block) -> list[tuple[list[str], str]]:
    """The words of every ``$`` line of a console block, with the output shown below it."""
    body = block.body.replace("\\\n", " ")
    parts = re.split(r"^\$ ", body, flags=re.M)[1:]
    return [(shlex.split(part.split("\n", 1)[0], comments=True), part.split("\n", 1)[1]) for part in parts]


CONSOLES = [(page, block) for page in PAGES for block in blocks(page) if block.kind == "console"]


@pytest.mark.parametrize(
    ("page", "block"), CONSOLES, ids=lambda value: getattr(value, "name", getattr(value, "line", None))
)
def test_commands_parse(page: Path, block: Block) -> None:
    group: Any = typer.main.get_command(app)
    wrong = block.marked("wrong") is not None
    for words, _ in commands_of(block):
        if words[0] != "graphnas" or len(words) == 1 or words[1].startswith("--") or wrong:
            continue
        context = group.make_context("graphnas", words[1:2], resilient_parsing=True)
        command = group.get_command(context, words[1])
        assert command is not None, f"{page.name}, line {block.line}: there is no command {words[1]!r}"
        if "--help" not in words:
            command.make_context(words[1], words[2:], parent=context)  # raises on unknown options or missing arguments


@pytest.mark.parametrize("page", [p for p in PAGES if runs_commands(p) and not is_package(p)], ids=lambda p: p.name)
def test_commands_print_what_is_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def here(words: list[str]) -> tuple[str, str, int]:
        monkeypatch.setattr(sys, "argv", words)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        return out.getvalue(), err.getvalue(), ended.value.code  # type: ignore[return-value]

    check_consoles(page, here)


def check_consoles(page: Path, call: Callable[[list[str]], tuple[str, str, int]]) -> None:
    """Call every command of the blocks to run; output (times and progress lines apart) and exit code must be as shown."""
    for block in blocks(page):
        if block.kind != "console" or block.marked("run") is None:
            continue
        needed = block.marked("needs")
        if needed and find(needed) is None:
            pytest.skip(f"{needed} is not in GRAPHNAS_DATA: commands of {page.name} were run up to line {block.line}")
        for words, shown in commands_of(block):
            assert words[0] == "graphnas"
            out, err, code = call(words)
            told = [line for line in err.splitlines(keepends=True) if not re.match(r"trial \d+: best", line)]
            found = out + "".join(told)
            assert _TIMES.sub("?", found) == _TIMES.sub("?", shown), f"{page.name}, line {block.line}: {words}"
            assert code == (2 if block.marked("wrong") is not None else 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(path), f"{page.name} links to {target}; there are {sorted(anchors(path))}"


def anchors(page: Path) -> set[str]:
    """The names under which headings can be linked to, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_no_page_names_a_path_of_somebody_s_machine() -> None:
    for page in PAGES:
        found = re.findall(r"(?<![\w./])/(?:home|work|root|tmp|Users)/\S*", page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found}"
