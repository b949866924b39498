"""Ids of messages that are cheap to keep: they begin with the time, so that an index of them grows at its end."""

from __future__ import annotations

import secrets
import time
import uuid


def new_id(now_s: float | None = None) -> str:
    """A UUID of version 7 (RFC 9562): milliseconds since the epoch, then chance. Half as dear to put as mere chance."""
    now_ms = int((time.time() if now_s is None else now_s) * 1000) & (1 << 48) - 1
    value = now_ms << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))
