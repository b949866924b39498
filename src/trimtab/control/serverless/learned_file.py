"""What was learned of idle times, in a file: a control that begins anew goes on with it. It may be deleted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trimtab.files import write_whole
from trimtab.logs import fields
from trimtab.policies.serverless.keep_warm import IdleTimes

logger = logging.getLogger(__name__)

Learned = dict[str, list[IdleTimes]]
"""By `UID/VARIANT`, UID being of the endpoint's life."""


def read(path: Path) -> Learned:
    """Nothing when there is no such file, or none that can be read."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Learned)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        logger.warning("idle times are learned anew: what was kept is not readable %s", fields(path=path, error=error))
        return {}


def write(path: Path, packed: bytes) -> None:
    """Whole, or not at all. What cannot be written is tried again with the next."""
    try:
        write_whole(path, packed, sync=False)
    except OSError as error:
        logger.warning("idle times could not be kept %s", fields(path=path, error=error))


def pack(learned: Mapping[str, list[IdleTimes]]) -> bytes:
    """As `read` reads it."""
    return msgspec.msgpack.encode(learned)
