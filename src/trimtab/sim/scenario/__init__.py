"""Scenario files: workloads, the architectures that are compared on them, and what goes wrong, in YAML.

`load` reads one. It is strict: whatever it does not know, it refuses, with the line, the field and what to do.
docs/guides/simulating.md tells of the format.
"""

from trimtab.sim.scenario.loading import Loaded, load, slo_of
from trimtab.sim.scenario.scaling import PolicyReader

__all__ = ["Loaded", "PolicyReader", "load", "slo_of"]
