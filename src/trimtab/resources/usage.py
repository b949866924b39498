"""ReplicaUsage: what one replica takes of the machine that it runs on."""

from __future__ import annotations

from msgspec import Struct


class ReplicaUsage(Struct, frozen=True, kw_only=True):
    """One reading of one replica, all of its processes together. None: not known, or there is no such thing here."""

    replica_id: str
    endpoint: str
    variant: str
    cpu_percent: float | None = None  # 0 to 100 x cores, since the reading before; None in the first one
    memory_bytes: int | None = None  # proportional set size: what is shared is divided among those who share it
    memory_percent: float | None = None  # of the memory that the replica may have
    disk_percent: float | None = None  # of the file system that its data is on
    gpu_percent: float | None = None  # 0 to 100 x its GPUs
    gpu_memory_percent: float | None = None  # 0 to 100 x its GPUs
    gpu_memory_bytes: int | None = None
