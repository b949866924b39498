"""WorkerLaunch: everything that a new worker process must know. The engine writes it, the worker reads it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field


def gpu_variables(gpus: Sequence[int]) -> dict[str, str]:
    """What a process's environment must say so that it sees `gpus`, numbered as NVML does, and no other.

    CUDA numbers devices by speed unless told otherwise: beside different cards, the same number is another one.
    """
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}


class WorkerLaunch(Struct, frozen=True, kw_only=True):
    """One order to be a worker. Sizes in bytes, times in seconds, `*_monotonic_s` on CLOCK_MONOTONIC.

    A nursery passes it to `worker.main.run` in a freshly forked child; for a fresh interpreter it travels as
    MessagePack on the standard input of `python -m trimtab.worker`, or in a file named as its only argument.
    """

    spec: bytes  # MessagePack of the ReplicaSpec; given back in every description, so that a new control can adopt
    index: int = 0  # which of the replica's model server processes this is
    socket_path: str  # where it is asked; a stale file there is replaced
    listener_fd: int = -1  # the socket that listens there already; -1: the worker makes it
    model_dir: str = ""  # the unpacked artifact; "" = the model has none
    layers: tuple[str, ...] = ()  # installed requirements: go to the front of sys.path, first one first
    environment: dict[str, str] = field(default_factory=dict)  # added to the spec's own, which wins
    log_path: str = ""  # stdout and stderr; "" = leave them alone
    log_max_bytes: int = 64 * 2**20  # of the log and its one predecessor (`LOG.1`) together
    lifeline_fd: int = -1  # read end of the supervisor's pipe: end of file = finish and exit
    orphan_grace_s: float = 60.0  # how long work in hand may go on once the supervisor is gone
    gpus: tuple[int, ...] = ()  # the devices it may see; () hides all
    hide_gpus: bool = True  # False leaves CUDA_VISIBLE_DEVICES as it is when `gpus` is ()
    cpus: tuple[int, ...] = ()  # CPU affinity; () = any
    memory_limit_bytes: int = 0  # of private data (RLIMIT_DATA); 0 = none
    region: str = "us-east-1"
    ordered_monotonic_s: float = 0.0  # when the engine gave the order; fork_s counts from here; 0 = unknown
    owned: bool = False  # by whoever holds a control connection: without any it finishes what it has in hand and ends
    data_dir: str = ""  # of a model host, which orders workers itself: where trimtab keeps its files
    house: str = ""  # of a model host: the supervisor's life, as in BirthRecord
    hung_after_s: float = 0.0  # of a model host: its worker with one request in hand for so long is hung; 0: never
