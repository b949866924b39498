"""The cut-down service models against botocore's own."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings

import pytest
import wire_halves

from trimtab.aws.operations import declarations
from trimtab.aws.protocols.patterns import compiled
from trimtab.aws.services import SERVICES, Services, Shape, load


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_known_without_a_model_is_what_the_model_says(name: str) -> None:
    model = wire_halves.model(name)
    known = SERVICES[name]
    assert known.signing_name == model.signing_name
    assert known.target_prefix == model.metadata.get("targetPrefix", "")
    assert known.api_version == model.api_version
    assert load(name).names == tuple(sorted(model.operation_names))


def test_the_preferred_protocol_is_the_one_botocore_picks() -> None:
    for name in SERVICES:
        assert load(name, ()).protocol == wire_halves.model(name).resolved_protocol
    assert load("cloudwatch", ()).protocols == ("json", "query")
    assert load("sqs", ()).protocols == ("json", "query"), "what older clients of SQS send"


def test_only_shapes_that_served_operations_reach_are_kept() -> None:
    service = load("sagemaker", ["DeleteModel", "NoSuchOperation"])
    assert list(service.operations) == ["DeleteModel"]
    assert len(service.names) > 400, "the others are known by name"
    shape = service.operations["DeleteModel"].input
    assert shape is not None
    assert list(shape.members) == ["ModelName"]


def test_a_shape_that_holds_itself_is_read() -> None:
    search = load("sagemaker", ["Search"]).operations["Search"].input
    assert search is not None
    expression = search.members["SearchExpression"].shape
    nested = expression.members["SubExpressions"].shape.element
    assert nested is not None
    assert nested.shape is expression


def test_a_service_without_a_model_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="ec2"):
        Services({"ec2": ["RunInstances"]})


@pytest.mark.parametrize("name", SERVICES)
def test_every_pattern_of_the_models_can_be_checked(name: str, caplog: pytest.LogCaptureFixture) -> None:
    patterns: set[str] = set()
    for operation in load(name).operations.values():
        for shape in (operation.input, operation.output):
            collect(shape, patterns, set())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pattern in patterns:
            compiled(pattern)
    assert caplog.records == []


def test_no_pattern_of_a_served_operation_can_be_made_to_take_long() -> None:
    shapes: dict[str, Shape] = {}
    for declaration in declarations():
        found = load(declaration.service, [declaration.operation]).operations[declaration.operation].input
        gather(found, shapes)
    assert len(shapes) > 50
    for shape in shapes.values():
        longest = int(min(shape.max or 50_000, 50_000))  # longer text is refused before its pattern is looked at
        for piece in ("a", "-", "a-", "1", "/", ".", " ", "arn:aws:", "https://a", "s3://a/"):
            hostile = (piece * longest)[: max(longest - 1, 0)] + "\x01"
            started = time.process_time()
            compiled(shape.pattern).match(hostile)
            assert time.process_time() - started < 0.5, f"{shape.name}: {shape.pattern}"


def gather(shape: Shape | None, shapes: dict[str, Shape]) -> None:
    if shape is None or shape.name in shapes:
        return
    shapes[shape.name] = shape
    for member in (*shape.members.values(), shape.element, shape.key, shape.value):
        if member is not None:
            gather(member.shape, shapes)


def collect(shape: Shape | None, patterns: set[str], seen: set[str]) -> None:
    if shape is None or shape.name in seen:
        return
    seen.add(shape.name)
    if shape.pattern:
        patterns.add(shape.pattern)
    for member in (*shape.members.values(), shape.element, shape.key, shape.value):
        if member is not None:
            collect(member.shape, patterns, seen)


@pytest.mark.parametrize(
    ("pattern", "fits", "breaks"),
    [
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "Größe 1/é", "a#b"),
        (r"\p{ASCII}*", "a~", "é"),
        (r"\A\S[\p{Print}]*\z", "a b", "a\n"),
        (r"[\w-_]*", "a-b", "a b"),
        (r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", "my-model", "my-model\n"),
        (r"([\p{L}_]*)${1,128}", "ab", "a b"),
    ],
)
def test_javas_patterns_mean_what_they_mean_in_java(pattern: str, fits: str, breaks: str) -> None:
    assert compiled(pattern).match(fits)
    assert not compiled(pattern).match(breaks)


def test_a_pattern_that_python_cannot_read_is_logged_and_matches(caplog: pytest.LogCaptureFixture) -> None:
    assert compiled(r"[a&&[^b]\p{Sc}]+(?<x").match("anything")
    assert "not checked" in caplog.text


def test_all_models_cost_little_memory_and_import_nothing_of_botocore() -> None:
    code = """
import sys, psutil
from trimtab.aws import services
before = psutil.Process().memory_info().rss
served = {name: services.load(name, ()).names[:20] for name in services.SERVICES}
kept = [services.load(name, names) for name, names in served.items()]
print(psutil.Process().memory_info().rss - before, "botocore" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    grown, imported = out.split()
    assert int(grown) < 20 * 2**20
    assert imported == "False"
