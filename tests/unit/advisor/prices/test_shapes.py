"""Shapes of instance types."""

from __future__ import annotations

import pytest

from trimtab.advisor.prices.shapes import shape_of, shapes
from trimtab.advisor.prices.tables import discounts


def test_a_shape_tells_cpus_memory_and_accelerators() -> None:
    shape = shape_of("ml.g5.12xlarge")
    assert shape is not None
    assert (shape.vcpus, shape.memory_gib, shape.accelerator, shape.accelerators) == (48, 192.0, "A10G", 4.0)
    assert shape.accelerator_gib == pytest.approx(4 * shape.accelerator_gib_each, rel=1e-3)
    assert shape.family == "g5"


def test_types_with_and_without_ml_have_the_same_hardware_and_unknown_ones_have_none() -> None:
    assert shape_of("m5.large") == shape_of("ml.m5.large")
    assert shape_of("ml.unheard.of") is None


def test_every_shape_is_whole() -> None:
    assert len(shapes()) > 200
    for shape in shapes().values():
        assert shape.vcpus > 0
        assert shape.memory_gib > 0
        assert bool(shape.accelerator) == (shape.accelerators > 0)


def test_commitments_take_something_off_and_say_where_that_was_read() -> None:
    found = discounts()
    assert {discount.applies_to for discount in found} == {"ec2", "ec2-gpu", "sagemaker"}
    assert all(0 < discount.off < 1 and discount.source for discount in found)
