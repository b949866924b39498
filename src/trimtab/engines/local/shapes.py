"""Instance types as shapes: what AWS's machine of that name has. The table and its sources: shapes.csv, SOURCES.md."""

from __future__ import annotations

import csv
import difflib
import functools
from collections.abc import Mapping
from importlib import resources

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.resources.serverless import INSTANCE_TYPE_PREFIX

GIB = 2**30


class Shape(Struct, frozen=True, kw_only=True):
    """What an instance type has. `gpus` counts NVIDIA devices only; fractions of one (g6f) count as one."""

    instance_type: str
    vcpus: int
    memory_bytes: int
    gpus: int = 0
    accelerator: str = ""


def shape_of(instance_type: str) -> Shape:
    """The shape of `ml.FAMILY.SIZE`. Raises Invalid when there is no such instance type."""
    if instance_type.startswith(INSTANCE_TYPE_PREFIX):
        return _environment(instance_type)
    shapes = table()
    if (shape := shapes.get(instance_type)) is not None:
        return shape
    near = difflib.get_close_matches(instance_type, shapes, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ' Instance types look like "ml.m5.large".'
    raise Invalid(f"There is no instance type {instance_type!r} for endpoints.{hint}")


def _environment(instance_type: str) -> Shape:
    """Of a serverless environment: its memory, and a part of the machine's CPUs that is not its own."""
    memory_mib = int(instance_type.removeprefix(INSTANCE_TYPE_PREFIX))
    return Shape(instance_type=instance_type, vcpus=0, memory_bytes=memory_mib * 2**20)


@functools.cache
def table() -> Mapping[str, Shape]:
    """Every known instance type by its `ml.` name."""
    text = resources.files(__package__).joinpath("shapes.csv").read_text(encoding="utf-8")
    return {shape.instance_type: shape for shape in map(_shape, csv.DictReader(text.splitlines()))}


def _shape(row: Mapping[str, str]) -> Shape:
    count = float(row["accelerator_count"] or 0)
    nvidia = row["accelerator_maker"] == "NVIDIA"
    return Shape(
        instance_type=f"ml.{row['instance_type']}",
        vcpus=int(row["vcpus"]),
        memory_bytes=int(float(row["memory_gib"]) * GIB),
        gpus=max(1, int(count)) if nvidia and count else 0,
        accelerator=row["accelerator"],
    )
