"""What the choice of models to keep in memory saves, against what no choice can beat.

    python -m benchmarks.model_cache [--minutes 120] [--seed 1] [--plot FILE.png]

One replica with a third of the memory that its 300 models take together: scikit-learn, XGBoost, ONNX and PyTorch models
of mixed sizes and load times (a simulation: each model's are drawn around its kind's). 20 requests a second, each for a model by Zipf's law (0.9):

    steady     the same models are popular all the time
    shifting   every 15 minutes a third of the 60 most popular ones change places with ones that were cold

on one thread of virtual time that runs the live cache policy (`policies/models/cache.py`), LRU and GDSF. `saved` is what
of the loading of a replica without a cache (a load for each request) was not needed; the bound is proven for any policy
that knows the future (`sim/model_bound.py`); `of the bound` is the one over the other.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec import Struct

from trimtab.policies.models.cache import ModelCache
from trimtab.sim.model_bound import Bound, bound
from trimtab.sim.model_rivals import Rival
from trimtab.sim.models import ModelRun, Policy, SimModel, Trace, run

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


def trace(seed: int, minutes: float, *, shifting: bool) -> Trace:
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
    for number in range(int(phase.max()) + 1):
        if number:
            fall = rng.choice(HOT, SHIFTED, replace=False)
            rise = rng.choice(np.arange(HOT, MODELS), SHIFTED, replace=False)
            ranks[fall], ranks[rise] = ranks[rise], ranks[fall]
        which[phase == number] = ranks[rank[phase == number]]
    return Trace(made, at_s, which)


def policies(given: Trace, memory_bytes: int) -> dict[str, Callable[[], Policy]]:
    return {
        "trimtab": lambda: ModelCache(memory_bytes),
        "gdsf": lambda: Rival(given, memory_bytes, "gdsf"),
        "lru": lambda: Rival(given, memory_bytes, "lru"),
    }


def table(name: str, given: Trace, found: dict[str, ModelRun], limit: Bound, cpu_s: dict[str, float]) -> None:
    print(f"\n{name}: {len(given.at_s):,} requests, {limit.all_s:,.0f} s of loading without a cache")
    print(
        f"{'':10} {'loads':>8} {'load-s':>9} {'saved':>7} {'of the bound':>13} {'than LRU':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU s':>6}"
    )
    lru_s = found["lru"].load_s
    for policy, one in found.items():
        saved = limit.all_s - one.load_s
        p50, p99 = np.percentile(one.waits_s, [50, 99]) * 1e3
        print(
            f"{policy:10} {one.loads:8,} {one.load_s:9,.0f} {saved / limit.all_s:7.1%} {saved / limit.saved_s:13.1%}"
            f" {one.load_s / lru_s - 1:+9.1%} {p50:8,.0f} {p99:8,.0f} {cpu_s[policy]:6.1f}"
        )
    print(
        f"{'bound':10} {'':8} {limit.least_s:9,.0f} {limit.saved_s / limit.all_s:7.1%} {1:13.1%} {limit.least_s / lru_s - 1:+9.1%}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="steady,shifting")
    options = parser.parse_args()
    for name in options.only.split(","):
        given = trace(options.seed, options.minutes, shifting=name == "shifting")
        memory_bytes = int(sum(model.footprint_bytes for model in given.models) / OVERCOMMIT)
        found, cpu_s = {}, {}
        for policy, make in policies(given, memory_bytes).items():
            began_s = time.process_time()
            found[policy] = run(given, make())
            cpu_s[policy] = time.process_time() - began_s
            assert found[policy].most_bytes <= memory_bytes * 1.02 and not found[policy].refused, found[policy]
        late_s = max(one.late_s for one in found.values())
        began_s = time.process_time()
        limit = bound(given, memory_bytes, late_s=late_s)
        table(name, given, found, limit, cpu_s)
        print(
            f"late {late_s:.3f}, bound without {bound(given, memory_bytes).saved_s / limit.saved_s:.4f} cpu {time.process_time() - began_s:.1f} memory {memory_bytes / MIB:,.0f} MiB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
