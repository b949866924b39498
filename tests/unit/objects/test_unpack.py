"""Archives of strangers."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.errors import NoCapacity, TrimtabError
from trimtab.objects import unpack as unpacking
from trimtab.objects.unpack import ArtifactInvalid, remove, unpack

NAME = "s3://models/model.tar.gz"


class Member:
    def __init__(self, name: str, data: bytes = b"", **fields: object) -> None:
        self.info = tarfile.TarInfo(name)
        self.info.size = len(data)
        for field, value in fields.items():
            setattr(self.info, field, value)
        self.data = data


def tar(*members: Member, compress: bool = True, format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for member in members:
            archive.addfile(member.info, io.BytesIO(member.data))
    return gzip.compress(buffer.getvalue(), 1) if compress else buffer.getvalue()


def link(name: str, target: str) -> Member:
    return Member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Member:
    return Member(name, type=tarfile.LNKTYPE, linkname=target)


def folder(name: str) -> Member:
    return Member(name, type=tarfile.DIRTYPE, mode=0o755)


class Limit:
    def __init__(self, limit_bytes: int) -> None:
        self.left = limit_bytes

    def __call__(self, size_bytes: int) -> None:
        self.left -= size_bytes
        if self.left < 0:
            raise ArtifactInvalid("over the limit")


def run(archive: bytes, into: Path, limit_bytes: int = 2**30) -> int:
    into.mkdir(exist_ok=True)
    return unpack(io.BytesIO(archive), into, name=NAME, charge=Limit(limit_bytes))  # type: ignore[arg-type]


def contents(into: Path) -> dict[str, bytes]:
    return {str(p.relative_to(into)): p.read_bytes() for p in into.rglob("*") if p.is_file()}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "down" / "model"


@pytest.fixture(autouse=True)
def _make_parents(into: Path) -> None:
    into.mkdir(parents=True)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_files_come_out_as_they_went_in(into: Path, compress: bool, format: int) -> None:
    big = os.urandom(3 * 2**20 + 17)
    files = {"model.onnx": big, "code/inference.py": b"import os\n", "code/lib/x.py": b"", "exact": bytes(1024)}
    archive = tar(folder("code"), *(Member(n, d) for n, d in files.items()), compress=compress, format=format)
    assert run(archive, into) == sum(map(len, files.values()))
    assert contents(into) == files


def test_the_empty_first_name_of_the_sagemaker_sdk_is_the_folder_itself(into: Path) -> None:
    archive = tar(folder(""), Member("model.joblib", b"m"), folder("./"), Member("./code/inference.py", b"i"))
    run(archive, into)
    assert contents(into) == {"model.joblib": b"m", "code/inference.py": b"i"}


def test_a_real_tar_of_the_sdk_form_is_unpacked(into: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.pt").write_bytes(b"weights")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(source, arcname=os.path.sep)  # what sagemaker 2.x does
    run(buffer.getvalue(), into)
    assert contents(into) == {"model.pt": b"weights"}


def test_what_is_unpacked_is_read_only(into: Path) -> None:
    run(tar(Member("a/run.sh", b"", mode=0o4755), Member("a/b", b"", mode=0o2666)), into)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in [into, *into.rglob("*")]}
    assert modes == {"model": 0o555, "a": 0o555, "run.sh": 0o555, "b": 0o444}  # and neither setuid nor setgid


def test_links_within_the_model_are_kept(into: Path) -> None:
    archive = tar(
        Member("v1/model", b"m"),
        hard_link("again", "v1/model"),
        link("current", "v1"),
        link("v1/up", "../again"),
        link("chain", "current/model"),
    )
    run(archive, into)
    assert (into / "current" / "model").read_bytes() == (into / "chain").read_bytes() == b"m"
    assert os.path.samefile(into / "again", into / "v1" / "model")
    assert (into / "v1" / "up").read_bytes() == b"m"


def test_of_two_members_of_one_name_the_later_counts(into: Path) -> None:
    run(tar(Member("a", b"old"), Member("a", b"new"), link("b", "a"), Member("b", b"file")), into)
    assert contents(into) == {"a": b"new", "b": b"file"}


BAD_MEMBERS: list[tuple[str, tuple[Member, ...], str]] = [
    ("parent", (Member("../evil", b"x"),), "leads out"),
    ("parent inside", (Member("a/../../evil", b"x"),), "leads out"),
    ("absolute", (Member("/evil", b"x"),), "absolute path"),
    ("absolute folder", (folder("/tmp/evil"),), "absolute path"),
    ("absolute link", (link("a", "/etc/passwd"),), "absolute path"),
    ("link out", (link("a", "../../etc/passwd"),), "not safe|outside"),
    ("chain out", (link("a", "b/.."), link("b", "c/.."), link("c", ".")), "outside"),
    ("chain out by folders", (folder("d/e"), link("x", "d/e"), link("y", "x/../../..")), "outside"),
    ("hard link out", (hard_link("a", "../../../etc/passwd"),), "not safe|hard link"),
    ("hard link absolute", (hard_link("a", "/etc/passwd"),), "not safe|hard link"),
    ("hard link to nothing", (hard_link("a", "b"),), "not before it"),
    ("hard link to a link", (link("a", "b"), hard_link("c", "a")), "not before it"),
    ("character device", (Member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),), "device or a pipe"),
    ("block device", (Member("sda", type=tarfile.BLKTYPE),), "device or a pipe"),
    ("pipe", (Member("pipe", type=tarfile.FIFOTYPE),), "device or a pipe"),
    ("file below a link", (link("a", "."), Member("a/b", b"x")), "which is a link"),
    ("file below a file", (Member("a", b"x"), Member("a/b", b"x")), "cannot be a file"),
    ("folder over a file", (Member("a", b"x"), folder("a")), "cannot be a file"),
    ("file over a folder", (folder("a"), Member("a", b"x")), "cannot be a file"),
    ("long name", (Member("n" * 300, b"x"),), "cannot be a file"),
    ("file without a name", (Member("", b"x"),), "no name"),
    ("nothing", (), "without any file"),
    ("folders only", (folder("a"), folder("a/b")), "without any file"),
]


@pytest.mark.parametrize(("members", "message"), [case[1:] for case in BAD_MEMBERS], ids=[c[0] for c in BAD_MEMBERS])
def test_a_member_that_must_not_be_is_refused(
    into: Path, tmp_path: Path, members: tuple[Member, ...], message: str
) -> None:
    with pytest.raises(ArtifactInvalid, match=message) as caught:
        run(tar(*members), into)
    assert NAME in str(caught.value)
    outside = [p for p in tmp_path.rglob("*") if not p.is_relative_to(into) and not into.is_relative_to(p)]
    assert outside == []


BAD_BYTES: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty object", lambda: b"", "is empty"),
    ("zip", lambda: b"PK\x03\x04" + bytes(600), "a zip file"),
    ("zstd", lambda: b"\x28\xb5\x2f\xfd" + bytes(600), "zstd"),
    ("text", lambda: b"this is not an archive" * 100, "not a tar archive"),
    ("gzip of text", lambda: gzip.compress(b"hello" * 1000), "not a gzip'd tar"),
    ("cut gzip", lambda: tar(Member("a", os.urandom(300_000)))[:200_000], "cut off"),
    ("cut gzip trailer", lambda: tar(Member("a", b"x"))[:-4], "cut off"),
    ("cut tar", lambda: tar(Member("a", os.urandom(300_000)), compress=False)[:200_000], "cut off"),
    ("cut tar at a boundary", lambda: tar(Member("a", bytes(1024)), compress=False)[:1536], "cut off"),
    ("bad checksum", lambda: _flip(tar(Member("a", b"x" * 50_000)), -6), "damaged"),
    ("one byte", lambda: b"\x1f", "not a tar"),
]


def _flip(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 0xFF
    return bytes(changed)


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in BAD_BYTES], ids=[c[0] for c in BAD_BYTES])
def test_bytes_that_are_no_archive_are_explained(into: Path, make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(ArtifactInvalid, match=message):
        run(make(), into)


class Zeros(io.RawIOBase):
    """A file of zeros, without its bytes."""

    def __init__(self, size_bytes: int) -> None:
        self.left = size_bytes

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


def _bomb(size_bytes: int) -> bytes:
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", 9) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("weights.bin")
        info.size = size_bytes
        archive.addfile(info, Zeros(size_bytes))  # type: ignore[arg-type]
    return buffer.getvalue()


def test_a_bomb_ends_before_its_file_is_written(into: Path) -> None:
    header = tarfile.TarInfo("weights.bin")
    header.size = 10 * 2**30
    archive = gzip.compress(header.tobuf() + bytes(2**20))
    with pytest.raises(ArtifactInvalid, match="limit"):
        run(archive, into, limit_bytes=2**30)
    assert contents(into) == {}


def test_a_bomb_of_many_members_ends_early(into: Path) -> None:
    archive = tar(*(Member(f"{n}") for n in range(3000)))
    with pytest.raises(ArtifactInvalid, match="limit"):
        run(archive, into, limit_bytes=2**20)
    assert len(contents(into)) < 300


def test_a_bomb_behind_the_end_of_the_archive_ends_early(into: Path) -> None:
    archive = gzip.compress(tar(Member("a", b"x"), compress=False) + bytes(64 * 2**20))
    with pytest.raises(ArtifactInvalid, match="limit"):
        run(archive, into, limit_bytes=2**20)


@pytest.mark.parametrize("type", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_bomb_in_a_header_takes_no_memory(into: Path, type: bytes) -> None:
    header = tarfile.TarInfo("h")
    header.type = type
    header.size = 64 * 2**20
    archive = gzip.compress(header.tobuf() + bytes(64 * 2**20), 1)
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactInvalid, match="headers are over"):
            run(archive, into)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_memory_stays_bounded_while_a_large_file_is_unpacked(into: Path) -> None:
    archive = _bomb(48 * 2**20)
    tracemalloc.start()
    try:
        assert run(archive, into) == 48 * 2**20
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_a_full_disk_is_said_to_be_full(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking.os, "write", full)
    with pytest.raises(NoCapacity, match="full"):
        run(tar(Member("a", b"x")), into)


def test_a_sealed_folder_can_be_removed(into: Path) -> None:
    run(tar(Member("a/b/c", b"x"), link("l", "a")), into)
    remove(into)
    assert not into.exists()


_names = st.text("ab./", min_size=0, max_size=8)
_members = st.one_of(
    st.builds(lambda n, d: Member(n, d), _names, st.binary(max_size=700)),
    st.builds(link, _names, _names),
    st.builds(hard_link, _names, _names),
    st.builds(folder, _names),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=st.lists(_members, max_size=8), flips=st.lists(st.tuples(st.integers(0, 6000), st.integers(1, 255))))
def test_whatever_an_archive_holds_nothing_is_written_outside(
    tmp_path_factory: pytest.TempPathFactory, members: list[Member], flips: list[tuple[int, int]]
) -> None:
    archive = bytearray(tar(*members, compress=False))
    for at, mask in flips:
        if at < len(archive):
            archive[at] ^= mask
    base = tmp_path_factory.mktemp("fuzz")
    (base / "secret").write_bytes(b"s")
    model = base / "model"
    try:
        run(bytes(archive), model, 2**22)
    except TrimtabError:
        pass
    else:
        for path in model.rglob("*"):
            assert os.path.realpath(path).startswith(os.path.realpath(model))
    assert sorted(p.name for p in base.iterdir()) == ["model", "secret"]
    assert (base / "secret").stat().st_nlink == 1
