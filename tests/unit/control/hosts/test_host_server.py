"""Who may speak to control as a model host, and what it must say."""

import asyncio
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.control.hosts import server
from trimtab.testing.model_hosts import PREFIX, HostsWorld, until
from trimtab.wire.hosting import MAX_BYTES, Changed, Fetch, HostHello, NoFiles, Settings
from trimtab.wire.sized import SIZE, SizedReader, sized

HELLO = sized(msgspec.msgpack.encode(HostHello(replica_id="r", endpoint="e", variant="v", prefix=PREFIX)))


async def test_a_host_is_told_settings_at_once_even_when_there_are_none(world: HostsWorld) -> None:
    host = await world.host()
    assert await host.hears(Settings) == Settings()


async def test_of_two_connections_for_one_replica_the_later_one_counts(world: HostsWorld) -> None:
    first = await world.host()
    await first.hears(Settings)
    second = await world.host()
    assert await first.is_dropped()
    second.say(Fetch(id=1, model="a"))
    await second.hears(NoFiles)


@pytest.mark.parametrize(
    "said",
    [
        SIZE.pack(MAX_BYTES + 1),
        sized(b"\xc1"),
        sized(msgspec.msgpack.encode({"type": "nobody knows"})),
        sized(msgspec.msgpack.encode({"type": "fetch", "id": "one"})),
        HELLO,
    ],
)
async def test_what_cannot_be_read_ends_that_connection_alone(world: HostsWorld, said: bytes) -> None:
    good, bad = await world.host("uid1-1-0"), await world.host("uid1-1-1")
    await bad.hears(Settings)
    bad.send(said)
    assert await bad.is_dropped()
    good.say(Fetch(id=1, model="a"))
    await good.hears(NoFiles)


async def test_who_does_not_say_who_it_is_first_is_heard_by_nobody(world: HostsWorld) -> None:
    reader, writer = await asyncio.open_unix_connection(str(world.socket))
    writer.write(sized(msgspec.msgpack.encode(Fetch(id=1, model="a"))))
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    assert not world.models._holdings


async def test_hosts_come_and_go(world: HostsWorld) -> None:
    hosts = [await world.host(f"uid1-1-{number}") for number in range(3)]
    await until(lambda: len(world.models._holdings) == 3)
    for host in hosts:
        await host.leave()
    await until(lambda: not world.models._holdings)


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(messages: list[bytes], cut: int) -> None:
    stream = b"".join(sized(message) for message in messages)
    reader = SizedReader(300)
    found = [m for start in range(0, len(stream), cut) for m in reader.feed(stream[start : start + cut])]
    assert found == messages


def test_a_message_that_is_too_large_is_refused_by_its_size_alone() -> None:
    with pytest.raises(ValueError, match="a message of 301 bytes"):
        list(SizedReader(300).feed(SIZE.pack(301)))


async def test_a_host_that_does_not_read_is_let_go_and_its_like_are_not(
    world: HostsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = await world.host("uid1-1-0")
    await good.hears(Settings)
    reader, writer = await asyncio.open_unix_connection(str(world.socket), limit=1)  # it stops reading soon
    writer.write(HELLO)
    await until(lambda: len(world.models._holdings) == 2)
    (stuck,) = [host for host in world.models._holdings if host.replica_id == "r"]
    monkeypatch.setattr(server, "UNREAD_BYTES", 2**16)
    await until(lambda: stuck.tell(Changed(model="a" * 1000)) or not stuck.connected)
    assert {host.replica_id for host in world.models._holdings} == {"uid1-1-0"}
    writer.close()
    good.say(Fetch(id=1, model="a"))
    await good.hears(NoFiles)
