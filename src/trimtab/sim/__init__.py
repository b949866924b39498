"""One variant under a virtual clock: load against replicas, scaled by the very policies that scale live ones.

`run.run` drives; `reducer.step` and `policies.alarms.judge` decide. Nothing here reads a clock or draws a number that
no seed was given for, so the same inputs give the same outcome. It is a model; docs/guides/autoscaling.md says of what.
"""
