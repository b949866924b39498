"""Packing: the same files give the same bytes."""

from __future__ import annotations

import os
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli.model_tree import read_tree
from trimtab.cli.pack import pack


@given(files=st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=200)), min_size=1, max_size=8))
def test_what_goes_in_comes_out(tmp_path_factory, files) -> None:
    root = tmp_path_factory.mktemp("model")
    wanted = dict(files)
    for name, content in wanted.items():
        (root / name).write_bytes(content)
    packed = pack(read_tree(root).origin, root.parent / f"{root.name}.tar.gz")
    with tarfile.open(packed.path, "r:gz") as archive:
        found = {name: archive.extractfile(name).read() for name in archive.getnames()}
    assert found == wanted


def test_times_owners_and_the_folders_name_do_not_change_the_bytes(tmp_path) -> None:
    digests = set()
    for index, folder in enumerate(("one", "another")):
        root = tmp_path / folder
        (root / "code").mkdir(parents=True)
        for name in ("code/inference.py", "w.bin") if index else ("w.bin", "code/inference.py"):
            (root / name).write_bytes(b"same")
            os.utime(root / name, (index * 1000, index * 1000))
        digests.add(pack(read_tree(root).origin, tmp_path / f"{folder}.tar.gz").sha256)
    assert len(digests) == 1


def test_progress_is_told_in_bytes(tmp_path) -> None:
    root = tmp_path / "model"
    root.mkdir()
    (root / "a").write_bytes(b"1" * 10)
    (root / "b").write_bytes(b"2" * 5)
    told: list[int] = []
    pack(read_tree(root).origin, tmp_path / "m.tar.gz", told.append)
    assert told == [10, 15]


def test_what_never_belongs_to_a_model_stays_out(tmp_path) -> None:
    root = tmp_path / "model"
    for name in (".git/config", "__pycache__/x.pyc", "venv/lib", "keep.bin", "code/a.pyc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    assert list(read_tree(root).files) == ["keep.bin"]
