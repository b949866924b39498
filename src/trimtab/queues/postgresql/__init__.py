"""Durable queues in PostgreSQL: one set of queues for many machines."""

from trimtab.queues.postgresql.store import PostgresqlQueueStore, check

__all__ = ["PostgresqlQueueStore", "check"]
