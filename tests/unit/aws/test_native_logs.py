"""Log lines of replicas, read once and followed."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws import native_logs
from trimtab.aws.native_logs import LogFiles, LogLine


def write(folder: Path, name: str, text: str | bytes, mode: str = "ab") -> None:
    path = folder / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def lines(files: LogFiles) -> list[str]:
    return [entry.line for block in (*files.read(), *files.rest()) for entry in block]


def test_lines_come_with_their_variant_and_replica(tmp_path) -> None:
    write(tmp_path, "A/r1", "one\ntwo\n")
    assert [entry for block in LogFiles(tmp_path).read() for entry in block] == [
        LogLine("A", "r1", "one"),
        LogLine("A", "r1", "two"),
    ]


def test_variant_and_replica_choose_files_and_are_no_paths(tmp_path) -> None:
    write(tmp_path, "A/r1", "a1\n")
    write(tmp_path, "A/r2", "a2\n")
    write(tmp_path, "B/r3", "b3\n")
    assert sorted(lines(LogFiles(tmp_path, variant="A"))) == ["a1", "a2"]
    assert lines(LogFiles(tmp_path, replica="r3")) == ["b3"]
    write(tmp_path, "A/x-1-0", "first process\n")
    write(tmp_path, "A/x-1-1", "second process\n")
    assert sorted(lines(LogFiles(tmp_path, replica="x-1"))) == ["first process", "second process"]
    assert lines(LogFiles(tmp_path, replica="x-1-1")) == ["second process"]
    assert lines(LogFiles(tmp_path, variant="../" + tmp_path.name + "/A", replica="r1")) == []


@given(
    text=st.lists(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=9), max_size=40
    ),
    ended=st.booleans(),
    tail=st.integers(0, 45),
    block=st.integers(1, 40),
)
def test_a_tail_is_the_last_lines_however_the_file_is_cut(tmp_path_factory, text, ended, tail, block) -> None:
    folder = tmp_path_factory.mktemp("logs")
    if not ended and text and not text[-1]:
        text = text[:-1]
        ended = True
    write(folder, "A/r1", "\n".join(text) + ("\n" if ended and text else ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_logs, "BLOCK_BYTES", block + 40)
        assert lines(LogFiles(folder, tail=tail)) == (text[-tail:] if tail else [])


def test_what_is_written_between_two_reads_comes_once_and_half_lines_wait(tmp_path) -> None:
    files = LogFiles(tmp_path)
    assert lines(files) == []
    write(tmp_path, "A/r1", "one\ntw")
    assert [entry.line for block in files.read() for entry in block] == ["one"]
    write(tmp_path, "A/r1", "o\n")
    assert [entry.line for block in files.read() for entry in block] == ["two"]


def test_a_file_born_later_is_read_whole_whatever_the_tail(tmp_path) -> None:
    write(tmp_path, "A/old", "1\n2\n3\n")
    files = LogFiles(tmp_path, tail=1)
    assert lines(files) == ["3"]
    write(tmp_path, "A/new", "4\n5\n")
    assert lines(files) == ["4", "5"]


def test_a_file_that_was_truncated_or_replaced_is_read_from_its_start(tmp_path) -> None:
    write(tmp_path, "A/r1", "long line\n")
    files = LogFiles(tmp_path)
    assert lines(files) == ["long line"]
    write(tmp_path, "A/r1", "new\n", "wb")
    assert lines(files) == ["new"]
    write(tmp_path, "A/other", "x" * 100 + "\n")
    (tmp_path / "A" / "other.log").replace(tmp_path / "A" / "r1.log")
    assert lines(files) == ["x" * 100]


def rotate(folder: Path) -> None:
    (folder / "A" / "r1.log").replace(folder / "A" / "r1.log.1")


def test_rotation_loses_and_repeats_no_line(tmp_path) -> None:
    files = LogFiles(tmp_path)
    write(tmp_path, "A/r1", "one\n")
    assert lines(files) == ["one"]
    write(tmp_path, "A/r1", "two\n")
    rotate(tmp_path)
    write(tmp_path, "A/r1", "three\n")
    assert lines(files) == ["two", "three"]


@pytest.mark.parametrize("tail", [None, 0, 1, 2, 3, 4, 9])
def test_a_tail_reaches_back_into_the_rotated_file(tmp_path, tail) -> None:
    write(tmp_path, "A/r1", "1\n2\n")
    rotate(tmp_path)
    write(tmp_path, "A/r1", "3\n4\n")
    everything = ["1", "2", "3", "4"]
    assert lines(LogFiles(tmp_path, tail=tail)) == (everything if tail is None else everything[4 - min(tail, 4) :])


def test_megabytes_without_a_line_end_are_cut_not_kept(tmp_path) -> None:
    write(tmp_path, "A/r1", b"x" * (3 * native_logs.BLOCK_BYTES) + b"\xff\n")
    found = lines(LogFiles(tmp_path))
    assert [len(line) for line in found] == [native_logs.BLOCK_BYTES] * 3 + [1]
    assert found[-1] == "�"


async def test_a_silent_follower_hears_that_we_are_still_here(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(native_logs, "POLL_S", 0.001)
    monkeypatch.setattr(native_logs, "SILENCE_S", 0.002)
    following = LogFiles(tmp_path).follow(lambda: True)
    assert await asyncio.wait_for(anext(following), 10) == []
    await following.aclose()


async def test_following_sees_new_lines_and_new_replicas_and_ends_with_the_endpoint(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(native_logs, "POLL_S", 0.001)
    write(tmp_path, "A/r1", "one\n")
    gone = asyncio.Event()
    seen: list[str] = []

    async def follow() -> None:
        async for block in LogFiles(tmp_path).follow(lambda: not gone.is_set()):
            seen.extend(entry.line for entry in block)
            if seen == ["one"]:
                write(tmp_path, "A/r2", "two\n")
            elif seen == ["one", "two"]:
                write(tmp_path, "A/r1", "three\n")
                gone.set()

    await asyncio.wait_for(follow(), 10)
    assert seen == ["one", "two", "three"]
