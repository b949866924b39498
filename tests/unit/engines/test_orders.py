import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.engines.local import records
from trimtab.engines.local.orders import BirthRecord, Exited, Learn, decode_order, decode_reply, encode, split
from trimtab.wire.sized import SIZE


def a_record(**changes: object) -> BirthRecord:
    return BirthRecord(**{"replica_id": "r", "index": 0, "spec": b"", "address": "unix:/x", **changes})  # type: ignore[arg-type]


@given(st.lists(st.lists(st.text(max_size=20), max_size=5), max_size=10), st.integers(1, 50))
def test_messages_come_out_whole_however_they_are_cut(messages: list[list[str]], cut: int) -> None:
    orders = [Learn(modules=tuple(words)) for words in messages]
    stream = b"".join(map(encode, orders))
    buffer, found = bytearray(), []
    for at in range(0, len(stream), cut):
        buffer += stream[at : at + cut]
        found += [decode_order(message) for message in split(buffer)]
    assert found == orders
    assert not buffer


def test_a_size_beyond_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        split(bytearray(SIZE.pack(2**31)))


def test_replies_are_told_apart() -> None:
    exited = Exited(pid=3, status=9, cpu_s=0.5)
    (message,) = split(bytearray(encode(exited)))
    assert decode_reply(message) == exited


def test_a_record_is_claimed_once_while_its_claimant_lives(tmp_path: Path) -> None:
    path = str(tmp_path / "r-0.birth")
    claim = records.claim(path)
    assert claim >= 0
    assert records.claim(path) == -1
    assert records.read(path) is None
    records.fill(claim, a_record())
    os.close(claim)
    record = records.read(path)
    assert record is not None
    assert record.pid == os.getpid()
    assert records.is_alive(record)
    assert records.claim(path) == -1  # the lock is gone, the process is not


def test_the_record_of_a_dead_process_can_be_claimed(tmp_path: Path) -> None:
    path = str(tmp_path / "r-0.birth")
    claim = records.claim(path)
    records.fill(claim, a_record())
    os.close(claim)
    record = records.read(path)
    assert record is not None
    Path(path).write_bytes(b"\x00 torn")
    again = records.claim(path)
    assert again >= 0
    os.close(again)
