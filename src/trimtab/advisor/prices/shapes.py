"""Shapes: what hardware an instance type has. From EC2's DescribeInstanceTypes; `ml.` types have the same."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache

from msgspec import Struct

from trimtab.advisor.prices import tables


class Shape(Struct, frozen=True, kw_only=True):
    """One instance type. Accelerator memory is what EC2 reports as usable; a part of a GPU counts as a fraction."""

    instance_type: str  # without ml.
    vcpus: int
    memory_gib: float
    arch: str
    accelerator: str = ""  # T4, A10G, Inferentia2; "" without one
    accelerator_maker: str = ""  # NVIDIA, AWS, AMD
    accelerators: float = 0.0
    accelerator_gib_each: float = 0.0
    accelerator_gib: float = 0.0  # together
    neuron_cores: int = 0
    network: str = ""
    network_baseline_gbps: float | None = None
    network_peak_gbps: float | None = None
    has_efa: bool = False
    local_nvme_gb: float = 0.0

    @property
    def family(self) -> str:
        """`g5` of `g5.xlarge`."""
        return self.instance_type.split(".")[0]

    @property
    def words(self) -> str:
        """`4 vCPU, 16 GiB, 1 x T4 (16 GiB), Up to 25 Gigabit`, as far as it is known."""
        known = [
            f"{self.vcpus} vCPU" if self.vcpus else "",
            f"{self.memory_gib:g} GiB" if self.memory_gib else "",
            f"{self.accelerators:g} x {self.accelerator} ({self.accelerator_gib:g} GiB)" if self.accelerators else "",
            self.network,
        ]
        return ", ".join(filter(None, known))


@cache
def shapes() -> Mapping[str, Shape]:
    """By instance type, without `ml.`: `shape_of` takes both."""
    rows = csv.DictReader(tables.own("instances.csv").splitlines())
    return {row["instance_type"]: _shape(row) for row in rows}


def shape_of(instance_type: str) -> Shape | None:
    """Of `ml.g5.xlarge` or `g5.xlarge`; None where it is not known."""
    return shapes().get(instance_type.removeprefix("ml."))


def _shape(row: Mapping[str, str]) -> Shape:
    return Shape(
        instance_type=row["instance_type"],
        vcpus=int(row["vcpus"]),
        memory_gib=float(row["memory_gib"]),
        arch=row["arch"],
        accelerator=row["accelerator"],
        accelerator_maker=row["accelerator_maker"],
        accelerators=float(row["accelerator_count"] or 0),
        accelerator_gib_each=float(row["accelerator_memory_gib_each"] or 0),
        accelerator_gib=float(row["accelerator_memory_gib_total"] or 0),
        neuron_cores=int(float(row["neuron_cores"] or 0)),
        network=row["network_performance"],
        network_baseline_gbps=float(row["network_baseline_gbps"]) if row["network_baseline_gbps"] else None,
        network_peak_gbps=float(row["network_peak_gbps"]) if row["network_peak_gbps"] else None,
        has_efa=row["efa"] == "1",
        local_nvme_gb=float(row["local_nvme_gb"] or 0),
    )
