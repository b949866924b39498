"""Which CPUs, memory and GPUs of this machine a replica gets. Bookkeeping only: nothing here touches a process.

Shapes are labels by default: every replica may use all CPUs and memory, and GPUs are shared when there are fewer than
asked for. Enforced, a replica gets CPUs of its own (as many as its type has, or all when the machine has fewer),
memory that is set aside for it, and GPUs of its own; what does not fit is NoCapacity.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from trimtab.engines.local.gpus import Gpu
from trimtab.engines.local.memory import total_memory
from trimtab.engines.local.shapes import GIB, Shape
from trimtab.errors import NoCapacity


class Machine(Struct, frozen=True, kw_only=True):
    """What there is to give out."""

    cpus: tuple[int, ...]
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()


class Place(Struct, frozen=True, kw_only=True):
    """What one replica holds. Empty `cpus` and zero `memory_bytes` mean no limit."""

    cpus: tuple[int, ...] = ()
    memory_bytes: int = 0
    gpus: tuple[int, ...] = ()


class Placer:
    """Who holds what."""

    def __init__(self, machine: Machine, *, enforce: bool) -> None:
        """Begin with an empty machine."""
        self.machine = machine
        self._enforce = enforce
        self._places: dict[str, Place] = {}

    def place(self, replica_id: str, shape: Shape) -> Place:
        """Give a replica its place. Raises NoCapacity, and changes nothing, when it does not fit."""
        place = self._enforced(shape) if self._enforce else Place(gpus=self._least_used_gpus(shape.gpus))
        self._places[replica_id] = place
        return place

    def adopt(self, replica_id: str, place: Place) -> None:
        """Note what a replica of an earlier control holds, whether it fits or not."""
        self._places[replica_id] = place

    def release(self, replica_id: str) -> None:
        """Take the place back. Unknown id: no effect."""
        self._places.pop(replica_id, None)

    def _enforced(self, shape: Shape) -> Place:
        cpus = self._free_cpus(shape)
        memory_free = self.machine.memory_bytes - sum(place.memory_bytes for place in self._places.values())
        if shape.memory_bytes > memory_free:
            raise NoCapacity(
                f"{shape.instance_type} has {shape.memory_bytes / GIB:g} GiB of memory; "
                f"{max(0, memory_free) / GIB:.1f} of this machine's {self.machine.memory_bytes / GIB:.1f} GiB are free."
                " Use a smaller instance type or fewer instances, or do not enforce shapes.",
                retry_after_s=5.0,
            )
        taken = {gpu for place in self._places.values() for gpu in place.gpus}
        free = [gpu.index for gpu in self.machine.gpus if gpu.index not in taken]
        if shape.gpus > len(free):
            raise NoCapacity(
                f"{shape.instance_type} has {shape.gpus} GPUs; {len(free)} of this machine's "
                f"{len(self.machine.gpus)} are free.",
                retry_after_s=5.0,
            )
        return Place(cpus=cpus, memory_bytes=shape.memory_bytes, gpus=tuple(free[: shape.gpus]))

    def _free_cpus(self, shape: Shape) -> tuple[int, ...]:
        need = min(shape.vcpus, len(self.machine.cpus))
        taken = {cpu for place in self._places.values() for cpu in place.cpus}
        free = [cpu for cpu in self.machine.cpus if cpu not in taken]
        if need > len(free):
            raise NoCapacity(
                f"{shape.instance_type} has {shape.vcpus} vCPUs; {len(free)} of this machine's "
                f"{len(self.machine.cpus)} CPUs are free. Use a smaller instance type or fewer instances, "
                "or do not enforce shapes.",
                retry_after_s=5.0,
            )
        return tuple(free[:need])

    def _least_used_gpus(self, count: int) -> tuple[int, ...]:
        used = Counter(gpu for place in self._places.values() for gpu in place.gpus)
        by_use = sorted((gpu.index for gpu in self.machine.gpus), key=lambda index: (used[index], index))
        return tuple(sorted(by_use[:count]))


def this_machine(gpus: Sequence[Gpu]) -> Machine:
    """The CPUs that this process may use, and memory within the limits of its control group."""
    return Machine(cpus=tuple(sorted(os.sched_getaffinity(0))), memory_bytes=total_memory(), gpus=tuple(gpus))
