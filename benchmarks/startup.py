"""How quickly trimtab and an endpoint are there, and how much memory an idle trimtab takes.

python -m benchmarks.startup [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab, serving

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "fraud"))


def settled_pss_mib(trimtab: Trimtab) -> dict[str, float]:
    """Proportional set size of each process, MiB, once it has stopped changing (imports in the nursery go on after ready)."""
    supervisor = psutil.Process(trimtab.process.pid)
    last = -1.0
    while True:
        sizes = {
            " ".join(p.cmdline())[:40]: p.memory_full_info().pss / 2**20
            for p in [supervisor, *supervisor.children(recursive=True)]
        }
        if abs(sum(sizes.values()) - last) < 0.5:
            return sizes
        last = sum(sizes.values())
        time.sleep(1)


def main() -> None:
    """Print the table of docs/benchmarks.md."""
    from train import load, train  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    learn, test = load()
    model = archive(model_onnx=train(learn))
    body = json.dumps(test.features[:1].tolist()).encode()
    ready_s, in_service_ms, first_answer_ms, idle_mib = [], [], [], []
    sizes: dict[str, float] = {}
    for _ in range(rounds):
        began_s = time.perf_counter()
        with serving() as trimtab:
            ready_s.append(time.perf_counter() - began_s)
            sizes = settled_pss_mib(trimtab)
            idle_mib.append(sum(sizes.values()))
            for i in range(4):
                name = f"fraud-{i}"
                trimtab.create_model(name, model)
                trimtab.create_config(name, name)
                began_s = time.perf_counter()
                trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
                while trimtab.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Creating":
                    time.sleep(0.002)
                in_service_ms.append((time.perf_counter() - began_s) * 1000)
                trimtab.invoke(name, body)
                first_answer_ms.append((time.perf_counter() - began_s) * 1000)
    table = Table(title=f"{rounds} rounds, {psutil.cpu_count()} cores")
    for column in ("figure", "median", "worst"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for what, values, unit in (
        ("`trimtab serve` until its ready line", ready_s, "s"),
        ("idle, all processes (PSS)", idle_mib, "MiB"),
        ("create_endpoint until InService (ONNX, through boto3)", in_service_ms, "ms"),
        ("create_endpoint until the first answer", first_answer_ms, "ms"),
    ):
        table.add_row(what, f"{statistics.median(values):.2f} {unit}", f"{max(values):.2f} {unit}")
    Console(width=120).print(table)
    for title, mib in sizes.items():
        print(f"  {mib:6.1f} MiB  {title}")


if __name__ == "__main__":
    main()
