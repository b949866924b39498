"""Autoscaling, live: targets and policies, what moves them, and what became of it."""
