"""Files that verbs write: refused early, whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trimtab.cli.files import must_be_writable
from trimtab.cli.render import CliError
from trimtab.files import write_whole


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    must_be_writable(tmp_path / "new.html")
    with pytest.raises(CliError, match="The folder of .* is not there"):
        must_be_writable(tmp_path / "none" / "a.html")
    with pytest.raises(CliError, match="is a folder"):
        must_be_writable(tmp_path)


def test_a_file_is_replaced_in_one_step_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    write_whole(path, "one")
    write_whole(path, b"two")
    assert path.read_text() == "two"
    assert [one.name for one in tmp_path.iterdir()] == ["a.html"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.html"
    path.write_text("one")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "two")
    assert path.read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_stays_one_and_what_is_no_file_is_written_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole(tmp_path / "link", "one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "one"
    write_whole(Path("/dev/null"), "one")
    assert Path("/dev/null").is_char_device()


def test_what_lies_where_the_new_file_is_made_is_neither_followed_nor_kept(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("somebody's")
    (tmp_path / f".a.{os.getpid()}.part").symlink_to(tmp_path / "other")
    write_whole(tmp_path / "a", "secret", mode=0o600)
    assert (tmp_path / "other").read_text() == "somebody's"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert {one.name for one in tmp_path.iterdir()} == {"a", "other"}


def test_no_disk_is_waited_for_where_nothing_has_to_outlive_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: pytest.fail("it was"))
    write_whole(tmp_path / "a", "one", sync=False)
    assert (tmp_path / "a").read_text() == "one"


def test_a_full_disk_is_told_with_the_file_that_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as the system says it: without a name

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as refused:
        write_whole(tmp_path / "report.html", "one")
    assert refused.value.filename == str(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
