"""Hot models beside cold ones that load and leave: what a load costs the requests of its neighbours.

    python -m benchmarks.hot_beside [--pairs 12] [--seconds 8] [--cold-per-s 1] [--json FILE]

A real `trimtab serve`, one replica of a multi-model endpoint, real artifacts (`case_models.py`): three hot models,
pinned, and twelve cold ones. All together need three times the memory that the replica has for models. Requests come
from an open-loop client at random times; latency counts from when a request was due. Windows take turns, each pair with
the same hot arrivals: the hot models alone, and beside cold requests that go round the cold models, so that almost
every one of them loads a model and evicts others. Which of the two comes first alternates.

Goals: p99 of the hot models beside at most 1.2 times that alone, no pinned model evicted, no request failed. Exits 1
when one is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import openloop
from benchmarks.case_models import CaseModel, documents, fraud, search
from benchmarks.case_study import MIB, Arm, Part, learn, play
from benchmarks.surge import arrivals
from trimtab.testing.server import serving

NAME = "beside"
HOT_PER_S = {"hot-fraud": 40.0, "hot-boosters": 10.0, "hot-documents": 10.0}
OVERCOMMIT, MOST = 3.0, 1.2
KINDS = ("alone", "beside")


def models() -> list[CaseModel]:
    """Three hot ones first, twelve cold ones."""
    made = [
        fraud("hot-fraud", "onnx", 1, hot=True),
        fraud("hot-boosters", "xgboost", 2, hot=True),
        documents("hot-documents", "boosted", 3, hot=True),
    ]
    for number in range(3):
        made += [fraud(f"x{number}", "xgboost", 10 + number), fraud(f"l{number}", "lightgbm", 20 + number)]
    for number in range(2):
        made += [fraud(f"f{number}", "forest", 30 + number), documents(f"d{number}", "forest", 40 + number)]
        made.append(search(f"s{number}", 50 + number))
    return made


def window(
    made: list[CaseModel], seconds: float, seed: int, cold: list[tuple[float, int]]
) -> tuple[list[float], list[int]]:
    """Times and models of one window."""
    calls = [
        (at_s, index)
        for index, model in enumerate(made)
        if model.hot
        for at_s in arrivals([(HOT_PER_S[model.name], seconds)], seed=1000 * seed + index)
    ]
    calls = sorted(calls + cold)
    return [at_s for at_s, _ in calls], [index for _, index in calls]


def measure(pairs: int, seconds: float, cold_per_s: float) -> dict[str, Any]:
    """All of it."""
    made = models()
    print(f"{len(made)} models are made", flush=True)
    with serving("--auth", "none") as trimtab:
        sizes = learn(trimtab, made)
        pinned = [model.name for model in made if model.hot]
        total, needed = sum(sizes.values()), sum(sizes[name] for name in pinned) + max(sizes.values())
        memory_mib = int(max(total / OVERCOMMIT, 1.1 * needed) / MIB) + 1
        for model in made:
            trimtab.put_model(NAME, model.name, model.archive)
        trimtab.deploy_many(NAME, TRIMTAB_PINNED_MODELS=",".join(pinned), TRIMTAB_MODEL_MEMORY_MIB=str(memory_mib))
        requests = [
            openloop.request(
                f"/endpoints/{NAME}/invocations", model.body, f"X-Amzn-SageMaker-Target-Model: {model.name}\r\n"
            )
            for model in made
        ]
        arm = Arm(NAME, trimtab, (NAME,), requests, [])
        play(
            arm, [0.0] * (2 * len(made)), [*range(len(made))] * 2, at_once=1
        )  # every archive is there, all loaded once
        before = {row["model"]: row for row in arm.told()}
        seen: dict[str, list[Part]] = {kind: [] for kind in KINDS}
        draw, cold_turn = random.Random(5), 0
        cold_ones = [index for index, model in enumerate(made) if not model.hot]
        for pair in range(pairs):
            for kind in KINDS if pair % 2 == 0 else KINDS[::-1]:
                cold = []
                if kind == "beside":
                    for at_s in arrivals([(cold_per_s, seconds)], seed=77 + pair):
                        if cold_turn % len(cold_ones) == 0:
                            draw.shuffle(cold_ones)
                        cold.append((at_s, cold_ones[cold_turn % len(cold_ones)]))
                        cold_turn += 1
                seen[kind].append(play(arm, *window(made, seconds, pair, cold)))
        gained = {
            row["model"]: {key: row[key] - before[row["model"]][key] for key in ("requests", "loads", "evictions")}
            for row in arm.told()
        }
    return figures(made, seen, gained) | {
        "memory_mib": memory_mib,
        "overcommit": total / MIB / memory_mib,
        "beside_s": pairs * seconds,
    }


def figures(made: list[CaseModel], seen: dict[str, list[Part]], gained: dict[str, dict[str, int]]) -> dict[str, Any]:
    def hot(part: Part, index: int | None = None) -> list[float]:
        return [1e3 * s for which, _, s in part.answers if (made[which].hot if index is None else which == index)]

    def spread(index: int | None) -> dict[str, dict[str, float]]:
        found = {kind: [ms for part in parts for ms in hot(part, index)] for kind, parts in seen.items()}
        return {
            kind: {
                "requests": len(all_ms),
                "p50": float(np.quantile(all_ms, 0.5)),
                "p99": float(np.quantile(all_ms, 0.99)),
            }
            for kind, all_ms in found.items()
        }

    pairs = [
        float(np.quantile(hot(two), 0.99) / np.quantile(hot(one), 0.99))
        for one, two in zip(seen["alone"], seen["beside"], strict=True)
    ]
    cold_ms = [1e3 * s for part in seen["beside"] for which, _, s in part.answers if not made[which].hot]
    pinned = [model.name for model in made if model.hot]
    return {
        "models": {"all hot": spread(None)} | {made[index].name: spread(index) for index in range(len(pinned))},
        "pair_ratios": sorted(pairs),
        "cold_ms": {q: float(np.quantile(cold_ms, float(q))) for q in ("0.5", "0.99")} if cold_ms else {},
        "cold_requests": len(cold_ms),
        "loads": sum(row["loads"] for name, row in gained.items() if name not in pinned),
        "evictions": sum(row["evictions"] for row in gained.values()),
        "pinned_evictions": sum(gained[name]["evictions"] for name in pinned),
        "failed": sum(part.failed.total() for parts in seen.values() for part in parts),
        "late_ms": 1e3 * max(part.late_s for parts in seen.values() for part in parts),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=8.0, help="of a window")
    parser.add_argument("--cold-per-s", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.pairs, options.seconds, options.cold_per_s)
    print(
        "| | requests | p50 alone, ms | p50 beside | p99 alone, ms | p99 beside | p99 ratio |\n|---|---|---|---|---|---|---|"
    )
    for name, rows in found["models"].items():
        alone, beside = rows["alone"], rows["beside"]
        print(
            f"| {name} | {alone['requests']:,} | {alone['p50']:.2f} | {beside['p50']:.2f} | {alone['p99']:.2f} "
            f"| {beside['p99']:.2f} | {beside['p99'] / alone['p99']:.2f} |"
        )
    ratios = found["pair_ratios"]
    print(
        f"{found['overcommit']:.1f} times the memory of {found['memory_mib']} MiB; beside: {found['cold_requests']} cold requests, "
        f"{found['loads']} loads and {found['evictions']} evictions in {found['beside_s']:.0f} s; pinned: {found['pinned_evictions']} "
        f"evictions; {found['failed']} failed\n"
        f"p99 beside / alone in each pair of windows: median {np.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}; "
        f"cold requests p50 {found['cold_ms'].get('0.5', 0.0):.0f} ms; the client was late by {found['late_ms']:.1f} ms at most"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    every = found["models"]["all hot"]
    good = every["beside"]["p99"] <= MOST * every["alone"]["p99"] and found["overcommit"] >= 0.9 * OVERCOMMIT
    return 0 if good and not found["pinned_evictions"] and not found["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
