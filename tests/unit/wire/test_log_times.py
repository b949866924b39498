"""The times beside a log: what a reader learns, whatever became of the writer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trimtab.wire.log_times import (
    HEADER,
    MARK,
    MARK_EVERY_MS,
    TimeWriter,
    previous_path,
    read_times,
    times_path,
)

DAY_MS = 86_400_000


def grow(log: Path, data: bytes, at_ms: int = 0) -> int:
    """Append; the file's size. `at_ms` becomes the file's time."""
    with log.open("ab") as file:
        file.write(data)
    if at_ms:
        os.utime(log, ns=(at_ms * 1_000_000, at_ms * 1_000_000))
    return log.stat().st_size


def marks(log: Path) -> list[tuple[int, int]]:
    times = read_times(log)
    assert times is not None
    return list(zip(times.positions, times.times_ms, strict=True))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "r-0.log"
    path.touch()
    return path


def test_a_burst_has_one_mark_and_the_next_one_another(log: Path) -> None:
    writer = TimeWriter(log, DAY_MS)
    for number in range(20):
        writer.grown(grow(log, b"line\n"), DAY_MS + number // 2)
    writer.grown(grow(log, b"line\n"), DAY_MS + MARK_EVERY_MS)
    assert marks(log) == [(0, DAY_MS), (100, DAY_MS + MARK_EVERY_MS)]


def test_a_quiet_log_is_marked_at_its_end_once_and_what_comes_next_takes_that_mark_over(log: Path) -> None:
    writer = TimeWriter(log, DAY_MS)
    writer.grown(grow(log, b"line\n"), DAY_MS)
    for second in range(1, 5):
        writer.settle(DAY_MS + 1000 * second)
    assert marks(log) == [(0, DAY_MS), (5, DAY_MS + 1000)]
    writer.grown(grow(log, b"line\n"), 2 * DAY_MS)
    assert marks(log) == [(0, DAY_MS), (5, 2 * DAY_MS)]


def test_a_clock_that_is_put_back_is_believed(log: Path) -> None:
    writer = TimeWriter(log, DAY_MS)
    writer.grown(grow(log, b"line\n"), DAY_MS)
    writer.grown(grow(log, b"line\n"), DAY_MS - 5000)
    assert marks(log) == [(0, DAY_MS), (5, DAY_MS - 5000)]


def test_positions_go_on_when_the_log_rotates_or_is_cut(log: Path) -> None:
    writer = TimeWriter(log, DAY_MS)
    writer.grown(grow(log, b"one\n"), DAY_MS)
    log.replace(previous_path(log))
    size = grow(log, b"")
    writer.moved_on(4, log.stat().st_ino)
    writer.grown(size + grow(log, b"two\n"), 2 * DAY_MS)
    assert marks(log) == [(0, DAY_MS), (4, 2 * DAY_MS)]
    times = read_times(log)
    assert times is not None
    assert times.base == 4
    log.write_bytes(b"")  # as logrotate's copytruncate does it
    writer.grown(0, 3 * DAY_MS)
    writer.grown(grow(log, b"three\n"), 3 * DAY_MS)
    assert marks(log)[-1] == (8, 3 * DAY_MS)


def test_the_next_writer_goes_on_where_a_killed_one_stopped(log: Path) -> None:
    first = TimeWriter(log, DAY_MS)
    first.grown(grow(log, b"one\n"), DAY_MS)
    first.settle(DAY_MS + 1000)
    first.close()
    grow(log, b"traceback\n", at_ms=DAY_MS + 60_000)  # from C code, as the process died
    second = TimeWriter(log, 2 * DAY_MS)
    second.grown(grow(log, b"hello\n"), 2 * DAY_MS)
    assert marks(log) == [(0, DAY_MS), (4, DAY_MS + 60_000), (14, 2 * DAY_MS)]
    times = read_times(log)
    assert times is not None
    assert times.created_ms == DAY_MS


def test_a_writer_killed_between_renaming_and_telling_is_understood(log: Path) -> None:
    first = TimeWriter(log, DAY_MS)
    first.grown(grow(log, b"one\n"), DAY_MS)
    first.close()
    log.replace(previous_path(log))
    grow(log, b"")
    TimeWriter(log, 2 * DAY_MS).grown(grow(log, b"two\n"), 2 * DAY_MS)
    times = read_times(log)
    assert times is not None
    assert (times.base, times.inode) == (4, log.stat().st_ino)


def test_a_log_of_an_older_version_has_its_files_times(log: Path) -> None:
    grow(previous_path(log), b"old\n", at_ms=DAY_MS)
    grow(log, b"newer\n", at_ms=2 * DAY_MS)
    assert read_times(log) is None
    TimeWriter(log, 3 * DAY_MS).grown(grow(log, b"now\n"), 3 * DAY_MS)
    assert marks(log) == [(0, DAY_MS), (4, 2 * DAY_MS), (10, 3 * DAY_MS)]


@pytest.mark.parametrize("data", [b"", b"x", b"not ours" * 100])
def test_a_damaged_file_is_begun_anew(log: Path, data: bytes) -> None:
    times_path(log).write_bytes(data)
    assert read_times(log) is None
    TimeWriter(log, DAY_MS).grown(grow(log, b"one\n"), DAY_MS)
    assert marks(log) == [(0, DAY_MS)]


def test_a_torn_mark_is_left_out_and_overwritten(log: Path) -> None:
    writer = TimeWriter(log, DAY_MS)
    writer.grown(grow(log, b"one\n", at_ms=DAY_MS), DAY_MS)
    writer.close()
    with times_path(log).open("ab") as file:
        file.write(MARK.pack(4, 2 * DAY_MS)[:7])
    assert marks(log) == [(0, DAY_MS)]
    writer = TimeWriter(log, 3 * DAY_MS)
    writer.grown(grow(log, b"two\n"), 3 * DAY_MS)
    assert marks(log) == [(0, DAY_MS), (4, 3 * DAY_MS)]


def test_the_file_stays_small_and_keeps_what_is_newest(log: Path) -> None:
    limit = HEADER.size + 40 * MARK.size
    writer = TimeWriter(log, 0, max_bytes=limit)
    for second in range(1, 1001):
        writer.grown(grow(log, b"line\n"), 1000 * second)
        assert times_path(log).stat().st_size <= limit
    found = marks(log)
    assert found == sorted(found)
    assert found[0] == (0, 1000)
    assert found[-1] == (4995, 1_000_000)
    assert all(position == time_ms // 1000 * 5 - 5 for position, time_ms in found)


def test_marks_of_text_that_is_gone_go_first(log: Path) -> None:
    writer = TimeWriter(log, 0, max_bytes=HEADER.size + 40 * MARK.size)
    for second in range(1, 31):
        writer.grown(grow(log, b"line\n"), 1000 * second)
    log.write_bytes(b"")
    writer.moved_on(150, log.stat().st_ino)
    for second in range(31, 45):
        writer.grown(grow(log, b"line\n"), 1000 * second)
    assert marks(log) == [(position, position * 200 + 1000) for position in range(150, 220, 5)]


def test_a_child_that_the_models_code_forks_does_not_touch_the_marks(log: Path) -> None:
    writer = TimeWriter(log, DAY_MS)
    writer.grown(grow(log, b"one\n"), DAY_MS)
    if (pid := os.fork()) == 0:
        writer.grown(4000, 2 * DAY_MS)
        os._exit(0)
    os.waitpid(pid, 0)
    assert marks(log) == [(0, DAY_MS)]


def test_a_full_disk_costs_marks_and_nothing_else(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TimeWriter(log, DAY_MS)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        writer.grown(grow(log, b"one\n"), DAY_MS)
        writer.moved_on(0, 1)
    writer.grown(grow(log, b"two\n"), 2 * DAY_MS)
    assert marks(log) == [(4, 2 * DAY_MS)]
