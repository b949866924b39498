"""Caches to compare with: LRU, and GreedyDual-Size-Frequency. The plain ones of the books: no pins, no forecasts."""

from __future__ import annotations

from dataclasses import dataclass, field

from trimtab.policies.models.actions import Action, FetchModel, Load, Unload
from trimtab.policies.models.inputs import Asked, Ended, Fetched, Input, Loaded, Used
from trimtab.sim.models.one_replica import Trace


@dataclass
class Rival:
    """Loads what is asked for; gives up whatever has the lowest rank (`lru`: used longest ago; `gdsf`)."""

    trace: Trace
    memory_bytes: int
    kind: str
    used_bytes: int = 0
    coming_bytes: int = 0  # of those that are leaving
    age: float = 0.0  # gdsf: the rank of the last that was given up
    ready: dict[str, float] = field(default_factory=dict)  # model -> rank
    counts: dict[str, int] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.models = {model.name: model for model in self.trace.models}

    def next_s(self, now_s: float) -> float | None:
        """Never."""
        return None

    def step(self, given: Input, now_s: float) -> tuple[Action, ...]:
        """What to do after `given`."""
        match given:
            case Asked(name):
                return (FetchModel(name),)
            case Fetched(name):
                self.pending.append(name)
            case Loaded(name):
                self.ready[name] = self.rank(name, now_s)
            case Used(name, requests) if requests:
                self.counts[name] = self.counts.get(name, 0) + requests
                if name in self.ready:
                    self.ready[name] = self.rank(name, now_s)
            case Ended(name):
                self.used_bytes -= self.models[name].footprint_bytes
                self.coming_bytes -= self.models[name].footprint_bytes
        return tuple(self.settle())

    def rank(self, name: str, now_s: float) -> float:
        """Its worth."""
        if self.kind == "lru":
            return now_s
        model = self.models[name]
        return self.age + self.counts.get(name, 1) * model.load_s / model.footprint_bytes

    def settle(self) -> list[Action]:
        """Room for those that wait, first come, first served."""
        out: list[Action] = []
        promised = 0
        for name in list(self.pending):
            need = self.models[name].footprint_bytes
            while self.memory_bytes - self.used_bytes + self.coming_bytes - promised < need and self.ready:
                victim = min(self.ready, key=lambda one: self.ready[one])
                self.age = max(self.age, self.ready.pop(victim))
                self.coming_bytes += self.models[victim].footprint_bytes
                out.append(Unload(victim, "1", "evicted", ""))
            if self.memory_bytes - self.used_bytes - promised >= need:
                self.pending.remove(name)
                self.used_bytes += need
                out.append(Load(name, "1", "asked", need))
            else:
                promised += need
        return out
