"""The engine's connection to the nursery, on the event loop that control runs on."""

import asyncio
import socket
from pathlib import Path

import msgspec
import uvloop

from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.orders import Bear, BirthRecord, Born, decode_order, encode, split

ORDER = Bear(
    id=0, record=BirthRecord(replica_id="r", index=0, spec=b"", address="unix:/x"), record_path="/x", launch=b""
)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    buffer = bytearray()
    while data := await reader.read(1 << 16):
        buffer += data
        for message in split(buffer):
            writer.write(encode(Born(id=decode_order(message).id, pid=1, start_ticks=1)))
    writer.close()


def test_an_order_given_while_the_connection_is_breaking_goes_to_the_next_nursery(tmp_path: Path) -> None:
    async def scene() -> Born:
        server = await asyncio.start_unix_server(answer, str(tmp_path / "n.sock"))
        client = NurseryClient(tmp_path / "n.sock", patience_s=5)
        client.open()
        born = await client.order(ORDER)
        for turns in range(8):  # of the event loop: the news of the break travels from one part to the next
            assert client._writer is not None
            client._writer.transport.abort()
            for _ in range(turns):
                await asyncio.sleep(0)
            born = await client.order(ORDER)
        await client.close()
        server.close()
        return born

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asyncio.wait_for(scene(), 20)).pid == 1


def test_an_order_has_left_before_the_turn_of_the_event_loop_ends(tmp_path: Path) -> None:
    """What else the turn does may wait for the disk."""

    received: list[bytes] = []

    async def scene() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "n.sock"))
            listener.listen()
            client = NurseryClient(tmp_path / "n.sock", patience_s=5)
            client.open()
            await client._up.wait()
            with listener.accept()[0] as nursery:
                nursery.setblocking(False)
                order = asyncio.ensure_future(client.order(ORDER))
                asyncio.get_running_loop().call_soon(lambda: received.append(nursery.recv(1 << 16)))  # in the same turn
                while not received:
                    await asyncio.sleep(0)
                order.cancel()
                await asyncio.gather(order, return_exceptions=True)
                await client.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scene(), 20))
    (message,) = split(bytearray(received[0]))
    assert decode_order(message) == msgspec.structs.replace(ORDER, id=1)
