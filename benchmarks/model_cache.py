"""What the choice of models to keep in memory saves, against what no choice can beat.

    python -m benchmarks.model_cache [--minutes 120] [--seeds 1,2,3] [--only steady,shifting]

One replica with a third of the memory that its 300 models take together: scikit-learn, XGBoost, ONNX and PyTorch models
of mixed sizes and load times, drawn around what is usual for their kind (the seed draws them anew). 20 requests a
second, each for a model by Zipf's law (0.9):

    steady     the same models are popular all the time
    shifting   every 15 minutes a third of the 60 most popular ones change places with ones that were cold

A simulation: virtual time, the live cache policy (`policies/models/cache.py`); beside it LRU, GDSF, and `known rates`:
the live policy told how often each model is really asked for, which is the most that can be learned from the past.
`saved` is what of the loading of a replica without a cache (a load for each request) was not needed; `bound` is proven
for any policy, one that knows the future included (`sim/models/bound.py`); `of the bound` is the one over the other.
Three of the 60 most popular models are pinned in a run of its own: their evictions are counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from msgspec import Struct

from trimtab.policies.models.cache import ModelCache
from trimtab.policies.models.inputs import Set
from trimtab.sim.models.bound import Bound, bound
from trimtab.sim.models.one_replica import ModelRun, Policy, SimModel, Trace, run
from trimtab.sim.models.rivals import Rival

MIB = 2**20
MODELS = 300
OVERCOMMIT = 3.0
ZIPF = 0.9
RATE = 20.0
SHIFT_S = 900.0
HOT, SHIFTED = 60, 20


class Kind(Struct, frozen=True):
    share: float  # of the models
    footprint_mib: float  # median
    spread: float  # of the logarithm
    ratio: float  # bytes in memory for each of the artifact
    fixed_s: float
    mib_s: float  # read and built a second


KINDS = {
    "pickle": Kind(0.35, 30, 0.7, 2.2, 0.10, 120),
    "xgboost": Kind(0.25, 20, 0.7, 2.5, 0.05, 150),
    "onnx": Kind(0.25, 110, 0.6, 1.3, 0.05, 700),
    "script": Kind(0.15, 350, 0.6, 1.4, 0.90, 500),
}


def models(rng: np.random.Generator) -> list[SimModel]:
    made = []
    for number in range(MODELS):
        name = str(rng.choice(list(KINDS), p=[kind.share for kind in KINDS.values()]))
        kind = KINDS[name]
        size_mib = kind.footprint_mib * np.exp(rng.normal(0, kind.spread))
        load_s = (kind.fixed_s + size_mib / kind.mib_s) * np.exp(rng.normal(0, 0.25))
        artifact = size_mib / (kind.ratio * np.exp(rng.normal(0, 0.15)))
        made.append(
            SimModel(
                name=f"m{number:03}.tar.gz",
                kind=name,
                artifact_bytes=int(artifact * MIB),
                footprint_bytes=int((size_mib + 6) * MIB),
                load_s=float(load_s),
            )
        )
    return made


class World(Struct, frozen=True):
    trace: Trace
    rates: list[dict[str, float]]  # of each phase: model -> requests a second

    @property
    def memory_bytes(self) -> int:
        return int(sum(model.footprint_bytes for model in self.trace.models) / OVERCOMMIT)


class KnownRates:
    """What `Uses` tries to learn."""

    def __init__(self, rates: list[dict[str, float]]) -> None:
        self.rates = rates

    def note(self, model: str, requests: int, now_s: float) -> None:
        pass

    def rate(self, model: str, now_s: float) -> float:
        return self.rates[min(int(now_s // SHIFT_S), len(self.rates) - 1)][model]


def world(seed: int, minutes: float, *, shifting: bool) -> World:
    rng = np.random.default_rng(seed)
    made = models(rng)
    weights = np.arange(1, MODELS + 1) ** -ZIPF
    weights /= weights.sum()
    ranks = rng.permutation(MODELS)  # rank -> model
    count = int(rng.poisson(RATE * minutes * 60))
    at_s = np.sort(rng.uniform(0, minutes * 60, count))
    rank = rng.choice(MODELS, size=count, p=weights)
    which = np.empty(count, dtype=np.int64)
    phase = (at_s // SHIFT_S).astype(int) if shifting else np.zeros(count, dtype=int)
    rates = []
    for number in range(int(phase.max()) + 1):
        if number:
            fall = rng.choice(HOT, SHIFTED, replace=False)
            rise = rng.choice(np.arange(HOT, MODELS), SHIFTED, replace=False)
            ranks[fall], ranks[rise] = ranks[rise], ranks[fall]
        which[phase == number] = ranks[rank[phase == number]]
        rates.append({made[model].name: RATE * float(weight) for model, weight in zip(ranks, weights, strict=True)})
    return World(Trace(made, at_s, which), rates)


def policies(given: World) -> dict[str, Callable[[], Policy]]:
    return {
        "trimtab": lambda: ModelCache(given.memory_bytes),
        "known rates": lambda: ModelCache(given.memory_bytes, uses=KnownRates(given.rates)),
        "gdsf": lambda: Rival(given.trace, given.memory_bytes, "gdsf"),
        "lru": lambda: Rival(given.trace, given.memory_bytes, "lru"),
    }


def table(found: dict[str, ModelRun], limit: Bound, cpu_s: dict[str, float]) -> None:
    print(
        f"{'':12} {'loads':>7} {'load-s':>8} {'saved':>7} {'of the bound':>13} {'than LRU':>9}"
        f" {'p50 ms':>7} {'p99 ms':>7} {'CPU s':>6}"
    )
    lru_s = found["lru"].load_s
    for policy, one in found.items():
        saved_s = limit.all_s - one.load_s
        p50, p99 = np.percentile(one.waits_s, [50, 99]) * 1e3
        print(
            f"{policy:12} {one.loads:7,} {one.load_s:8,.0f} {saved_s / limit.all_s:7.1%} {saved_s / limit.saved_s:13.1%}"
            f" {one.load_s / lru_s - 1:+9.1%} {p50:7,.0f} {p99:7,.0f} {cpu_s[policy]:6.1f}"
        )
    print(
        f"{'bound':12} {'':7} {limit.least_s:8,.0f} {limit.saved_s / limit.all_s:7.1%} {1:13.1%}"
        f" {limit.least_s / lru_s - 1:+9.1%}",
        flush=True,
    )


def pinned_evictions(given: World, seed: int) -> tuple[tuple[str, ...], int]:
    rng = np.random.default_rng(seed)
    counts = np.bincount(given.trace.which, minlength=MODELS)
    pins = tuple(
        given.trace.models[int(index)].name for index in rng.choice(np.argsort(-counts)[:HOT], 3, replace=False)
    )
    cache = ModelCache(given.memory_bytes)
    found = run(given.trace, cache, first=(Set((), dict.fromkeys(pins, "pinned")),))
    return pins, sum(found.evictions.get(name, 0) for name in pins)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--only", default="steady,shifting")
    options = parser.parse_args()
    for seed in map(int, options.seeds.split(",")):
        for name in options.only.split(","):
            given = world(seed, options.minutes, shifting=name == "shifting")
            found, cpu_s = {}, {}
            for policy, make in policies(given).items():
                began_s = time.process_time()
                found[policy] = run(given.trace, make())
                cpu_s[policy] = time.process_time() - began_s
            limit = bound(given.trace, given.memory_bytes, late_s=max(one.late_s for one in found.values()))
            print(
                f"\n{name}, seed {seed}: {len(given.trace.at_s):,} requests, {limit.all_s:,.0f} s of loading without a"
                f" cache, {given.memory_bytes / MIB:,.0f} MiB for {MODELS} models"
            )
            table(found, limit, cpu_s)
            over = max(one.most_bytes for one in found.values()) / given.memory_bytes
            refused = sum(one.refused for one in found.values())
            print(f"most memory counted: {over:.1%} of the bound; requests refused: {refused}", flush=True)
        pins, evictions = pinned_evictions(given, seed)
        print(f"{', '.join(pins)} pinned: {evictions} evictions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
