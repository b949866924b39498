"""The scaling journal: what is noted is read as it was, whatever happens to the file or the process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from trimtab.clock import ManualClock
from trimtab.control.scaling import journal as module
from trimtab.control.scaling.entries import PACKED, RAW, Began, decode, document_of, encode, entry_of
from trimtab.control.scaling.journal import Journal
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import AlarmFired, Bounds, Finished, Forecast, Load, Scheduled, Tick
from trimtab.resources.scaling import NotScaled, ScalableTarget

T0 = 1_700_000_000.0
KEY = ("fraud", "blue")


class Counted(Struct, frozen=True):
    """A state, as far as the journal cares."""

    n: int = 0


def rules(most: int = 4) -> Rules:
    return Rules(
        target=ScalableTarget(endpoint="fraud", variant="blue", min_capacity=0, max_capacity=most, created_s=T0)
    )


def load(at_s: float, **more: float) -> Load:
    known = {"in_hand": 1.25, "now": 2, "waiting": 0, "arrived": 10, "ended": 8, "work_s": 0.1, "start_s": 0.04}
    return Load(at_s=at_s, capacity=1, ready=1, **{**known, **more})  # type: ignore[arg-type]


def decision(at_s: float, wanted: int = 2) -> Decision:
    return Decision(at_s=at_s, before=1, wanted=wanted, made=True, reason="because", inputs={"in_hand": 0.1 + 0.2})


class Scaled:
    """Notes steps of one variant as the scaler does."""

    def __init__(self, journal: Journal, key: tuple[str, str] = KEY) -> None:
        self.journal, self.key = journal, key
        self.rules, self.state = rules(), Counted()

    def note(self, given: object, *decisions: Decision) -> None:
        before, self.state = self.state, Counted(self.state.n + 1)
        self.journal.note(*self.key, self.rules, before, given, decisions, self.state)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
def journal(tmp_path: Path, clock: ManualClock) -> Iterator[Journal]:
    made = Journal(tmp_path / "scaling.db", clock, write_every_s=0)
    yield made
    made.close()


def everything(journal: Journal, key: tuple[str, str] = KEY) -> list[object]:
    return list(journal.read(*key, 0.0, 1e12))


def test_what_was_noted_is_read_in_order_and_begins_with_rules_and_state(journal: Journal) -> None:
    scaled = Scaled(journal)
    scaled.note(load(T0), decision(T0))
    scaled.note(Tick(at_s=T0 + 1, capacity=2))
    began, *rest = everything(journal)
    assert isinstance(began, Began)
    assert began.rules == rules()
    assert msgspec.msgpack.decode(began.state, type=Counted) == Counted(0)
    assert rest == [load(T0), decision(T0), Tick(at_s=T0 + 1, capacity=2)]


def test_rules_stand_where_they_changed(journal: Journal) -> None:
    scaled = Scaled(journal)
    scaled.note(load(T0))
    scaled.rules = rules(9)
    scaled.note(load(T0 + 1))
    scaled.rules = rules(9)  # equal: no change
    scaled.note(load(T0 + 2))
    assert everything(journal)[1:] == [load(T0), rules(9), load(T0 + 1), load(T0 + 2)]


def test_a_state_that_the_journal_has_not_seen_begins_a_replay_anew(journal: Journal) -> None:
    scaled = Scaled(journal)
    scaled.note(load(T0))
    scaled.state = Counted(100)
    scaled.note(load(T0 + 1))
    _, _, began, _ = everything(journal)
    assert isinstance(began, Began)
    assert not began.continues
    assert began.state == msgspec.msgpack.encode(Counted(100))


def test_a_block_is_closed_after_minutes_and_a_replay_can_begin_at_each(journal: Journal, clock: ManualClock) -> None:
    scaled = Scaled(journal)
    for second in range(1000):
        scaled.note(load(T0 + second))
        clock.advance(1.0)
        journal.step()
    began, first, *rest = journal.read(*KEY, T0 + 500, T0 + 700)
    assert isinstance(began, Began)
    assert began.state == msgspec.msgpack.encode(Counted(int(began.at_s - T0)))
    assert T0 + 500 - module.BLOCK_S <= began.at_s <= T0 + 500
    assert [entry.at_s for entry in (first, *rest)] == [T0 + s for s in range(int(began.at_s - T0), 701)]  # type: ignore[union-attr]
    assert [e for e in everything(journal) if not isinstance(e, Began)] == [load(T0 + s) for s in range(1000)]


def test_variants_are_apart(journal: Journal) -> None:
    blue, green = Scaled(journal), Scaled(journal, ("fraud", "green"))
    blue.note(load(T0))
    green.note(load(T0 + 1))
    assert everything(journal)[1:] == [load(T0)]
    assert everything(journal, ("fraud", "green"))[1:] == [load(T0 + 1)]
    assert everything(journal, ("nobody", "here")) == []
    assert journal.variants() == [("fraud", "blue"), ("fraud", "green")]


def test_it_goes_on_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "scaling.db"
    for second in range(3):
        journal = Journal(path, clock, write_every_s=0)
        Scaled(journal).note(load(T0 + second))
        journal.close()
    journal = Journal(path, clock, write_every_s=0)
    assert [e for e in everything(journal) if isinstance(e, Load)] == [load(T0), load(T0 + 1), load(T0 + 2)]
    assert [e.continues for e in everything(journal) if isinstance(e, Began)] == [False] * 3
    journal.close()


def test_what_a_killed_process_had_written_is_there(tmp_path: Path, clock: ManualClock) -> None:
    """A process notes for ever and is killed; all but about its last second is read, in order and without a gap."""
    path = tmp_path / "scaling.db"
    program = textwrap.dedent("""
        import itertools, sys, time
        from pathlib import Path
        from trimtab.clock import SystemClock
        from trimtab.control.scaling import journal as module
        from tests.unit.control.test_scaling_journal import Scaled, load, T0
        module.BLOCK_S = 0.05
        journal = module.Journal(Path(sys.argv[1]), SystemClock(), write_every_s=0.01, keep_s=1e12)
        scaled = Scaled(journal)
        for n in itertools.count():
            scaled.note(load(T0 + n))
            time.sleep(0.0005)
            if n % 20 == 0:
                print(n, flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = 0
    while said < 1000:
        said = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    journal = Journal(path, clock, write_every_s=0)
    found = [entry for entry in everything(journal) if isinstance(entry, Load)]
    assert found == [load(T0 + n) for n in range(len(found))]
    assert len(found) > said / 2
    journal.close()


def test_a_damaged_file_is_set_aside_and_the_journal_begins_anew(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "scaling.db"
    path.write_bytes(b"not a database" * 100)
    journal = Journal(path, clock, write_every_s=0)
    Scaled(journal).note(load(T0))
    assert everything(journal)[1:] == [load(T0)]
    assert len(list(tmp_path.glob("scaling.db.damaged-*"))) == 1
    journal.close()


def test_a_file_damaged_in_use_costs_history_and_nothing_else(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "scaling.db"
    journal = Journal(path, clock, write_every_s=0)
    scaled = Scaled(journal)
    scaled.note(load(T0))
    journal.step()
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    path.write_bytes(b"\0" * path.stat().st_size)
    for second in range(1, 4):
        scaled.note(load(T0 + second))
        journal.step()
    began, *rest = everything(journal)
    assert isinstance(began, Began)
    assert load(T0 + 3) in rest
    journal.close()


def test_a_deleted_file_is_made_anew(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "scaling.db"
    journal = Journal(path, clock, write_every_s=0)
    scaled = Scaled(journal)
    scaled.note(load(T0))
    journal.step()
    path.unlink()
    scaled.note(load(T0 + 1))
    journal.step()
    scaled.note(load(T0 + 2))
    began, *rest = everything(journal)
    assert isinstance(began, Began)
    assert load(T0 + 2) in rest
    journal.close()


def test_a_file_that_cannot_be_written_now_is_written_later(tmp_path: Path, clock: ManualClock) -> None:
    folder = tmp_path / "not yet"
    journal = Journal(folder / "scaling.db", clock, write_every_s=0)
    scaled = Scaled(journal)
    scaled.note(load(T0))
    journal.step()
    folder.mkdir()
    scaled.note(load(T0 + 1))
    assert everything(journal)[1:] == [load(T0), load(T0 + 1)]
    journal.close()


def test_memory_is_bounded_while_nothing_can_be_written(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    journal = Journal(tmp_path / "not there" / "scaling.db", clock, write_every_s=0)
    scaled = Scaled(journal)
    for second in range(25):
        scaled.note(load(T0 + second))
    (tmp_path / "not there").mkdir()
    began, *rest = everything(journal)
    assert isinstance(began, Began)
    assert rest == [load(T0 + second) for second in range(20, 25)]
    journal.close()


def test_old_entries_go_first_when_there_is_no_room(tmp_path: Path, clock: ManualClock) -> None:
    journal = Journal(tmp_path / "scaling.db", clock, write_every_s=0, max_bytes=20_000)
    scaled = Scaled(journal)
    for second in range(4000):
        scaled.note(load(T0 + second, in_hand=second / 7))
        clock.advance(1.0)
        if second % 10 == 0:
            journal.step()
    began, first, *rest = everything(journal)
    assert isinstance(began, Began)
    assert first.at_s > T0 + 300  # type: ignore[attr-defined]
    assert rest[-1] == load(T0 + 3999, in_hand=3999 / 7)
    assert (tmp_path / "scaling.db").stat().st_size < 400_000
    journal.close()


def test_what_is_older_than_a_week_is_forgotten(journal: Journal, clock: ManualClock) -> None:
    Scaled(journal).note(load(T0))
    clock.advance(module.BLOCK_S)
    journal.step()
    clock.advance(module.KEEP_S)
    Scaled(journal).note(load(clock.now_s()))
    assert everything(journal)[1:] == [load(clock.now_s())]


floats = st.floats(allow_nan=False)
counts = st.integers(0, 2**53)
entries = st.one_of(
    st.builds(Load, at_s=floats, capacity=counts, ready=counts, in_hand=floats, now=counts, waiting=counts,
              arrived=counts, ended=counts, work_s=floats, start_s=floats),
    st.builds(AlarmFired, at_s=floats, capacity=counts, policy=st.text(), alarm=st.text(), is_high=st.booleans(),
              value=floats, threshold=floats),
    st.builds(Scheduled, at_s=floats, capacity=counts, action=st.text(), min_capacity=st.none() | counts,
              max_capacity=st.none() | counts),
    st.builds(Bounds, at_s=floats, capacity=counts),
    st.builds(Finished, at_s=floats, capacity=counts, ok=st.booleans()),
    st.builds(Forecast, at_s=floats, capacity=counts, policy=st.text(), wanted=floats),
    st.builds(Tick, at_s=floats, capacity=counts),
    st.builds(Decision, at_s=floats, before=counts, wanted=counts, made=st.booleans(), policy=st.text(),
              inputs=st.dictionaries(st.text(), floats), not_scaled=st.just((NotScaled(code="AlreadyAtMaxCapacity"),)),
              bounds=st.none() | st.tuples(counts, counts)),
    st.builds(Began, at_s=floats, rules=st.just(rules()), state=st.binary(), continues=st.booleans()),
    st.builds(rules, counts),
)  # fmt: skip


@given(st.lists(entries, max_size=8), st.sampled_from([RAW, PACKED]))
def test_every_entry_comes_back_bit_for_bit(noted: list[object], form: int) -> None:
    assert decode(encode(noted, form), form) == noted  # type: ignore[arg-type]


@given(entries.filter(lambda entry: "inf" not in repr(entry)))
def test_every_entry_comes_back_from_json_bit_for_bit(entry: object) -> None:
    text = msgspec.json.encode(document_of(entry))  # type: ignore[arg-type]
    assert entry_of(msgspec.json.decode(text)) == entry


@given(st.binary(max_size=60), st.integers(0, 4))
def test_bytes_that_are_no_block_are_refused_by_name(body: bytes, form: int) -> None:
    if body == b"\x90" and form == RAW:  # no entries
        return
    with pytest.raises(ValueError, match="block"):
        decode(body, form)
