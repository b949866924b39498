"""All figures of docs/benchmarks.md, one program after the other (`make bench`; about two hours; peers 25 minutes, surges 35).

python -m benchmarks [NAME ...]      only these, by name
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.wrk import INSTALL

PROGRAMS: dict[str, tuple[str, list[str]]] = {
    # name: module, arguments
    "dataplane": ("dataplane", []),
    "metering": ("metering", []),
    "cost_ledger": ("cost_ledger", []),
    "gateway_cpu": ("gateway_cpu", []),
    "model_dispatch": ("model_dispatch", []),
    "reports": ("reports", []),
    "signals": ("signals", []),
    "queues": ("queues", []),
    "metering_memory": ("metering_memory", ["--seconds", "1000", "--variants", "50"]),
    "sigv4": ("sigv4", []),
    "loadgen": ("loadgen", []),
    "worker_dataplane": ("worker_dataplane", []),
    "batching": ("batching", []),
    "startup": ("startup", []),
    "birth": ("birth", []),
    "birth_large": ("birth", ["--runtime", "large", "--max-p99-ms", "150"]),
    "model_load": ("model_load", []),
    "first_answer": ("first_answer", []),
    "model_swaps": ("model_swaps", []),
    "scale_out": ("scale_out", []),
    "wake": ("wake", ["--wakes", "300"]),
    "serverless": ("serverless", []),
    "wake_large": ("wake", ["--model", "large", "--wakes", "50"]),
    "surge": ("surge", ["--surges", "15"]),
    "transitions": ("transitions", []),
    "model_isolation": ("model_isolation", []),
    "fuzz_edge": ("fuzz_edge", ["--requests", "100000", "--seed", "1"]),
    "async_ocr": ("async_ocr", []),
    "weekend": ("weekend", []),
    "simulator": ("simulator", []),
    "shapes": ("shapes", []),
    "oracle": ("oracle", ["--days", "1"]),
    "commitments": ("commitments", []),
    "advisor": ("advisor", ["--hours", "1"]),
    "keep_warm": ("keep_warm", []),
    "audit": ("audit", []),
    "streams": ("streams", []),
    "overload": ("overload", []),
    "endurance": ("endurance", ["--minutes", "5"]),
    "hot_models": ("hot_models", []),
    "hot_beside": ("hot_beside", []),
    "many_models": ("many_models", []),
    "case_study": ("case_study", []),
    "case_sums": ("case_sums", []),
    "case_live": ("case_live", []),
    "peers": ("peers", ["--models", "fraud"]),
    "peers_batching": ("peers", ["--models", "mlp-batched", "--seconds", "3"]),
}
NEED_WRK = ("batching", "overload", "endurance", "peers", "peers_batching")


def main() -> int:
    """Run them; 1 when one of them failed or is unknown. What this machine cannot run is left out, with a message."""
    wanted = sys.argv[1:] or list(PROGRAMS)
    if unknown := [name for name in wanted if name not in PROGRAMS]:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}", file=sys.stderr)
        return 1
    failed = []
    for name in wanted:
        print(f"\n== {name} ==", flush=True)
        if name in NEED_WRK and shutil.which("wrk") is None:
            print(f"left out: {INSTALL}", flush=True)
            continue
        module, arguments = PROGRAMS[name]
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], cwd=Path(__file__).parents[1])
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"failed, or over their goals: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
