"""The engine's connection to the nursery, on the event loop that control runs on."""

import asyncio
from pathlib import Path

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
