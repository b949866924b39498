"""Scaling: how many replicas a variant should have. Pure: the same inputs give the same decisions, bit for bit.

`reducer.step` is the one door: live control, `trimtab replay` and the simulator call nothing else.
"""
