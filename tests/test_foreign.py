"""Hostile archives and pickles."""

from __future__ import annotations

import bz2
import collections
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from graphnas.errors import GraphnasError
from graphnas.foreign import NUMBERS, SPARSE, load_pickle, read_tar, read_tar_member, safe_extract, unpack_bz2


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


# -- archives -------------------------------------------------------------------------------------


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def plain(name: str, data: bytes = b"data") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), data


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def test_tar_members_are_read_without_touching_the_disk(tmp_path: Path) -> None:
    content = os.urandom(5000)
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        path = tar_of(
            tmp_path / "x.tar",
            plain("./a/one", content),
            special("link", tarfile.SYMTYPE, "/etc/passwd"),
            plain("two"),
            mode=mode,
        )
        assert dict(read_tar(path, max_member_bytes=5000, max_total_bytes=10_000)) == {
            "./a/one": content,
            "two": b"data",
        }
        assert read_tar_member(path, "a/one", max_bytes=5000) == content
        with pytest.raises(GraphnasError, match="no file 'link'"):
            read_tar_member(path, "link", max_bytes=5000)
        with pytest.raises(GraphnasError, match="has 5000 bytes; at most 4999"):
            list(read_tar(path, max_member_bytes=4999, max_total_bytes=10_000))
        with pytest.raises(GraphnasError, match="was refused"):
            list(read_tar(path, max_member_bytes=5000, max_total_bytes=5001))
        with pytest.raises(GraphnasError, match="was refused"):
            list(read_tar(path, max_member_bytes=5000, max_total_bytes=10_000, max_members=1))
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(GraphnasError, match="get it again"):
            list(read_tar(path, max_member_bytes=5000, max_total_bytes=10_000))
    assert files_below(tmp_path) == {"x.tar"}


@pytest.mark.parametrize("mode", ["w", "w:gz", "zip"])
def test_good_archives_unpack_to_what_they_hold(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x"
    if mode == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("d/", b"")
            archive.writestr("d/one", b"1")
            archive.writestr("two", b"22")
    else:
        tar_of(path, special("d", tarfile.DIRTYPE), plain("d/one", b"1"), plain("two", b"22"), mode=mode)
    out = safe_extract(path, tmp_path / "out", max_bytes=3)
    assert files_below(out) == {"d", "d/one", "two"}
    assert (out / "d" / "one").read_bytes() == b"1"
    assert (out / "two").read_bytes() == b"22"
    with pytest.raises(GraphnasError, match="already exists"):
        safe_extract(path, out, max_bytes=3)
    with pytest.raises(GraphnasError, match="refused"):
        safe_extract(path, tmp_path / "other", max_bytes=2)
    assert files_below(tmp_path) == {"x", "out", "out/d", "out/d/one", "out/two"}


@pytest.mark.parametrize(
    "member",
    [
        plain("../escaped"),
        plain("a/../../escaped"),
        plain("/tmp/graphnas-escaped"),
        plain("a\\..\\b"),
        special("s", tarfile.SYMTYPE, "/etc"),
        special("h", tarfile.LNKTYPE, "good"),
        special("f", tarfile.FIFOTYPE),
        special("c", tarfile.CHRTYPE),
    ],
    ids=lambda m: m[0].name,
)
def test_hostile_tar_members_are_refused_and_nothing_is_left(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes]
) -> None:
    path = tar_of(tmp_path / "x.tar", plain("good"), member)
    with pytest.raises(GraphnasError, match="was refused"):
        safe_extract(path, tmp_path / "out", max_bytes=1000)
    assert files_below(tmp_path) == {"x.tar"}
    assert not Path("/tmp/graphnas-escaped").exists()


def test_hostile_zip_members_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    for info in (zipfile.ZipInfo("../x"), zipfile.ZipInfo("/x"), link):
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(info, b"/etc/passwd")
        with pytest.raises(GraphnasError, match="was refused"):
            safe_extract(path, tmp_path / "out", max_bytes=1000)
        assert files_below(tmp_path) == {"x.zip"}


def test_bz2_is_bounded_and_complete() -> None:
    packed = bz2.compress(bytes(100_000))
    assert unpack_bz2(packed, "x", 100_000) == bytes(100_000)
    for data, message in ((packed[:-5], "truncated"), (b"no bz2", "not bzip2")):
        with pytest.raises(GraphnasError, match=message):
            unpack_bz2(data, "x", 100_000)
    with pytest.raises(GraphnasError, match="more than the 99999 bytes"):
        unpack_bz2(packed, "x", 99_999)


# -- pickles --------------------------------------------------------------------------------------


class Hostile:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_command_is_refused_unrun(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "executed"
    for call in (
        Hostile(os.system, f"touch {marker}"),
        Hostile(eval, f"open({str(marker)!r}, 'w')"),
        Hostile(open, str(marker), "w"),
    ):
        path = tmp_path / "x.pickle"
        path.write_bytes(pickle.dumps({"numbers": [1.0, call]}, protocol))
        with pytest.raises(GraphnasError, match=r"refused the pickle: it names '(posix|nt|builtins|io|_io)\."):
            load_pickle(path, SPARSE)
        assert not marker.exists()


def test_attributes_of_allowed_modules_are_out_of_reach() -> None:
    # protocol 4 names may have dots: numpy + "_core.multiarray.os.system" must not become an attribute walk
    for module, name in (
        ("numpy", "os.system"),
        ("collections", "abc.sys.modules"),
        ("builtins", "getattr"),
        ("numpy", "load"),
    ):
        data = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name)) + b"\x93."
        with pytest.raises(GraphnasError, match="refused the pickle"):
            load_pickle(data, SPARSE)
    codec = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R."
    with pytest.raises(GraphnasError, match="codec 'zlib'"):
        load_pickle(codec)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("old_names", [False, True])
def test_numbers_and_containers_come_through(protocol: int, old_names: bool) -> None:
    value = collections.OrderedDict(
        a=np.float64(0.25), b=np.arange(6, dtype=np.int32).reshape(2, 3), c=[1, "text", None, b"bytes"], d=np.float32(2)
    )
    value["e"] = collections.defaultdict(list, {("cifar10", 777): [1.5]})
    data = pickle.dumps(value, protocol)
    if old_names and b"numpy._core" in data:
        assert protocol < 4 or data.count(b"numpy._core") > 0
        if protocol < 4:  # names end with a newline
            data = data.replace(b"numpy._core", b"numpy.core")
        else:  # names are preceded by their length
            for name in (b"numpy._core.multiarray", b"numpy._core.numeric"):
                short = name.replace(b"_core", b"core")
                data = data.replace(bytes([len(name)]) + name, bytes([len(short)]) + short)
            head = data.find(b"\x95")
            data = data[:head] + data[head + 9 :]  # the frame's length no longer holds
    read = load_pickle(data)
    assert isinstance(read, collections.OrderedDict)
    assert read["a"] == 0.25
    np.testing.assert_array_equal(read["b"], value["b"])
    assert (read["c"], read["d"], dict(read["e"])) == (value["c"], 2, {("cifar10", 777): [1.5]})


@pytest.mark.parametrize("protocol", [2, 4])
def test_sparse_matrices_need_their_own_permission(protocol: int) -> None:
    matrix = scipy.sparse.csr_matrix(np.eye(4)[:, ::-1])
    data = pickle.dumps(matrix, protocol)
    np.testing.assert_array_equal(load_pickle(data, SPARSE).toarray(), matrix.toarray())
    with pytest.raises(GraphnasError, match="csr_matrix"):
        load_pickle(data, NUMBERS)


def test_broken_pickles_give_one_sentence(tmp_path: Path) -> None:
    data = pickle.dumps({"a": np.arange(50), "b": list(range(100))})
    path = tmp_path / "x.pickle"
    for size in range(0, len(data), 11):
        path.write_bytes(data[:size])
        with pytest.raises(GraphnasError, match="not a readable pickle"):
            load_pickle(path)
    path.write_bytes(data)
    with pytest.raises(GraphnasError, match="more than the 100 bytes"):
        load_pickle(path, max_bytes=100)
    with pytest.raises(GraphnasError, match="does not exist"):
        load_pickle(tmp_path / "absent")
