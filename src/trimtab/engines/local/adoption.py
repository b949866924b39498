"""What an earlier control left running: found by its birth records and by its sockets."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Container
from pathlib import Path

import msgspec

from trimtab.engines.local import processes, records
from trimtab.engines.local.orders import BirthRecord
from trimtab.logs import fields
from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind, WorkerDescription, pack

logger = logging.getLogger(__name__)

_ANSWER_LIMIT_S = 2.0
_BEING_WRITTEN_LIMIT_S = 1.0


async def find_living(workers_dir: Path, house: str) -> tuple[list[tuple[Path, BirthRecord]], list[BirthRecord]]:
    """The processes that live, with their record files; and the records of the dead, whose files are removed.

    A worker that has lost its record is taken for one of `house`.
    """
    living: list[tuple[Path, BirthRecord]] = []
    dead: list[BirthRecord] = []
    for path, record in records.all_records(workers_dir):
        record = record or await _being_written(path)
        if record is not None and records.is_alive(record):
            living.append((path, record))
            continue
        records.forget(path)
        if record is not None:
            dead.append(record)
    known = {record.address.removeprefix("unix:") for _, record in living}
    for socket_path in sorted(workers_dir.glob("*.sock")):
        if str(socket_path) in known:
            continue
        found = await _ask(socket_path, house)
        if found is not None:
            living.append((socket_path.with_suffix(records.SUFFIX), found))
    return living, dead


def newcomers(workers_dir: Path, known: Container[Path]) -> list[tuple[Path, BirthRecord]]:
    """Living processes whose record files are not `known`: born of an order that an earlier control gave last."""
    found = [(path, records.read(path)) for path in workers_dir.glob(f"*{records.SUFFIX}") if path not in known]
    return [(path, record) for path, record in found if record is not None and records.is_alive(record)]


def sweep(workers_dir: Path, known: Container[str]) -> None:
    """Remove what dead processes left that belonged to no replica of the `known` ids: births nobody waited for."""
    for path in workers_dir.glob(f"*{records.SUFFIX}"):
        record = records.read(path)
        if path.stem.rpartition("-")[0] in known or (record is not None and records.is_alive(record)):
            continue
        try:
            claim = records.claim(str(path))
        except FileNotFoundError:
            continue
        if claim >= 0:  # nobody is being born there
            os.close(claim)
            records.forget(path)
            path.with_suffix(".sock").unlink(missing_ok=True)


async def _being_written(path: Path) -> BirthRecord | None:
    """A record that is not whole: its process is at its very beginning (its lock tells), or never got further."""
    deadline_s = asyncio.get_running_loop().time() + _BEING_WRITTEN_LIMIT_S
    while asyncio.get_running_loop().time() < deadline_s:
        if (record := records.read(path)) is not None:
            return record
        try:
            claim = records.claim(str(path))
        except FileNotFoundError:
            return None
        if claim >= 0:  # nobody is being born there
            os.close(claim)
            return None
        await asyncio.sleep(0.005)
    return None


async def _ask(socket_path: Path, house: str) -> BirthRecord | None:
    """A socket without a record: make one from what the worker says. A dead socket is unlinked."""
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            description = await _describe(socket_path)
    except (ConnectionRefusedError, FileNotFoundError):
        socket_path.unlink(missing_ok=True)
        return None
    except (OSError, EOFError, TimeoutError, msgspec.DecodeError) as error:
        logger.warning("a socket that is no worker's %s", fields(path=socket_path, error=repr(error)))
        return None
    return BirthRecord(
        replica_id=description.replica_id,
        index=description.index,
        spec=description.spec,
        address=f"unix:{socket_path}",
        processes=description.index + 1,
        house=house,
        pid=description.pid,
        start_ticks=processes.start_ticks(description.pid) or 0,
    )


async def _describe(socket_path: Path) -> WorkerDescription:
    reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        writer.write(pack(Kind.DESCRIBE, 0))
        while True:
            payload_size, _, meta_size, kind, _ = HEADER.unpack(await reader.readexactly(HEADER_SIZE))
            body = await reader.readexactly(meta_size + payload_size)
            if kind == Kind.DESCRIPTION:
                return msgspec.msgpack.decode(body[meta_size:], type=WorkerDescription)
    finally:
        writer.close()
