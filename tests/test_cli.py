"""The command line: every command end to end, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graphnas import registry
from graphnas.architecture import Architecture, node
from graphnas.cli import main

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command in this process: (exit code, stdout, stderr)."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["graphnas", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


@pytest.fixture
def table_store(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "table.db"
    code, _, err = cli("search", "nasbench_graph", "--on", "nasbench_graph/cora", "--budget", 60, "--store", path)
    assert code == 0, err
    return path


def test_spaces_tasks_and_strategies_are_listed(cli: Cli) -> None:
    code, out, err = cli("spaces", "--json")
    assert code == 0, err
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["nasbench201"]["size"] == 15_625
    assert rows["nasbench101"]["size"] == 423_624
    assert rows["nasbench_graph"]["size"] == 26_206
    assert "nasbench201/cifar10" in rows["nasbench201"]["tables"]
    assert "15,625" in cli("spaces")[1]
    assert set(json.loads(cli("strategies", "--json")[1])) >= {"random", "evolution", "local_search", "policy_gradient"}
    assert "digits" in cli("tasks")[1].split()
    assert json.loads(cli("tasks", "digits", "--json")[1])["input"] == [1, 8, 8]


def test_search_resume_show_report_on_a_table(cli: Cli, table_store: Path, tmp_path: Path) -> None:
    code, out, _ = cli("show", table_store, "--json", "--top", 3)
    shown = json.loads(out)
    assert code == 0
    assert shown["trials"] == 60
    assert len(shown["best"]) == 3

    code, out, _ = cli("resume", table_store, "--budget", 90, "--json")
    resumed = json.loads(out)
    assert code == 0
    assert resumed["trials"] == 90

    whole = json.loads(cli("search", "nasbench_graph", "--on", "nasbench_graph/cora", "--budget", 90, "--json")[1])
    assert whole["best"] == resumed["best"]

    page = tmp_path / "report.html"
    code, out, _ = cli("report", table_store, "-o", page)
    assert code == 0
    html = page.read_text()
    best = resumed["best"]
    value = next(v for k, v in best.items() if k.startswith("validation"))
    assert f"{value:.2f}" in html or f"{value:.1f}" in html
    assert "random search" in html
    assert "graphnas search nasbench_graph" in html


def test_the_command_in_a_report_reproduces_the_search(cli: Cli, tmp_path: Path) -> None:
    from graphnas.results import read

    first, second = tmp_path / "first.db", tmp_path / "second.db"
    cli(
        "search", "nasbench201", "--on", "digits", "--strategy", "evolution", "--budget", 3, "--epochs", 1,
        "--size", "channels=4", "--size", "cells=1", "--data", 0.2, "--option", "population=2", "--store", first,
    )  # fmt: skip
    command = read(first).needs_settings().shell(str(second))
    import shlex

    cli(*shlex.split(command)[1:])
    a, b = ([(t.number, t.key, t.score, t.seed) for t in read(path).trials] for path in (first, second))
    assert len(a) == 3
    assert a == b


def test_export_writes_each_form(cli: Cli, tmp_path: Path) -> None:
    import torch

    store = tmp_path / "run.db"
    code, _, err = cli(
        "search",
        "nasbench_graph",
        "--on",
        "karate",
        "--budget",
        3,
        "--epochs",
        5,
        "--size",
        "channels=8",
        "--store",
        store,
    )
    assert code == 0, err
    for form in ("json", "svg", "dot"):
        assert cli("export", store, "--to", form, "-o", tmp_path / f"a.{form}")[0] == 0
    architecture = Architecture.from_json((tmp_path / "a.json").read_text())
    assert registry.get_space("nasbench_graph").contains(architecture)
    assert cli("export", tmp_path / "a.json", "--to", "svg", "-o", tmp_path / "b.svg")[0] == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()

    code, _, err = cli("export", store, "--to", "python", "--train", "-o", tmp_path / "network.py")
    assert code == 0, err
    # A fresh interpreter in which graphnas cannot be imported runs the exported network.
    script = (
        "import sys; sys.modules['graphnas'] = None\n"
        "import torch\n"
        "from network import Network\n"
        "from torch_geometric.datasets import KarateClub\n"
        "n = Network(); n.load_state_dict(torch.load('network.pt', weights_only=True)); n.eval()\n"
        "d = KarateClub()[0]\n"
        "torch.save(n(d.x, d.edge_index), 'out.pt')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, capture_output=True)
    found = torch.load(tmp_path / "out.pt", weights_only=True)

    from graphnas.results import read

    stored = read(store)
    estimator = stored.needs_settings().estimator()
    assert stored.best is not None
    network, _ = estimator.train(stored.best.architecture, seed=stored.best.seed)  # type: ignore[attr-defined]
    batch = next(iter(estimator.task.batches("validation")))  # type: ignore[attr-defined]
    assert torch.allclose(found, network(*batch.inputs), rtol=1e-5, atol=1e-5)  # the network sums in another order

    code, out, err = cli("export", store, "--to", "onnx", "-o", tmp_path / "network.onnx", "--json")
    assert code == 0, err
    assert json.loads(out)["largest_difference_to_pytorch"] < 1e-4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "nasbench20", "--on", "digits"], "unknown space 'nasbench20'; nearest: nasbench201"),
        (["search", "nasbench201", "--on", "digit"], "unknown task or table 'digit'; nearest: digits"),
        (["search", "nasbench201", "--on", "nasbench201/cifar1"], "nearest: nasbench201/cifar10"),
        (["search", "nasbench201", "--on", "digits", "--strategy", "evolutoin"], "nearest: evolution"),
        (["search", "nasbench201", "--on", "nasbench_graph/cora"], "holds architectures of nasbench_graph"),
        (["search", "nasbench201", "--on", "karate"], "builds networks for image tasks"),
        (["search", "nasbench_graph", "--on", "nasbench_graph/cora", "--epochs", "3"], "is a table and trains nothing"),
        (["search", "nasbench201", "--on", "digits", "--stratgy", "random"], "--strategy"),
        (["search", "nasbench201", "--on", "digits", "--budget", "0"], "--budget"),
        (["search", "nasbench201", "--on", "digits", "--option", "population"], "NAME=VALUE"),
        (["search", "nasbench201", "--on", "digits", "--option", "populaton=3"], "populaton"),
        (["search", "nasbench201", "--on", "digits", "--size", "chanels=3"], "nearest: channels"),
        (["search", "nasbench201"], "--on"),
        (["serch"], "serch"),
        (["show", "absent.db"], "there is no store absent.db"),
        (["resume", "absent.db"], "there is no store absent.db"),
        (["report", "absent.db"], "there is no store absent.db"),
        (["export", "absent.db", "--to", "svg"], "there is no file absent.db"),
        (["import", "nasbench202", "x"], "unknown benchmark 'nasbench202'; nearest: nasbench201"),
        (["import", "nasbench101", "absent.tfrecord"], "absent.tfrecord"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    cli: Cli, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("graphnas: ")
    assert err.count("\n") == 1, err
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [
                {"op": "input"},
                {"op": "sum", "inputs": [2]},
                {"op": "sum", "inputs": [1]},
                {"op": "output", "inputs": [1]},
            ],
            "cycle",
        ),
        ([{"op": "input"}, {"op": "output", "inputs": [7]}], "does not exist"),
        ([{"op": "input"}, {"op": "conv 3", "inputs": [0]}, {"op": "output", "inputs": [1]}], "op name"),
        ([{"op": "input"}], "needs a node with op 'output'"),
    ],
)
def test_a_broken_architecture_file_is_refused(cli: Cli, nodes: list[object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"format": "graphnas.architecture", "version": 1, "nodes": nodes}))
    code, _, err = cli("export", path, "--to", "svg", "-o", tmp_path / "a.svg")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "a.svg").exists()


def test_an_unknown_op_is_drawn_but_never_compiled(cli: Cli, tmp_path: Path) -> None:
    from graphnas.compile import compile
    from graphnas.errors import GraphnasError

    network = Architecture([node("input", name="x", shape=(3, 8, 8)), node("nor_conv_33", (0,)), node("output", (1,))])
    with pytest.raises(GraphnasError, match=r"node 1.*unknown operation 'nor_conv_33'; nearest: nor_conv_3x3"):
        compile(network)


def test_a_corrupt_store_is_refused_and_kept(cli: Cli, table_store: Path) -> None:
    content = table_store.read_bytes()
    table_store.write_bytes(content[: len(content) // 2])
    for command in ("show", "resume", "report"):
        words = [command, table_store] + (["-o", table_store.with_suffix(".html")] if command == "report" else [])
        code, _, err = cli(*words)
        assert code == 2
        assert err.count("\n") == 1
    assert table_store.read_bytes()[: len(content) // 2] == content[: len(content) // 2]
    assert not table_store.with_suffix(".html").exists()


def test_interrupting_keeps_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    store = tmp_path / "run.db"
    command = [
        sys.executable, "-m", "graphnas", "search", "nasbench201", "--on", "digits", "--epochs", "1", "--data", "0.2",
        "--size", "channels=4", "--size", "cells=1", "--budget", "500", "--store", str(store),
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
        # A shell that starts the tests in the background lets them, and their children, ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if sqlite3.connect(store).execute("SELECT COUNT(*) FROM trials").fetchone()[0] >= 2:
                break
        except sqlite3.Error:
            pass
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"resume with: graphnas resume {store}" in err
    assert "Traceback" not in err
    count = sqlite3.connect(store).execute("SELECT COUNT(*) FROM trials").fetchone()[0]
    assert 2 <= count < 500


def test_importing_graphnas_loads_nothing_heavy_and_all_names_exist() -> None:
    script = (
        "import sys, graphnas\n"
        "heavy = {'torch', 'torch_geometric', 'matplotlib', 'networkx', 'sklearn', 'scipy', 'ogb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in graphnas.__all__: getattr(graphnas, name)\n"
        "from graphnas.compile import compile\n"
        "from graphnas.cost import cost\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
