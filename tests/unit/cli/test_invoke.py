"""`trimtab invoke`: the body in, the answer out."""

from __future__ import annotations

import json

import pytest

from trimtab.aws.registry import AwsError


def test_the_answer_is_printed_as_it_is(trimtab, world) -> None:
    world.models.answer = lambda body: b'{"score": 0.5}'
    result = trimtab("invoke", "e", "--body", "[1, 2]", "--accept", "application/json", "--variant", "blue")
    assert (result.exit_code, result.stdout, result.stderr) == (0, '{"score": 0.5}', "")
    (request,) = world.models.requests
    assert request["Body"] == b"[1, 2]"
    assert (request["ContentType"], request["Accept"], request["TargetVariant"]) == (
        "application/json",
        "application/json",
        "blue",
    )


def test_a_model_of_a_multi_model_endpoint_is_named(trimtab, world) -> None:
    assert trimtab("invoke", "e", "--body", "[]", "--target-model", "a/b.tar.gz").exit_code == 0
    assert world.models.requests[-1]["TargetModel"] == "a/b.tar.gz"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"1", "text/csv"),
        ("a.json", b"x", "application/json"),
        ("a.npy", b"\x93NUMPY", "application/x-npy"),
        ("a.jsonl", b"1\n2", "application/jsonlines"),
        ("noname", b"\x93NUMPY\x01", "application/x-npy"),
        ("noname", b"1,2,3", "text/csv"),
        ("noname", b"[1]", "application/json"),
        ("noname", b"\xff\xfe", "application/octet-stream"),
    ],
)
def test_the_content_type_follows_the_file_or_what_is_in_it(trimtab, world, tmp_path, name, content, expected) -> None:
    (tmp_path / name).write_bytes(content)
    assert trimtab("invoke", "e", "--file", str(tmp_path / name)).exit_code == 0
    assert world.models.requests[-1]["ContentType"] == expected
    assert world.models.requests[-1]["Body"] == content


def test_a_content_type_that_is_given_counts(trimtab, world) -> None:
    trimtab("invoke", "e", "--body", "[1]", "--content-type", "text/csv")
    assert world.models.requests[-1]["ContentType"] == "text/csv"


@pytest.mark.parametrize("arguments", [("-",), ("--file", "-")])
def test_stdin_is_a_body(trimtab, world, arguments) -> None:
    assert trimtab("invoke", "e", *arguments, input=b"1,2\n").exit_code == 0
    assert world.models.requests[-1]["Body"] == b"1,2\n"


@pytest.mark.parametrize(
    ("content_type", "answer", "expected"),
    [
        ("application/json", b"[1.5]", {"body": [1.5]}),
        ("application/json", b"not json", {"body": "not json"}),
        ("text/csv", b"1,2", {"body": "1,2"}),
        ("application/x-npy", b"\x93", {"body_base64": "kw=="}),
        ("application/octet-stream", b"ab", {"body_base64": "YWI="}),
    ],
)
def test_json_holds_the_answer_and_what_came_with_it(trimtab, world, content_type, answer, expected) -> None:
    world.models.answer = lambda body: answer
    world.models.content_type = content_type
    document = json.loads(trimtab("invoke", "e", "--body", "x", "--json").stdout)
    assert document.pop("latency_ms") > 0
    assert document == {"content_type": content_type, "variant": "AllTraffic", **expected}


def test_a_streamed_answer_comes_in_its_parts(trimtab) -> None:
    assert trimtab("invoke", "e", "--body", "a b c", "--stream").stdout == "abc"
    parts = trimtab("invoke", "e", "--body", "a b c", "--stream", "--json").stdout.splitlines()
    assert [json.loads(part)["body"] for part in parts] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            AwsError(
                "ModelError",
                "Received server error (500) from primary",
                424,
                {"OriginalStatusCode": 500, "OriginalMessage": "KeyError: 'x'"},
            ),
            "error: The model answered 500: KeyError: 'x'\nhint: trimtab logs e --tail 50\n",
        ),
        (
            AwsError("ModelError", "m", 424, {"OriginalStatusCode": 0, "OriginalMessage": "timed out"}),
            "error: The model did not answer: timed out\nhint: trimtab logs e --tail 50\n",
        ),
        (
            AwsError("ValidationError", "Endpoint e of account 1 not found.", 400),
            "error: Endpoint e of account 1 not found.\nhint: `trimtab endpoints` lists what there is and how it is.\n",
        ),
        (
            AwsError("ServiceUnavailable", "no healthy replica", 503),
            "error: no healthy replica (ServiceUnavailable)\nhint: trimtab describe e\n",
        ),
    ],
)
def test_failures_are_told_in_one_line_with_what_to_do(trimtab, world, error, expected) -> None:
    world.models.error = error
    result = trimtab("invoke", "e", "--body", "1")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", expected)


@pytest.mark.parametrize("arguments", [(), ("--body", "1", "-"), ("elsewhere",), ("--body", "1", "--file", "x")])
def test_the_body_is_given_exactly_once(trimtab, arguments) -> None:
    result = trimtab("invoke", "e", *arguments)
    assert result.exit_code == 1
    assert "Give the body once" in result.stderr


def test_a_file_that_is_not_there_is_said_so(trimtab) -> None:
    assert "/no/file cannot be read" in trimtab("invoke", "e", "--file", "/no/file").stderr
