"""Smithy RPC v2 CBOR: what is no good is refused by name, whatever bytes come."""

from __future__ import annotations

from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws.protocols import cborbody
from trimtab.aws.protocols.errors import Malformed
from trimtab.aws.services import load

OPERATIONS = load("cloudwatch", ("PutMetricData", "GetMetricStatistics")).operations
PUT = OPERATIONS["PutMetricData"].input
READ = OPERATIONS["GetMetricStatistics"].output
assert PUT is not None
assert READ is not None


def test_timestamps_are_tagged_and_floats_are_floats() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    body = cbor2.dumps({"Namespace": "n", "MetricData": [{"MetricName": "m", "Timestamp": at, "Value": 1}]})
    [datum] = cborbody.parse(PUT, body)["MetricData"]
    assert (datum["Timestamp"], datum["Value"]) == (at, 1.0)
    tagged = cbor2.dumps({"MetricData": [{"MetricName": "m", "Timestamp": cbor2.CBORTag(1, 1.5)}]})
    assert cborbody.parse(PUT, tagged)["MetricData"][0]["Timestamp"].timestamp() == 1.5
    answer = cborbody.dump(READ, {"Label": "m", "Datapoints": [{"Timestamp": at, "Sum": 2, "Unit": None}]})
    assert cbor2.loads(answer) == {"Label": "m", "Datapoints": [{"Timestamp": at, "Sum": 2.0}]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff", "not valid CBOR"),
        (cbor2.dumps([1]), "one CBOR map"),
        (cbor2.dumps({}) + b"\x00", "one CBOR map"),
        (cbor2.dumps({"Namespace": 5}), "Namespace"),
        (cbor2.dumps({"Namespace": b"n"}), "Namespace"),
        (cbor2.dumps({"MetricData": {"a": 1}}), "Expected list"),
        (cbor2.dumps({"MetricData": [{"Value": float("nan")}]}), "finite"),
        (b"\xa1\x6aMetricData" + b"\x81" * 5000 + b"\x00", "CBOR"),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "not valid CBOR"),
        (b"\xa1\x6aMetricData\xd8\x1c\x81\xd8\x1d\x00", "tag 28 means nothing"),  # a list that holds itself
        (cbor2.dumps({"MetricData": [{"Value": cbor2.CBORTag(4, [10**9, 1])}]}), "tag 4 means nothing"),
        (cbor2.dumps({"MetricData": cbor2.CBORTag(35, "((a{9}){9}){9}")}), "tag 35 means nothing"),
        (cbor2.dumps({"MetricData": [{"Timestamp": cbor2.CBORTag(1, "now")}]}), "number of seconds"),
        (cbor2.dumps({"MetricData": [{"Timestamp": cbor2.CBORTag(1, float("inf"))}]}), "finite"),
        (b"\xa1\x81\x01\x00", "map key"),
        (b"\xa2\x61a\x01\x61a\x02", "[Dd]uplicate"),
    ],
)
def test_bodies_that_mean_nothing_are_refused(body: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        cborbody.parse(PUT, body)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        assert isinstance(cborbody.parse(PUT, body), dict)
    except Malformed:
        pass
