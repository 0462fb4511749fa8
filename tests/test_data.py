"""Data folders, downloads and whole-or-nothing files."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from graphnas.data import cache_path, download, find, require
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, replacing, save_npz


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


# -- where data lives -----------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made = [tmp_path / name for name in ("first", "second", "cache")]
    for folder in made:
        folder.mkdir()
    monkeypatch.setenv("GRAPHNAS_DATA", os.pathsep.join(map(str, made[:2])))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(made[2]))
    return made


def test_folders_are_searched_in_order_and_the_cache_last(folders: list[Path]) -> None:
    assert find("a/b.npz") is None
    for folder in reversed(folders):
        (folder / "a").mkdir()
        (folder / "a" / "b.npz").touch()
        assert find("a/b.npz") == folder / "a" / "b.npz"
    assert cache_path("a/b.npz") == folders[2] / "a" / "b.npz"


def test_a_missing_file_is_named_with_the_way_to_get_it(folders: list[Path]) -> None:
    with pytest.raises(GraphnasError, match=r"x\.npz is missing .*GRAPHNAS_DATA.*run this command$") as caught:
        require("x.npz", "run this command")
    assert all(str(folder) in str(caught.value) for folder in folders)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "C:x"])
def test_names_that_leave_the_folder_are_refused(name: str, folders: list[Path]) -> None:
    for function in (find, cache_path):
        with pytest.raises(GraphnasError, match="relative path"):
            function(name)


# -- downloads ------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file").write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_a_verified_download_arrives_and_is_not_fetched_twice(server: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    assert download(f"{server}/file", DIGEST, target, 1 << 21).read_bytes() == CONTENT
    assert download("http://127.0.0.1:9/closed", DIGEST, target, 1 << 21) == target  # no connection is tried
    assert files_below(tmp_path / "new") == {"file"}


@pytest.mark.parametrize(
    ("name", "digest", "limit", "message"),
    [
        ("file", "0" * 64, 1 << 21, "SHA-256 digest"),
        ("file", DIGEST, 1000, "larger than the 1000 bytes"),
        ("absent", DIGEST, 1 << 21, "cannot download .*not found"),
    ],
)
def test_a_bad_download_leaves_the_old_file(
    server: str, tmp_path: Path, name: str, digest: str, limit: int, message: str
) -> None:
    target = tmp_path / "new" / "file"
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(GraphnasError, match=message):
        download(f"{server}/{name}", digest, target, limit)
    assert target.read_bytes() == b"old"
    assert files_below(target.parent) == {"file"}


def test_offline_errors_say_where_to_put_the_file(tmp_path: Path) -> None:
    with pytest.raises(GraphnasError, match=r"without a network, put the file at .*target") as caught:
        download("http://127.0.0.1:9/x", DIGEST, tmp_path / "target", 10)
    assert "\n" not in str(caught.value)
    with pytest.raises(GraphnasError, match="https://"):
        download("file:///etc/passwd", DIGEST, tmp_path / "target", 10)
    assert files_below(tmp_path) == set()


# -- files ----------------------------------------------------------------------------------------


def test_a_failing_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(path) as file:  # noqa: PT012
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert files_below(tmp_path) == {"x"}
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_an_impossible_folder_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GraphnasError, match="cannot write"), replacing(tmp_path / "file" / "x"):
        pass


def test_npz_files_agree_with_numpy_both_ways(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.integers(0, 9, (3, 4), dtype=np.int16),
        "f/x": np.asfortranarray(rng.random((5, 6))),
        "text": np.array(["one", "three"]),
        "scalar": np.array("word"),
        "empty": np.zeros((0, 3)),
    }
    ours = save_npz(tmp_path / "ours.npz", arrays)
    theirs = tmp_path / "theirs.npz"
    np.savez(theirs, **arrays)
    with np.load(ours, allow_pickle=False) as read:
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
    for path in (ours, theirs):
        read_back = load_npz(path)
        assert set(read_back) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read_back[name], array)
            assert read_back[name].dtype == array.dtype
    assert list(load_npz(ours, ["a"])) == ["a"]
    again = save_npz(tmp_path / "again.npz", arrays)
    assert again.read_bytes() == ours.read_bytes()


def test_every_truncation_of_an_npz_file_is_noticed(tmp_path: Path) -> None:
    whole = save_npz(tmp_path / "whole.npz", {"a": np.arange(200), "b": np.ones(50)}).read_bytes()
    cut = tmp_path / "cut.npz"
    for size in range(0, len(whole), 7):
        cut.write_bytes(whole[:size])
        with pytest.raises(GraphnasError, match="not a readable npz archive"):
            load_npz(cut)


def test_hostile_npz_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(GraphnasError, match="not a readable npz"):
        load_npz(path)
    with pytest.raises(GraphnasError, match="Python objects"):
        save_npz(path, {"a": np.array([None])})
    np.savez_compressed(path, a=np.zeros(1_000_000))
    with pytest.raises(GraphnasError, match="at most 100000 are accepted"):
        load_npz(path, max_bytes=100_000)
    with pytest.raises(GraphnasError, match="lacks the array 'b'"):
        load_npz(path, ["b"])
    with pytest.raises(GraphnasError, match="does not exist"):
        load_npz(tmp_path / "absent.npz")
    lie = io.BytesIO()  # a header that claims 8 terabytes
    np.lib.format.write_array_header_1_0(lie, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", lie.getvalue() + bytes(80))
    with pytest.raises(GraphnasError, match="size that its header tells"):
        load_npz(path)
