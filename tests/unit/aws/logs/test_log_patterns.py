"""Filter patterns: AWS's own examples, and what is no pattern."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws.logs.patterns import parse
from trimtab.aws.logs.patterns.conditions import wildcard
from trimtab.errors import Invalid


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("", "anything", True),
        ("  ", "anything", True),
        ("ERROR", "[ERROR 400] BAD REQUEST", True),
        ("ERROR", "[error 400] bad request", False),
        ("ERROR ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", True),
        ("ERROR ARGUMENTS", "[ERROR 400] BAD REQUEST", False),
        ("?ERROR ?ARGUMENTS", "[419] MISSING ARGUMENTS", True),
        ("?ERROR ?ARGUMENTS", "[419] MISSING", False),
        ('"INTERNAL SERVER ERROR"', "[ERROR 500] INTERNAL SERVER ERROR", True),
        ('"INTERNAL SERVER ERROR"', "INTERNAL ERROR", False),
        ("ERROR -ARGUMENTS", "[ERROR 400] BAD REQUEST", True),
        ("ERROR -ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", False),
        ("-ARGUMENTS", "fine", True),
        ('-"out of memory"', "process is out of memory", False),
        ("?ERROR WARN", "WARN only", True),  # AWS: optional terms beside others are ignored
        ('?"a b" ?c', "x a b x", True),
        (r'"a \"quoted\" word"', 'it is a "quoted" word', True),
        ("größe", "die größe", True),
    ],
)
def test_terms(pattern: str, message: str, expected: bool) -> None:
    assert parse(pattern)(message) is expected


EVENT = json.dumps(
    {
        "eventType": "UpdateTrail",
        "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"],
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": None,
        "ThisFlag": True,
        "latency": 120.5,
        "count": 3,
        "text number": "17",
        "user": {"id": "root-1", "email": "John.Stiles@example.com"},
    }
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.eventType = "UpdateTrail" }', True),
        ("{$.eventType=UpdateTrail}", True),
        ('{ $.eventType != "UpdateTrail" }', False),
        ("{ $.sourceIPAddress != 123.123.* }", True),
        ("{ $.sourceIPAddress = 111.111.* }", True),
        ('{ $.arrayKey[0] = "value" }', True),
        ('{ $.arrayKey[5] = "value" }', False),
        ("{ $.objectList[1].id = 2 }", True),
        ("{ $.SomeObject IS NULL }", True),
        ("{ $.SomeOtherObject IS NULL }", False),
        ("{ $.SomeOtherObject NOT EXISTS }", True),
        ("{ $.SomeObject NOT EXISTS }", False),
        ('{ $.SomeOtherObject != "x" }', False),
        ('{ $.user = "*" }', True),
        ("{ $.ThisFlag IS TRUE }", True),
        ("{ $.ThisFlag is false }", False),
        ("{ $.ThisFlag = true }", True),
        ("{ $.latency > 120 }", True),
        ("{ $.latency >= 120.5 && $.latency <= 1.205e2 }", True),
        ("{ $.latency < 120 }", False),
        ("{ $.count = 3 }", True),
        ("{ $.count = 3.0 }", True),
        ("{ $.count = 3* }", True),
        ("{ $.['text number'] = 17 }", True),
        ("{ $['text number'] > 16 }", False),  # text is no number
        ("{ $.eventType > 1 }", False),
        ('{ ($.user.id = "root*") && ($.user.email = "*@example.com" || $.count > 5) }', True),
        ("{ $.count > 5 || $.count < 2 || $.count = 3 && $.latency > 500 }", False),
        ("{ ((((($.count = 3))))) }", True),
    ],
)
def test_json_fields(pattern: str, expected: bool) -> None:
    assert parse(pattern)(EVENT) is expected
    assert parse(pattern)("not JSON") is False
    assert parse(pattern)("[1]") is False
    assert parse(pattern)('{"broken') is False
    assert parse(pattern)('{"a":' * 5000) is False


LINE = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", True),
        ("[ip, user, username, timestamp, request, status_code]", False),
        ("[ip, user, username, timestamp, request =*.html*, status_code = 4*, bytes]", True),
        ("[ip, user, username, timestamp, request, status_code = 404, bytes > 1000]", True),
        ("[ip, user, username, timestamp, request, status_code, bytes > 2000]", False),
        ("[..., status_code = 404, bytes]", True),
        ("[ip = 127.*, ...]", True),
        ("[ip != 127.*, ...]", False),
        ("[ip, ..., bytes]", True),
        ("[..., status_code = 4* || status_code = 5*, bytes]", True),
        ("[..., (status_code = 5* || status_code = 6*) && status_code != 500, bytes]", False),
        ('[ip, user = "Prod", ...]', True),
        ('[ip, user = "a, b", ...]', False),
    ],
)
def test_words(pattern: str, expected: bool) -> None:
    assert parse(pattern)(LINE) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "ERROR:",
        "%regular.*%",
        '"not closed',
        "a,b",
        "{",
        "{}",
        "{ $.a }",
        "{ $.a = }",
        "{ $.a == 1 }",
        "{ a = 1 }",
        "{ $ = 1 }",
        "{ $.a = 1 && }",
        "{ ($.a = 1 }",
        "{ $.a > big }",
        '{ $.a < "1" }',
        "{ $.a[x] = 1 }",
        "{ $.a = 1",
        "[",
        "[]",
        "[a, , b]",
        "[a,,b]",
        "{ $.a = %x% }",
        "[a = %x%]",
        "[a,]",
        '[a"b, c]',
        "[..., a, ...]",
        "[a = 1",
        "[a = 1 && b = 2]",
        "[=1]",
        "(" * 1024,
        "{" + "(" * 1022 + "}",
    ],
)
def test_what_is_no_pattern_is_refused_in_words(pattern: str) -> None:
    with pytest.raises(Invalid, match=r"^Invalid"):
        parse(pattern)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_a_pattern_or_refused(pattern: str, message: str) -> None:
    for form in (pattern, "{" + pattern + "}", "[" + pattern + "]"):
        try:
            matches = parse(form)
        except Invalid:
            continue
        assert matches(message) in (True, False)


@given(st.lists(st.text("ab", max_size=3), min_size=1, max_size=4), st.text("ab", max_size=10))
def test_wildcards_mean_what_a_regular_expression_would(parts: list[str], text: str) -> None:
    import re

    assert wildcard("*".join(parts))(text) is bool(re.fullmatch(".*".join(parts), text))


def test_the_deepest_pattern_is_parsed() -> None:
    pattern = "{" + "($.a=1||" * 113 + "$.a=1" + ")" * 113 + "}"
    assert len(pattern) == 1024
    assert parse(pattern)('{"a":1}')
