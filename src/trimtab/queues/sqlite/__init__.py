"""Durable queues in one SQLite file."""

from trimtab.queues.sqlite.store import SqliteQueueStore

__all__ = ["SqliteQueueStore"]
