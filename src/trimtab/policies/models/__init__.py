"""Decisions about many models in one replica: what to load, what to give up for it, and on which replicas."""
