"""What gateways have in hand adds up, over real sockets."""

import asyncio
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.control.signal_server import SignalServer, Total
from trimtab.wire.signals import MAX_BYTES, Level, Signal
from trimtab.wire.sized import SIZE

BOUND_S = 5.0


def a_level(now: int = 0, **more: object) -> Level:
    fields = {"in_hand": float(now), "waiting": 0, "arrived": now, "ended": 0, "busy_s": 0.0, **more}
    return Level(**{"endpoint": "e", "variant": "v", "now": now, **fields})


def framed(*levels: Level, at_s: float = 1.0) -> bytes:
    data = msgspec.msgpack.encode(Signal(sent_monotonic_s=at_s, levels=levels))
    return SIZE.pack(len(data)) + data


class Gateway:
    """A gateway's end of the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, *levels: Level, at_s: float = 1.0) -> None:
        self.writer.write(framed(*levels, at_s=at_s))

    async def is_dropped(self) -> bool:
        async with asyncio.timeout(BOUND_S):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    async def leave(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # dropped by the other end


class Place:
    """A server, who is connected, and what was told."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "signals.sock"
        self.told: list[tuple[str, str, Total]] = []
        self.server = SignalServer(self.socket, lambda *told: self.told.append(told))
        self.gateways: list[Gateway] = []

    async def gateway(self) -> Gateway:
        self.gateways.append(Gateway(*await asyncio.open_unix_connection(str(self.socket))))
        return self.gateways[-1]

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND_S):
            while not true():
                await asyncio.sleep(0.001)

    async def until_total(self, **wanted: float) -> Total:
        def is_so() -> bool:
            total = self.server.totals.get(("e", "v"))
            return total is not None and all(getattr(total, name) == value for name, value in wanted.items())

        await self.until(is_so)
        return self.server.totals["e", "v"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tt") as name:  # short: socket paths have 107 bytes
        yield Path(name)


@pytest.fixture
async def place(folder: Path) -> AsyncIterator[Place]:
    place = Place(folder)
    await place.server.open()
    yield place
    for gateway in place.gateways:
        await gateway.leave()
    await place.server.close()


async def test_the_levels_of_all_gateways_add_up_and_each_change_is_told_at_once(place: Place) -> None:
    assert stat.S_IMODE(place.socket.stat().st_mode) == 0o600
    one, other = await place.gateway(), await place.gateway()
    one.say(a_level(3, in_hand=2.5, waiting=2, arrived=10, ended=7, busy_s=1.5, oldest_s=0.2), at_s=5.0)
    await place.until_total(now=3)
    other.say(a_level(1, in_hand=0.5, arrived=4, ended=3, busy_s=0.25, oldest_s=0.1), at_s=6.0)
    assert await place.until_total(now=4) == Total(
        in_hand=3.0, now=4, waiting=2, arrived=14, ended=10, busy_s=1.75, oldest_s=0.2, sent_monotonic_s=6.0
    )
    assert [(endpoint, variant, total.now) for endpoint, variant, total in place.told] == [("e", "v", 3), ("e", "v", 4)]


async def test_variants_are_told_apart(place: Place) -> None:
    gateway = await place.gateway()
    gateway.say(a_level(1), a_level(2, variant="w"), a_level(3, endpoint="f"))
    await place.until(lambda: len(place.told) == 3)
    assert {where: total.now for where, total in place.server.totals.items()} == {
        ("e", "v"): 1,
        ("e", "w"): 2,
        ("f", "v"): 3,
    }


async def test_what_a_gateway_that_goes_had_in_hand_goes_with_it_and_what_it_counted_stays(place: Place) -> None:
    one, other = await place.gateway(), await place.gateway()
    one.say(a_level(3, arrived=10, ended=7, busy_s=1.0, oldest_s=3.0, waiting=3))
    other.say(a_level(1, arrived=4, ended=3))
    await place.until_total(now=4)
    await one.leave()
    total = await place.until_total(now=1)
    assert (total.arrived, total.ended, total.busy_s, total.oldest_s, total.waiting) == (14, 10, 1.0, 0.0, 0)
    assert place.told[-1] == ("e", "v", total)
    again = await place.gateway()
    again.say(a_level(2, arrived=1, ended=2))
    assert (await place.until_total(now=3)).arrived == 15


async def test_a_gateway_with_nothing_in_hand_goes_unnoticed(place: Place) -> None:
    gateway, other = await place.gateway(), await place.gateway()
    gateway.say(a_level(0, arrived=1, ended=1))
    await place.until_total(arrived=1)
    await gateway.leave()
    other.say(a_level(1))
    await place.until_total(now=1)
    assert len(place.told) == 2


async def test_counters_never_fall(place: Place) -> None:
    gateway = await place.gateway()
    gateway.say(a_level(0, arrived=5, ended=5, busy_s=2.0))
    gateway.say(a_level(1, arrived=2, ended=1, busy_s=1.0))
    gateway.say(a_level(0, arrived=3, ended=3, busy_s=1.5))
    total = await place.until_total(arrived=6)
    assert (total.ended, total.busy_s) == (7, 2.5)


async def test_a_variant_that_is_over_is_told_with_nothing_in_hand_and_forgotten(place: Place) -> None:
    one, other = await place.gateway(), await place.gateway()
    one.say(a_level(3))
    other.say(a_level(1))
    await place.until_total(now=4)
    one.say(a_level(0, arrived=3, over=True))
    await place.until_total(now=1)
    other.say(a_level(0, arrived=1, over=True))
    await place.until(lambda: not place.server.totals)
    assert (place.told[-1][2].now, place.told[-1][2].arrived) == (0, 4)
    one.say(a_level(1))  # another of that name
    assert (await place.until_total(now=1)).arrived == 1


async def test_a_variant_that_is_forgotten_counts_from_zero(place: Place) -> None:
    gateway = await place.gateway()
    gateway.say(a_level(2, arrived=5, ended=3))
    await place.until_total(now=2)
    place.server.forget("e", "v")
    assert not place.server.totals
    gateway.say(a_level(3, arrived=6, ended=3))
    assert await place.until_total(now=3) == place.told[-1][2]
    assert place.told[-1][2].arrived == 1
    await gateway.leave()
    await place.until_total(now=0)
    place.server.forget("e", "v")
    place.server.forget("e", "v")


@pytest.mark.parametrize(
    "nonsense",
    [
        SIZE.pack(3) + b"\xc1\xc1\xc1",
        SIZE.pack(MAX_BYTES + 1),
        SIZE.pack(1) + msgspec.msgpack.encode(7),
        b"GET / HTTP/1.1\r\n\r\n",
        framed(a_level(-1)),
        framed(a_level(1, busy_s=float("nan"))),
        framed(a_level(1, in_hand=float("inf"))),
        framed(a_level(1), at_s=float("nan")),
    ],
)
async def test_who_sends_nonsense_is_dropped_and_others_are_served(
    place: Place, nonsense: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = await place.gateway(), await place.gateway()
    bad.say(a_level(2))
    good.say(a_level(1))
    await place.until_total(now=3)
    bad.writer.write(nonsense)
    assert await bad.is_dropped()
    await place.until_total(now=1)
    assert "cannot be read" in caplog.text
    good.say(a_level(5))
    await place.until_total(now=5)


async def test_nobody_is_told_after_it_is_closed(place: Place) -> None:
    gateway = await place.gateway()
    gateway.say(a_level(1))
    await place.until_total(now=1)
    await place.server.close()
    assert await gateway.is_dropped()
    assert len(place.told) == 1


counts = st.integers(0, 2**40)
amounts = st.floats(0, 1e12)
levels = st.builds(
    Level,
    endpoint=st.text(max_size=63),
    variant=st.text(max_size=63),
    in_hand=amounts,
    now=counts,
    waiting=counts,
    arrived=counts,
    ended=counts,
    busy_s=amounts,
    oldest_s=amounts,
    over=st.booleans(),
)


@given(st.lists(st.lists(levels, max_size=5), max_size=5), st.integers(1, 97))
def test_signals_are_read_as_they_were_written_however_they_are_cut(signals: list[list[Level]], step: int) -> None:
    server = SignalServer(Path("unused"))
    taken: list[Signal] = []
    server.take = lambda connection, signal: taken.append(signal)  # type: ignore[method-assign]
    connection = server.connections._connection()

    class Transport:
        def set_write_buffer_limits(self, high: int) -> None:
            pass

        def abort(self) -> None:
            raise AssertionError("dropped")

    connection.connection_made(Transport())  # type: ignore[arg-type]
    data = b"".join(framed(*some, at_s=float(number)) for number, some in enumerate(signals))
    for start in range(0, len(data), step):
        connection.data_received(data[start : start + step])
    assert [(signal.sent_monotonic_s, list(signal.levels)) for signal in taken] == [
        (float(number), some) for number, some in enumerate(signals)
    ]


@given(st.binary(max_size=200))
def test_no_bytes_bring_it_down(data: bytes) -> None:
    server = SignalServer(Path("unused"))
    connection = server.connections._connection()

    class Transport:
        def set_write_buffer_limits(self, high: int) -> None:
            pass

        def abort(self) -> None:
            pass

    connection.connection_made(Transport())  # type: ignore[arg-type]
    connection.data_received(SIZE.pack(len(data)) + data)
