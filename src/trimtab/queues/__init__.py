"""Durable queues: what is accepted is on the disk, is worked on under a lease, and ends exactly once."""
