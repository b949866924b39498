"""Numbers of things in words."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 request`, `1,234 requests`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
