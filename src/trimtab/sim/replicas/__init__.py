"""Endpoints that are replicas: a station of them, what alarms see of it, what goes wrong; batch transform."""
