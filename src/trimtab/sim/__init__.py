"""Endpoints under a virtual clock, scaled by the very policies that scale live ones.

`simulate.simulate` has whole architectures, request by request, of every mode; `trial` one recorded variant (what
`trimtab replay` compares policies by). `reducer.step` and `policies.alarms` decide in both. Nothing here reads a
clock or draws a number that no seed was given for, so the same inputs give the same outcome. They are models;
docs/decisions/017-simulator.md says of what.
"""
