"""What control hears of variants that are scaled by events, and when; with control's real end of the socket."""

import asyncio
import random
import socket
from collections import Counter

import msgspec
import pytest

from trimtab.control.signal_server import SignalServer
from trimtab.errors import NoCapacity, NotFound, QueueFull
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.signaller import Signaller
from trimtab.resources.routing import EndpointRoute, VariantRoute
from trimtab.wire.signals import Signal
from trimtab.wire.sized import SIZE

BOUND_S = 5.0


class Control:
    """Control's end, and what it was told."""

    def __init__(self, path):
        self.path = path
        self.told = []
        self.changed = asyncio.Event()
        self.server = None

    async def open(self):
        self.server = SignalServer(self.path, self._hear)
        await self.server.open()
        return self

    def _hear(self, endpoint, variant, total):
        self.told.append((endpoint, variant, total))
        self.changed.set()

    def total(self, variant="v"):
        return self.server.totals.get(("e", variant))

    async def until(self, true):
        async with asyncio.timeout(BOUND_S):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    async def close(self):
        await self.server.close()


async def until(true):
    async with asyncio.timeout(BOUND_S):
        while not true():
            await asyncio.sleep(0)


@pytest.fixture
async def control(bench):
    control = Control(bench.folder / "signals.sock")
    yield control
    if control.server is not None:
        await control.close()


@pytest.fixture
async def signaller(bench, control):
    signaller = Signaller(bench.gateway, control.path)
    task = asyncio.ensure_future(signaller.run())
    yield signaller
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def connected(control, signaller):
    await control.open()
    await until(lambda: signaller.is_connected)
    return signaller


def echo(got):
    got.answer(got.body)


async def test_a_call_at_zero_is_told_at_once_and_answered_when_a_replica_comes(bench, control, connected):
    await bench.route(signals=True)
    call = bench.ask(b"early")
    await control.until(lambda: control.told)
    endpoint, variant, total = control.told[0]
    assert (endpoint, variant, total.now, total.waiting, total.arrived, total.ended) == ("e", "v", 1, 1, 1, 0)
    assert total.oldest_s > 0
    await bench.route(await bench.worker(echo), signals=True)
    assert await call.outcome() == b"early"
    await control.until(lambda: control.total().ended == 1 and control.total().in_hand == 0)
    assert (control.total().now, control.total().oldest_s) == (0, 0)


async def test_it_needs_no_look_to_be_told_of_a_call_at_zero(bench, control, connected, monkeypatch):
    monkeypatch.setattr(connected, "look", lambda: None)
    await bench.route(signals=True)
    calls = [bench.ask() for _ in range(100)]
    await control.until(lambda: control.told)
    assert control.total().waiting == 100  # those of one turn are told together
    calls += [bench.ask() for _ in range(100)]
    await bench.route(await bench.worker(echo), signals=True)
    assert [await call.outcome() for call in calls] == [b"x"] * 200
    assert len(control.told) == 1  # those behind are told of when it looks


async def test_a_call_that_a_leaving_replica_hands_back_is_told_of_at_once(bench, control, connected, monkeypatch):
    monkeypatch.setattr(connected, "look", lambda: None)
    worker = await bench.worker()
    await bench.route(worker, signals=True)
    call = bench.ask()
    await worker.until(lambda: worker.got)
    await bench.route(signals=True)
    worker.got[0].refuse()
    await control.until(lambda: control.told)
    assert control.total().waiting == 1
    await bench.route(await bench.worker(echo), signals=True)
    assert await call.outcome() == b"x"


async def test_calls_that_wait_when_the_last_replica_is_taken_away_are_told_of_at_once(
    bench, control, connected, monkeypatch
):
    monkeypatch.setattr(connected, "look", lambda: None)
    worker = await bench.worker()
    await bench.route(worker, signals=True)
    calls = [bench.ask(), bench.ask()]
    await worker.until(lambda: worker.got)
    await bench.route(signals=True)
    await control.until(lambda: control.told)
    assert (control.total().now, control.total().waiting) == (2, 1)
    worker.got[0].answer(b"x")
    await bench.route(await bench.worker(echo), signals=True)
    assert [await call.outcome() for call in calls] == [b"x", b"x"]


async def test_of_a_variant_that_is_not_scaled_by_events_nothing_is_told(bench, control, connected):
    await bench.route()
    call = bench.ask()
    connected.look()
    await bench.route(await bench.worker(echo))
    await call.outcome()
    assert not connected.is_looking
    await bench.route(signals=True)
    bench.ask()
    await control.until(lambda: control.told)
    assert control.told[0][2].arrived == 1


async def test_it_looks_only_while_there_are_calls(bench, control, connected):
    await bench.route(await bench.worker(echo), signals=True)
    assert not connected.is_looking
    await bench.ask().outcome()
    assert connected.is_looking
    await control.until(lambda: control.total() and control.total().ended == 1 and control.total().in_hand == 0)
    assert connected.is_looking
    list(bench.gateway.reports())
    assert list(bench.gateway.reports()) == []  # it is idle from now on
    await until(lambda: not connected.is_looking)
    told = len(control.told)
    await bench.ask().outcome()
    await control.until(lambda: control.total().ended == 2)
    assert control.total().arrived == 2
    assert len(control.told) > told


async def test_a_control_that_comes_later_hears_of_what_waits_and_counts_from_there(bench, control, signaller):
    await bench.route(signals=True)
    first = bench.ask()
    await control.open()
    await control.until(lambda: control.told)
    total = control.told[0][2]
    assert (total.now, total.waiting, total.arrived) == (1, 1, 0)
    assert total.oldest_s > 0
    second = bench.ask()
    await control.until(lambda: control.total().now == 2)
    assert control.total().arrived == 1
    for _ in range(2):  # and another control
        await control.close()
        await until(lambda: not signaller.is_connected)
        control.told.clear()
        await control.open()
        await control.until(lambda: control.told)
        assert (control.told[0][2].waiting, control.told[0][2].arrived) == (2, 0)
    await bench.route(await bench.worker(echo), signals=True)
    assert [await first.outcome(), await second.outcome()] == [b"x", b"x"]
    await control.until(lambda: control.total().ended == 2 and control.total().in_hand == 0)


async def test_without_control_calls_at_zero_are_held_until_their_time_is_up(bench, signaller):
    await bench.route(signals=True, timeout_s=0.1)
    error = await bench.ask().outcome()
    assert isinstance(error, NoCapacity)
    assert "has no replica" in str(error)


async def test_clients_that_leave_are_held_no_more(bench, control, connected):
    await bench.route(signals=True)
    calls = [bench.ask() for _ in range(5)]
    await control.until(lambda: control.told)
    for call in calls[1:]:
        call.cancel()
    await control.until(lambda: control.total().waiting == 1)
    assert (control.total().arrived, control.total().ended) == (5, 4)
    worker = await bench.worker(echo)
    await bench.route(worker, signals=True)
    assert await calls[0].outcome() == b"x"
    assert len(worker.got) == 1


async def test_calls_held_at_zero_are_sent_oldest_first(bench, control, connected):
    await bench.route(signals=True)
    calls = [bench.ask(bytes([number])) for number in range(20)]
    calls[3].cancel()
    worker = await bench.worker(echo)
    await bench.route(worker, signals=True)
    outcomes = [await call.outcome() for number, call in enumerate(calls) if number != 3]
    assert [got.body for got in worker.got] == outcomes == [bytes([n]) for n in range(20) if n != 3]


async def test_calls_at_zero_are_held_through_changes_of_the_table(bench, control, connected):
    await bench.route(signals=True, version="c-1")
    call = bench.ask()
    await bench.route(signals=True, version="c-2", max_queue=2)
    second = bench.ask()
    assert isinstance(await bench.ask().outcome(), QueueFull)
    await bench.route(await bench.worker(echo), signals=True, version="c-3")
    assert [await call.outcome(), await second.outcome()] == [b"x", b"x"]
    await control.until(lambda: control.total().ended == 3)


async def test_a_variant_that_is_removed_while_calls_are_held_gives_them_on_and_is_told_of_no_more(
    bench, control, connected
):
    await bench.route(signals=True)
    call = bench.ask()
    await control.until(lambda: control.total() is not None)
    variant = VariantRoute(name="w", weight=1, lanes=((await bench.worker(echo)).lane(),), signals=True)
    await bench.gateway.apply(bench.table(EndpointRoute(name="e", variants=(variant,))))
    assert await call.outcome() == b"x"
    await control.until(lambda: control.total() is None)
    await control.until(lambda: control.total("w") is not None and control.total("w").ended == 1)
    await bench.gateway.apply(bench.table())
    await control.until(lambda: not control.server.totals)
    assert isinstance(await bench.ask().outcome(), NotFound)


async def test_a_variant_that_is_scaled_by_events_no_longer_is_told_of_no_more(bench, control, connected):
    await bench.route(signals=True)
    bench.ask()
    await control.until(lambda: control.total() is not None)
    await bench.route()
    await control.until(lambda: control.total() is None)
    assert control.told[-1][2].now == 0
    await bench.route(signals=True)  # and again: what waits is told of, though no call comes
    await control.until(lambda: control.total() is not None)
    assert (control.total().waiting, control.total().arrived) == (1, 0)


async def test_a_control_that_does_not_read_costs_no_memory_and_hears_the_newest(bench, signaller):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.folder / "signals.sock"))
        listener.listen()
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        link, _ = await loop.sock_accept(listener)
        await bench.route(signals=True)
        await until(lambda: signaller.is_connected)
        bench.ask()
        while signaller.is_heard:
            signaller.caught_up()  # as if there were much to tell
            await asyncio.sleep(0)
        for _ in range(100):
            bench.ask()
            signaller.look()
        with link:
            async with asyncio.timeout(BOUND_S):
                level, size_bytes = None, 0
                while level is None or level.waiting < 101:
                    (size,) = SIZE.unpack(await _read(link, SIZE.size))
                    (level,) = msgspec.msgpack.decode(await _read(link, size), type=Signal).levels
                    size_bytes += size
            assert level.arrived == 101
            assert size_bytes < 2**20


async def _read(link, size):
    data = b""
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(link, size - len(data))
    return data


async def test_without_meters_what_is_in_hand_is_told_and_nothing_counted(bench, control, caplog):
    bench.gateway = Gateway(metered=False)
    signaller = Signaller(bench.gateway, control.path)
    task = asyncio.ensure_future(signaller.run())
    await control.open()
    await until(lambda: signaller.is_connected)
    await bench.route(signals=True)
    calls = [bench.ask(), bench.ask()]
    await control.until(lambda: control.told)
    assert (control.total().now, control.total().waiting, control.total().arrived) == (2, 2, 0)
    await bench.route(await bench.worker(echo), signals=True)
    for call in calls:
        await call.outcome()
    await control.until(lambda: control.total().now == 0 and control.total().busy_s > 0)
    assert "meters are off" in caplog.text
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_time_of_replicas_adds_up_whatever_is_reported_meanwhile(bench, control, connected):
    worker = await bench.worker()
    await bench.route(worker, signals=True)
    call = bench.ask()
    await worker.until(lambda: worker.got)
    list(bench.gateway.reports())  # takes what the lane has so far
    await control.until(lambda: control.total() and control.total().busy_s > 0.05)
    list(bench.gateway.reports())
    worker.got[0].answer(b"x")
    await call.outcome()
    total = bench.variant.busy_so_far_s()
    await control.until(lambda: control.total().ended == 1 and control.total().in_hand == 0)
    assert control.total().busy_s == pytest.approx(total, abs=1e-6)
    reported = sum(sum(report.busy_s.values()) for report in bench.gateway.reports())
    assert 0 < reported < total
    assert bench.variant.busy_so_far_s() == pytest.approx(total, abs=1e-9)
    await bench.route(signals=True)
    await bench.route(signals=True)  # the lane is forgotten, its time is not
    assert bench.variant.busy_so_far_s() == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
async def test_when_all_is_quiet_the_sums_of_all_gateways_are_what_happened(
    bench, control, asked_whole, streaming, seed
):
    draw = random.Random(seed)
    await control.open()
    gateways = [bench.gateway, Gateway()]
    signallers = [Signaller(gateway, control.path) for gateway in gateways]
    tasks = [asyncio.ensure_future(signaller.run()) for signaller in signallers]
    await until(lambda: all(signaller.is_connected for signaller in signallers))

    def act(got):
        what = draw.random()
        if what < 0.1:
            got.fail(500, b"")
        elif what < 0.2:
            (got.head(), got.chunk(b"a"), got.end())
        elif what < 0.25:
            got.refuse()
        elif what < 0.3:
            (got.head(), got.chunk(b"a"), got.fail(500, b""))
        elif what < 0.9:
            got.answer(got.body)

    workers = [await bench.worker(act) for _ in range(3)]
    asked = Counter()
    calls = []
    for _ in range(60):
        if draw.random() < 0.3:
            variants = tuple(
                VariantRoute(
                    name=name,
                    weight=1.0,
                    lanes=tuple(w.lane() for w in draw.sample(workers, draw.choice((0, 1, 2, 3)))),
                    signals=True,
                    max_queue=10,
                    max_payload_bytes=4,
                    timeout_s=0.3,
                    version=str(draw.randrange(2)),
                )
                for name in ("v", "w")
            )
            table = bench.table(EndpointRoute(name="e", variants=variants))
            await asyncio.gather(*(gateway.apply(table) for gateway in gateways))
        for _ in range(draw.randrange(6)):
            target = draw.choice(("v", "w"))
            bench.gateway = draw.choice(gateways)
            body = draw.choice((b"x", b"x", b"x", b"too long"))
            call = bench.ask(body, kind=draw.choice((asked_whole, streaming)), target_variant=target)
            calls.append(call)
            if call.variant is not None:
                asked[target] += 1
        if draw.random() < 0.3 and calls:
            draw.choice(calls).cancel()
        for gateway in gateways:
            if draw.random() < 0.2:
                list(gateway.reports())
        if draw.random() < 0.5:
            await asyncio.sleep(0)
    await until(lambda: all(call.done for call in calls))

    def is_known():
        return all(
            (total := control.total(name)) is not None
            and (total.arrived, total.ended, total.now, total.in_hand) == (count, count, 0, 0)
            for name, count in asked.items()
        )

    await control.until(is_known)
    for name in asked:
        variants = [gateway.endpoints["e"].by_name[name] for gateway in gateways]
        busy_s = sum(variant.busy_so_far_s() for variant in variants)
        assert control.total(name).busy_s <= busy_s + 1e-6
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for gateway in gateways:
        await gateway.close()
