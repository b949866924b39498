"""Where a model fits, and what to try first."""

from __future__ import annotations

import pytest

from trimtab.advisor.fitting.places import USABLE, Place, first_choice, places, speed_of
from trimtab.advisor.fitting.size import architecture_of, need_of
from trimtab.advisor.prices.book import aws_list
from trimtab.advisor.prices.shapes import shape_of, shapes


def held(params: str, **given: object) -> dict[str, Place]:
    values = {"dtype": "fp16", "context": 4096, "concurrency": 1} | given
    need = need_of(architecture_of(params), **values)  # type: ignore[arg-type]
    return {p.instance_type: p for p in places(aws_list(), region="us-east-1", need=need) if p.copies}


def test_a_copy_fits_where_its_bytes_are_within_the_usable_memory_and_nowhere_else() -> None:
    need = need_of(architecture_of("8b"), dtype="int8", context=4096, concurrency=16)
    found = places(aws_list(), region="us-east-1", need=need)
    single = [place for place in found if place.shape.accelerators == 1]
    assert {place.copies for place in single} == {0, 1}
    for place in single:
        assert (place.copies == 1) == (need.total <= place.shape.accelerator_gib_each * USABLE * 2**30)
    one = next(place for place in found if place.instance_type == "ml.g6.xlarge")
    more = need_of(architecture_of("8b"), dtype="int8", context=4096, concurrency=one.most_requests)
    assert more.total <= 22.35 * USABLE * 2**30 < more.total + 2 * more.kv_per_request


def test_a_large_model_is_split_over_as_few_devices_as_hold_it() -> None:
    found = held("70b")
    assert (found["ml.g6e.12xlarge"].devices, found["ml.g6e.12xlarge"].copies) == (4, 1)
    assert (found["ml.p5.48xlarge"].devices, found["ml.p5.48xlarge"].copies) == (2, 4)
    assert "ml.g5.xlarge" not in found


def test_the_cheapest_that_holds_it_is_tried_first_and_why_is_said() -> None:
    found = list(held("8b", dtype="int8", concurrency=16).values())
    choice = first_choice([place for place in found if place.shape.accelerators])
    assert choice is not None
    best, reasons = choice
    assert best.instance_type == "ml.g6.xlarge"
    assert reasons[0].startswith("the cheapest of ")
    assert reasons[-1] == "ml.inf2.xlarge at $0.990 is cheaper, but: the model must be compiled for it (Neuron)"


def test_gpus_that_do_not_compute_in_the_models_type_are_not_tried_first() -> None:
    found = held("3b", dtype="bf16", context=2048)
    assert found["ml.g4dn.xlarge"].caveat == "its T4 does not compute in bf16"
    choice = first_choice([place for place in found.values() if place.shape.accelerators])
    assert choice is not None
    assert choice[0].instance_type == "ml.g6.xlarge"


def test_what_holds_nothing_is_no_choice() -> None:
    assert held("3000b") == {}
    assert first_choice([]) is None


def test_prices_bound_the_list_and_order_it() -> None:
    found = places(aws_list(), region="us-east-1", max_usd_per_hour=1.0)
    assert found
    assert all(place.usd <= 1.0 for place in found)
    assert [place.usd for place in found] == sorted(place.usd for place in found)


def test_dollars_for_memory_and_arithmetic_follow_from_the_price() -> None:
    place = next(p for p in places(aws_list(), region="us-east-1") if p.instance_type == "ml.g6.xlarge")
    assert place.usd_per_gib == pytest.approx(1.1267 / 22.35)
    assert place.usd_per_tflop == pytest.approx(1.1267 / 121)


def test_data_sheets_tell_the_two_a100s_apart_and_unknown_ones_are_left_out() -> None:
    speeds = {name: speed_of(shape) for name, shape in shapes().items()}
    small, large = speeds["p4d.24xlarge"], speeds["p4de.24xlarge"]
    assert small is not None
    assert large is not None
    assert (small.bandwidth_gb_s, large.bandwidth_gb_s) == (1555, 2039)
    assert speeds["m5.large"] is None
    assert shape_of("g7e.2xlarge") is not None
    assert speeds["g7e.2xlarge"] is None
