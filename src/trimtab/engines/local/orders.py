"""What the engine and the nursery say to each other over the nursery's socket: u32 size, then MessagePack.

Engine -> nursery: Bear, Spawn, Learn. Nursery -> engine: Born, Refused, Learned (each to the order of its id), Exited.
"""

from __future__ import annotations

import msgspec

from trimtab.wire import sized

MAX_MESSAGE_BYTES = 16 * 2**20


class BirthRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One process of one replica, kept in a file for as long as it lives: how a later control finds it again.

    The file is written by the process itself before it becomes anything, so no process is ever without one.
    `pid`, `start_ticks` and `born_s` are filled in there.
    """

    replica_id: str
    index: int
    spec: bytes  # MessagePack of the ReplicaSpec
    address: str  # where it answers: `unix:/path` (frames) or `tcp:127.0.0.1:port` (container contract)
    log_path: str = ""
    container: str = ""  # name of the container that the process stands for
    cpus: tuple[int, ...] = ()
    memory_bytes: int = 0  # reserved for the whole replica; 0 = shapes are labels
    gpus: tuple[int, ...] = ()
    processes: int = 1  # how many the replica has in all
    started_s: float = 0.0  # wall time of the order to start
    model_dir: str = ""  # the artifact that it reads
    house: str = ""  # names the supervisor that it lives and dies with
    pid: int = 0
    start_ticks: int = 0
    born_s: float = 0.0  # on CLOCK_BOOTTIME; later than the process's start when it had waited for an order


class Bear(msgspec.Struct, frozen=True, kw_only=True, tag="bear"):
    """Fork a worker. The same replica and index again: answered with the one that lives."""

    id: int
    record: BirthRecord
    record_path: str
    launch: bytes  # MessagePack of the WorkerLaunch
    fresh: bool = False  # exec a new interpreter instead of forking this one


class Spawn(msgspec.Struct, frozen=True, kw_only=True, tag="spawn"):
    """Run a program in a process group of its own, its output appended to the record's log."""

    id: int
    record: BirthRecord
    record_path: str
    argv: tuple[str, ...]
    environment: dict[str, str]  # all of it
    cwd: str


class Learn(msgspec.Struct, frozen=True, kw_only=True, tag="learn"):
    """Import these modules when there is nothing else to do, so that later workers are born with them.

    With an id somebody waits for that: it is done at once, and answered.
    """

    modules: tuple[str, ...]
    id: int = 0


class Born(msgspec.Struct, frozen=True, kw_only=True, tag="born"):
    """The process exists. It may be on its way still; its socket or port tells when it is not."""

    id: int
    pid: int
    start_ticks: int


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """There is no such process, and why.

    `missing`: the program does not exist on this machine. `again`: it is being born by an earlier order; ask again.
    """

    id: int
    message: str
    missing: bool = False
    again: bool = False


class Learned(msgspec.Struct, frozen=True, kw_only=True, tag="learned"):
    """Nothing is left to learn: what could be imported has been."""

    id: int


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag="exited"):
    """A child of the nursery ended. `status` is wait(2)'s."""

    pid: int
    status: int
    cpu_s: float = 0.0
    max_resident_bytes: int = 0


Order = Bear | Spawn | Learn
Reply = Born | Refused | Learned | Exited

decode_order = msgspec.msgpack.Decoder(Order).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
decode_record = msgspec.msgpack.Decoder(BirthRecord).decode


def encode(message: Order | Reply) -> bytes:
    """A message with its size before it."""
    return sized.sized(msgspec.msgpack.encode(message))


def split(buffer: bytearray) -> list[bytes]:
    """Take the complete messages off the front of `buffer`. Raises ValueError for a size beyond all reason."""
    return list(sized.split(buffer, MAX_MESSAGE_BYTES))
