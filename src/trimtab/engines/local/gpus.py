"""The NVIDIA GPUs of this machine, as NVML lists them."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from trimtab.logs import fields
from trimtab.resources.launch import gpu_variables

logger = logging.getLogger(__name__)


class Gpu(Struct, frozen=True, kw_only=True):
    """One device. `index` is NVML's: the order of the PCI bus."""

    index: int
    uuid: str
    name: str
    memory_bytes: int


@functools.cache
def inventory() -> tuple[Gpu, ...]:
    """The devices that trimtab may use: all, or those that its own CUDA_VISIBLE_DEVICES names. Asked once."""
    return visible(_ask_nvml(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(devices: Sequence[Gpu], wanted: str | None) -> tuple[Gpu, ...]:
    """Those of `devices` that a CUDA_VISIBLE_DEVICES value leaves. As CUDA: it ends at the first unknown entry.

    It ends, too, at one that is there twice, where CUDA sees no device at all.
    """
    if wanted is None:
        return tuple(devices)
    left: list[Gpu] = []
    for entry in filter(None, (part.strip() for part in wanted.split(","))):
        match = next(
            (d for d in devices if entry == str(d.index) or (len(entry) > 4 and d.uuid.startswith(entry))), None
        )
        if match is None or match in left:
            break
        left.append(match)
    return tuple(left)


def environment(gpus: Sequence[int], machine: Sequence[Gpu]) -> Mapping[str, str]:
    """What a program's environment must say so that it sees `gpus` and no other; nothing on a machine without."""
    return gpu_variables(gpus) if machine else {}


def _ask_nvml(load: Callable[[], object] | None = None) -> tuple[Gpu, ...]:
    """All devices; none when there is no driver, which is the common case and no failure."""
    import pynvml

    try:
        (load or pynvml.nvmlInit)()
    except pynvml.NVMLError as error:
        logger.debug("no GPUs %s", fields(nvml=error))
        return ()
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found.append(
                Gpu(
                    index=index,
                    uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
                    name=_text(pynvml.nvmlDeviceGetName(handle)),
                    memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                )
            )
        return tuple(found)
    except pynvml.NVMLError as error:
        logger.warning("GPUs cannot be listed; going on without %s", fields(nvml=error))
        return ()
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
