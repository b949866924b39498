"""A data directory is claimed by one trimtab at a time, or not at all and with the cure."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab import datadir
from trimtab.config import Paths
from trimtab.errors import Invalid, LimitExceeded
from trimtab.files import part_of


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    with tempfile.TemporaryDirectory(prefix="tt", dir="/tmp") as run_base:  # tmp_path is too long for sockets
        monkeypatch.setenv("XDG_RUNTIME_DIR", run_base)
        yield Paths(tmp_path / "data")


def test_a_new_folder_is_made_private_and_marked_with_the_format(paths: Paths) -> None:
    os.close(datadir.claim(paths))
    assert paths.version.read_text().strip() == str(Paths.FORMAT)
    assert stat.S_IMODE(paths.run_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(paths.data_dir.stat().st_mode) & 0o077 == 0


def test_it_can_be_claimed_again_once_it_is_let_go(paths: Paths) -> None:
    os.close(datadir.claim(paths))
    os.close(datadir.claim(paths))


def test_a_second_trimtab_is_told_that_the_folder_is_taken(paths: Paths) -> None:
    lock = datadir.claim(paths)
    with pytest.raises(Invalid, match="Another trimtab is serving from .* --data-dir"):
        datadir.claim(paths)
    os.close(lock)


def test_a_folder_of_another_format_is_refused_untouched(paths: Paths) -> None:
    paths.data_dir.mkdir()
    paths.version.write_text("99\n")
    with pytest.raises(Invalid, match="has format 99; this trimtab reads format 1"):
        datadir.claim(paths)
    assert paths.version.read_text() == "99\n"
    assert not paths.objects.exists()


def test_a_folder_that_holds_something_else_is_refused(paths: Paths) -> None:
    paths.data_dir.mkdir()
    (paths.data_dir / "thesis.tex").write_text("precious")
    with pytest.raises(Invalid, match="thesis.tex"):
        datadir.claim(paths)


def test_a_trimtab_that_was_killed_while_it_marked_a_new_folder_is_followed_by_the_next(paths: Paths) -> None:
    paths.data_dir.mkdir()
    killed = part_of(paths.version, pid=4242)
    killed.write_text("1")
    os.close(datadir.claim(paths))
    assert paths.version.read_text().strip() == str(Paths.FORMAT)
    assert not killed.exists()


def test_a_file_in_place_of_the_folder_is_refused(paths: Paths) -> None:
    paths.data_dir.write_text("")
    with pytest.raises(Invalid, match="cannot be used"):
        datadir.claim(paths)


def test_a_full_disk_is_told_before_anything_starts(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 1 << 20})
    monkeypatch.setattr(datadir.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(LimitExceeded, match="1 MiB left"):
        datadir.claim(paths)


def test_a_run_directory_open_to_others_is_closed(paths: Paths) -> None:
    paths.run_dir.mkdir(parents=True, mode=0o777)
    paths.run_dir.chmod(0o777)
    os.close(datadir.claim(paths))
    assert stat.S_IMODE(paths.run_dir.stat().st_mode) == 0o700


def test_a_link_in_place_of_the_run_directory_is_refused(paths: Paths, tmp_path: Path) -> None:
    paths.run_dir.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").mkdir()
    paths.run_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Invalid, match="belongs to somebody else"):
        datadir.claim(paths)


def test_sockets_have_short_paths_wherever_temporary_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for base in ("/run/user/4294967295", f"/tmp/{'long' * 30}"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", base)
        longest = Paths(tmp_path).workers_dir / "01234567-999999-0123456789-255.sock"
        assert len(os.fsencode(longest)) <= 107
        assert longest.is_relative_to(base) == (len(base) < 30)
