"""The key file: made once, readable by its owner only, changed safely, noticed at once."""

from __future__ import annotations

import logging
import os
import stat
import threading
from pathlib import Path

import pytest

from trimtab.aws import keys
from trimtab.aws.keys import KeyRing
from trimtab.errors import Invalid, NotFound


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.json"


def test_the_first_start_makes_a_root_key_and_the_second_keeps_it(path: Path) -> None:
    first = keys.ensure(path, now_s=5.0)
    assert [key.name for key in first] == ["root"]
    assert (len(first[0].id), len(first[0].secret)) == (20, 40)
    assert first[0].id.isalnum()
    assert keys.ensure(path, now_s=6.0) == first
    assert keys.root_of(first, path).created_s == 5.0


def test_the_file_is_readable_by_its_owner_only_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        keys.ensure(path, now_s=0.0)
        keys.add(path, now_s=0.0)
    finally:
        os.umask(old)
    assert [stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()] == [0o600, 0o600]
    assert sorted(file.name for file in path.parent.iterdir()) == ["keys.json", "keys.json.lock"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_can_open_is_refused_with_the_cure(path: Path, mode: int) -> None:
    keys.ensure(path, now_s=0.0)
    path.chmod(mode)
    with pytest.raises(Invalid, match=f"chmod 600 {path}"):
        keys.load(path)
    with pytest.raises(Invalid):
        keys.ensure(path, now_s=0.0)


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1}', b'{"format": 1, "keys": [{"id": 7}]}', b"\xff"])
def test_a_damaged_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    keys.ensure(path, now_s=0.0)
    path.write_bytes(content)
    with pytest.raises(Invalid, match="damaged"):
        keys.ensure(path, now_s=0.0)
    assert path.read_bytes() == content


def test_a_file_of_another_format_is_refused(path: Path) -> None:
    keys.ensure(path, now_s=0.0)
    path.write_bytes(b'{"format": 2, "keys": []}')
    with pytest.raises(Invalid, match="format 2"):
        keys.load(path)


def test_keys_can_be_limited_and_taken_away(path: Path) -> None:
    root = keys.ensure(path, now_s=0.0)[0]
    made = keys.add(path, name="ci", actions=["sagemaker:InvokeEndpoint"], endpoints=["fraud-*"], now_s=9.0)
    assert keys.load(path) == (root, made)
    assert made.access_key().actions == ("sagemaker:InvokeEndpoint",)
    assert keys.remove(path, "ci") == made
    assert keys.load(path) == (root,)


def test_the_root_key_stays(path: Path) -> None:
    root = keys.ensure(path, now_s=0.0)[0]
    with pytest.raises(Invalid, match="root key cannot be deleted"):
        keys.remove(path, root.id)


@pytest.mark.parametrize("name", ["", "nobody"])
def test_an_unknown_key_cannot_be_deleted(path: Path, name: str) -> None:
    keys.ensure(path, now_s=0.0)
    keys.add(path, now_s=0.0)
    with pytest.raises(NotFound):
        keys.remove(path, name)


@pytest.mark.parametrize("how", [{"actions": ["InvokeEndpoint"]}, {"actions": ["a:b c"]}, {"endpoints": ["a/b"]}])
def test_malformed_limits_are_refused(path: Path, how: dict[str, list[str]]) -> None:
    keys.ensure(path, now_s=0.0)
    with pytest.raises(Invalid):
        keys.add(path, now_s=0.0, **how)  # type: ignore[arg-type]


def test_two_keys_cannot_have_one_name(path: Path) -> None:
    keys.ensure(path, now_s=0.0)
    with pytest.raises(Invalid, match="already"):
        keys.add(path, name="root", now_s=0.0)


def test_without_a_server_there_is_no_file_and_it_says_so(path: Path) -> None:
    with pytest.raises(NotFound, match="trimtab serve"):
        keys.load(path)
    with pytest.raises(NotFound, match="trimtab serve"):
        keys.add(path, now_s=0.0)


def test_keys_made_at_the_same_time_are_all_kept(path: Path) -> None:
    keys.ensure(path, now_s=0.0)
    threads = [threading.Thread(target=keys.add, args=(path,), kwargs={"now_s": float(n)}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys.load(path)) == 9


def test_a_ring_notices_a_changed_file_at_the_next_call(path: Path) -> None:
    keys.ensure(path, now_s=0.0)
    ring = KeyRing(path)
    assert len(ring()) == 1
    before = ring()
    assert ring() is before
    made = keys.add(path, now_s=0.0)
    assert made.id in ring()
    assert ring.version == 2
    keys.remove(path, made.id)
    assert made.id not in ring()
    assert ring.version == 3


def test_a_ring_goes_on_with_the_last_keys_when_the_file_breaks(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = keys.ensure(path, now_s=0.0)[0]
    ring = KeyRing(path)
    path.write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        assert root.id in ring()
        assert root.id in ring()
    assert len(caplog.records) == 1
    path.unlink()
    assert root.id in ring()
    keys.ensure(path, now_s=0.0)
    assert root.id not in ring()
