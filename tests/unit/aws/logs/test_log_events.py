"""Events out of logs, page by page, in both directions, whatever the files do meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_world import START_MS, Replica

from trimtab.aws.logs import lines, pages
from trimtab.aws.logs.lines import Event, Lines
from trimtab.aws.logs.pages import Search, Span, read_page, search
from trimtab.aws.logs.streams import LogFolder, Stream
from trimtab.aws.logs.tokens import Progress
from trimtab.aws.logs.view import LogView
from trimtab.wire.log_times import previous_path, times_path

LATER_MS = START_MS + 10**9
ALWAYS = Span.of(None, None, LATER_MS)


def stream(replica: Replica, name: str = "blue/r") -> Stream:
    return Stream(name, replica.path)


def every(replica: Replica, span: Span = ALWAYS, *, backward: bool = False, limit: int = 3) -> list[Event]:
    """All pages of a stream, by the places that each gives."""
    found: list[Event] = []
    position = None
    while True:
        page = read_page(stream(replica), span, limit, backward=backward, position=position)
        if not page.events:
            assert page.before == page.after == (position if position is not None else page.after)
            return found
        found = page.events + found if backward else found + page.events
        position = page.before if backward else page.after


def texts(events: list[Event]) -> list[str]:
    return [event.message for event in events]


line = st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b""))
step = st.one_of(
    st.tuples(st.just("write"), st.lists(line, max_size=5), st.booleans()),
    st.tuples(st.just("rotate"), st.just([]), st.just(True)),
)


@settings(max_examples=200)
@given(
    steps=st.lists(step, max_size=8),
    block=st.integers(1, 64),
    event=st.integers(7, 24),  # less, and two pieces cut back to whole characters could be one
    limit=st.integers(1, 5),
    bounds=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_both_directions_give_the_same_events_and_every_byte_of_them(
    tmp_path_factory, steps, block, event, limit, bounds
) -> None:
    replica = Replica(tmp_path_factory.mktemp("logs"))
    written: list[tuple[int, bytes]] = []  # (time, line), as far as both files hold them
    kept = 0
    writes_ms: set[int] = set()
    for number, (what, data, ended) in enumerate(steps):
        at_ms = START_MS + 1000 * number
        if what == "rotate":
            if replica.path.read_bytes().endswith(b"\n"):
                written, kept = written[kept:], len(written) - kept
                replica.rotate()
            continue
        text = b"".join(piece + b"\n" for piece in data)
        if not ended and text:
            text = text[:-1]
        half = replica.path.read_bytes()[-1:] not in (b"", b"\n")
        if text:
            replica.write(text, at_ms)
            writes_ms.add(at_ms)
            new = [(at_ms, piece) for piece in text.removesuffix(b"\n").split(b"\n")]
            if half:  # goes on with what stood there
                written[-1] = (written[-1][0], written[-1][1] + new.pop(0)[1])
            written += new
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", block)
        patch.setattr(lines, "MAX_EVENT_BYTES", event)
        forward = every(replica, limit=limit)
        assert every(replica, limit=limit, backward=True) == forward
        span = Span.of(START_MS + 1000 * bounds[0], START_MS + 1000 * bounds[1], LATER_MS)
        chosen = every(replica, span, limit=limit)
        assert every(replica, span, limit=limit, backward=True) == chosen
        assert chosen == [found for found in forward if span.start_ms <= found.time_ms < span.end_ms]
    whole = b"".join(found.raw for found in forward)
    assert whole.replace(b"\r", b"") == b"".join(piece for _, piece in written).replace(b"\r", b"")
    assert all(0 < len(found.raw) <= event for found in forward)
    assert {found.time_ms for found in forward} <= writes_ms


def test_lines_have_the_times_of_their_writes(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write("a\nb\n", START_MS)
    replica.write("c\n", START_MS + 5)  # of the same burst
    replica.write("d\n", START_MS + 5000)
    assert [(event.message, event.time_ms - START_MS) for event in every(replica)] == [
        ("a", 0),
        ("b", 0),
        ("c", 0),
        ("d", 5000),
    ]


def test_a_traceback_that_nobody_lived_to_mark_has_the_time_of_death(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write("ready\n", START_MS)
    assert replica.times is not None
    replica.times.settle(START_MS + 1000)
    replica.write_past_python(b"Fatal Python error: Segmentation fault\n", START_MS + 90_000)
    assert [event.time_ms - START_MS for event in every(replica)] == [0, 90_000]


def test_a_log_of_an_older_version_has_its_files_times(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    times_path(replica.path).unlink()
    replica.times = None
    replica.write("old\n", START_MS)
    replica.rotate()
    replica.write("new\n", START_MS + 7000)
    assert [(event.message, event.time_ms - START_MS) for event in every(replica)] == [("old", 0), ("new", 7000)]
    assert texts(every(replica, Span.of(START_MS + 1, None, LATER_MS))) == ["new"]


def test_lines_whose_marks_a_full_disk_has_cost_are_there(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write_past_python(b"unmarked\n", START_MS)
    assert replica.times is not None
    replica.times.moved_on(0, replica.path.stat().st_ino)
    replica.times._covered = 9  # as after a mark that could not be written
    replica.write("marked\n", START_MS + 5000)
    assert texts(every(replica)) == texts(every(replica, backward=True)) == ["unmarked", "marked"]


def test_an_unfinished_line_waits_for_its_end_but_not_for_ever(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write("whole\nhal", START_MS)
    soon = Span.of(None, None, START_MS + lines.UNFINISHED_MS - 1)
    assert texts(every(replica, soon)) == texts(every(replica, soon, backward=True)) == ["whole"]
    assert texts(every(replica)) == texts(every(replica, backward=True)) == ["whole", "hal"]


def test_what_is_not_utf8_is_replaced_and_empty_lines_are_no_events(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write(b"\n\r\n\xff\xfe\n \nend\r\n", START_MS)
    assert texts(every(replica)) == texts(every(replica, backward=True)) == ["��", " ", "end"]


def test_a_line_of_a_megabyte_is_cut_at_whole_characters(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write("ä" * 524_289 + "\nnext\n", START_MS)
    for backward in (False, True):
        *cut, last = every(replica, backward=backward)
        assert [len(event.raw) for event in cut] == [262_144] * 4 + [2]
        assert "�" not in "".join(texts(cut))
        assert last.message == "next"


def test_a_page_holds_a_megabyte_at_most(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write(b"".join(b"%06d" % n + b"x" * 1017 + b"\n" for n in range(3000)), START_MS)
    page = read_page(stream(replica), ALWAYS, 10_000, backward=False, position=None)
    assert len(page.events) == 2**20 // (1023 + 26)
    assert len(every(replica, limit=10_000)) == 3000
    found, more = search(Search([stream(replica)], ALWAYS, lambda _: True, 10_000), Progress({}))
    assert [event for _, event in found] == page.events
    assert more is not None


@pytest.mark.parametrize("where", [0, 3, 7])
def test_a_place_stays_true_while_the_log_rotates(tmp_path: Path, where: int) -> None:
    replica = Replica(tmp_path)
    replica.write("".join(f"{n}\n" for n in range(10)), START_MS)
    position = read_page(stream(replica), ALWAYS, where or 1, backward=False, position=None).after
    replica.rotate()
    replica.write("10\n", START_MS + 1000)
    page = read_page(stream(replica), ALWAYS, 100, backward=False, position=position)
    assert texts(page.events) == [str(n) for n in range(where or 1, 11)]
    replica.rotate()  # what the place was in is gone
    page = read_page(stream(replica), ALWAYS, 100, backward=False, position=position)
    assert texts(page.events) == ["10"]


def test_a_log_that_rotates_or_goes_while_it_is_open_is_read_to_its_end(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write("one\ntwo\n", START_MS)
    with LogView(replica.path) as view:
        replica.rotate()
        replica.write("three\n", START_MS)
        replica.rotate()
        assert texts(list(Lines(view, 0, LATER_MS, LATER_MS).forward(0))) == ["one", "two"]
    with LogView(replica.path) as view:
        previous_path(replica.path).write_bytes(b"")  # trimmed in place
        assert texts(list(Lines(view, 0, LATER_MS, LATER_MS).forward(0))) == []
        assert list(Lines(view, 0, LATER_MS, LATER_MS).backward(view.end)) == []


def test_between_renaming_and_telling_a_reader_sees_one_log(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write("one\n", START_MS)
    replica.path.replace(previous_path(replica.path))
    assert [found.name for found in LogFolder(tmp_path).streams("/aws/sagemaker/Endpoints/e") or ()] == ["blue/r"]
    assert texts(every(replica)) == ["one"]
    replica.path.touch()
    replica.write_past_python(b"two\n", START_MS + 1)
    with LogView(replica.path) as view:
        assert (view.first, view.end) == (0, 8)
    assert texts(every(replica)) == ["one", "two"]


def test_a_clock_put_back_hides_nothing(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    for at_ms, text in ((10_000, "a"), (11_000, "b"), (5000, "c"), (10_500, "d")):
        replica.write(f"{text}\n", START_MS + at_ms)
    assert texts(every(replica)) == texts(every(replica, backward=True)) == ["a", "b", "c", "d"]
    late = Span.of(START_MS + 10_000, START_MS + 11_000, LATER_MS)
    assert texts(every(replica, late)) == texts(every(replica, late, backward=True)) == ["a", "d"]


# --- FilterLogEvents ---------------------------------------------------------------------------------------------


def searched(what: Search, *, backward: bool = False) -> tuple[list[str], int]:
    """All pages: the messages, and how many pages it took."""
    found: list[str] = []
    progress: Progress | None = Progress({}, backward)
    count = 0
    while progress is not None:
        page, progress = search(what, progress)
        found += [event.message for _, event in page]
        count += 1
    return found, count


def two(tmp_path: Path) -> list[Stream]:
    first, second = Replica(tmp_path, name="a-0"), Replica(tmp_path, name="b-0")
    for number in range(10):
        (first if number % 2 else second).write(f"number {number}\n", START_MS + 1000 * number)
    return [stream(first, "blue/a"), stream(second, "blue/b")]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_streams_are_interleaved_by_time_in_both_directions(tmp_path: Path, limit: int) -> None:
    what = Search(two(tmp_path), ALWAYS, lambda _: True, limit)
    expected = [f"number {number}" for number in range(10)]
    assert searched(what)[0] == expected
    assert searched(what, backward=True)[0] == expected[::-1]


def test_a_search_that_finds_little_says_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SEARCHED_BYTES", 20)
    what = Search(two(tmp_path), ALWAYS, lambda message: message == "number 9", 100)
    found, count = searched(what)
    assert found == ["number 9"]
    assert count > 3


def test_streams_that_come_and_go_between_pages_do_no_harm(tmp_path: Path) -> None:
    streams = two(tmp_path)
    found, progress = search(Search(streams[:1], ALWAYS, lambda _: True, 2), Progress({}))
    assert progress is not None
    streams[0].path.unlink()
    more, end = search(Search(streams, ALWAYS, lambda _: True, 100), progress)
    assert [event.message for _, event in more] == [f"number {number}" for number in range(0, 10, 2)]
    assert end is None
