"""Durable desired state."""
