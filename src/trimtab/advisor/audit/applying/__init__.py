"""Carrying out what an audit proposes: look at what is there, show it, change it, look again, say how to undo it."""
