"""How many bytes all models of one replica may take together."""

from __future__ import annotations

_FOR_OTHERS = 0.1  # of the memory: the host itself, what its workers share, the page cache


def models_bytes(asked_bytes: int, *, instance_bytes: int, machine_bytes: int) -> int:
    """`asked_bytes` where somebody has said it (0: nobody); else what the instance type has, or the machine if that is
    less, but for a tenth."""
    return asked_bytes or int(min(instance_bytes, machine_bytes) * (1.0 - _FOR_OTHERS))
