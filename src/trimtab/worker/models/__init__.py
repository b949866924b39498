"""Artifacts that are served without a script, one module for each kind of file."""
