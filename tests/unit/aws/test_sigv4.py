"""SigV4 verification against botocore's signer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sigv4_oracle import HOST, KEY, KEYS, NOW_S, Wire, credentials, sign

from trimtab.aws import denials
from trimtab.aws.sigv4.canonical import canonical_query, merged
from trimtab.aws.sigv4.verifier import UNSIGNED_PAYLOAD, Verifier
from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc")

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines that run much else
PATH_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#%"), max_size=30)
ENCODED = st.sampled_from(["%20", "%2F", "%C3%A9", "%25", "a", "..", ".", "//", "/", "~", "-", "x1"])
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
NAMES = st.sampled_from(
    ["X-Amz-Meta-One", "X-Amzn-SageMaker-Target-Variant", "Content-Type", "Accept", "X-Amz-Target", "Range", "X-Other"]
)
HEADERS = st.lists(st.tuples(NAMES, VALUE), max_size=5, unique_by=lambda pair: pair[0])
NAME_VALUE = st.tuples(
    st.text("abcXYZ-019._~", min_size=1, max_size=6), st.sampled_from(["", "1", "a%20b", "%2F", "~", "%C3%BC", "B"])
)
QUERIES = st.lists(NAME_VALUE, max_size=5).map(lambda pairs: "&".join(f"{n}={v}" for n, v in pairs))


def verifier(region: str = "us-east-1", key: AccessKey = KEY) -> Verifier:
    return Verifier(lambda: {key.id: key}, region=region)


def check(wire: Wire, *, service: str = "sagemaker", now_s: float = NOW_S, region: str = "us-east-1") -> AccessKey:
    return verifier(region).verify(
        wire.method, wire.raw_path, wire.query, wire.headers, wire.body, now_s, service=service
    )


def prove_s3(wire: Wire, *, now_s: float = NOW_S, region: str = "us-east-1") -> AccessKey:
    fields = merged(wire.headers)
    payload = fields.get("x-amz-content-sha256", UNSIGNED_PAYLOAD)
    proof = verifier(region).prove(wire.method, wire.raw_path, wire.query, fields, payload, "s3", now_s)
    return proof.key


def refused(wire: Wire, code: str, **how: object) -> str:
    with pytest.raises(Denied) as caught:
        check(wire, **how)  # type: ignore[arg-type]
    assert caught.value.code == code
    return str(caught.value)


def signed(**how: object) -> Wire:
    how.setdefault("headers", [("Content-Type", "application/json"), ("X-Amz-Target", "SageMaker.ListModels")])
    how.setdefault("body", b'{"a": 1}')
    return sign(SigV4Auth(credentials(), "sagemaker", "us-east-1"), **how)  # type: ignore[arg-type]


@RELAXED
@given(path=st.lists(ENCODED, max_size=8).map("".join), query=QUERIES, headers=HEADERS, body=st.binary(max_size=200))
def test_what_botocore_signs_for_a_service_is_accepted(
    path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    wire = sign(
        SigV4Auth(credentials(), "sagemaker", "us-east-1"), path=f"/{path}", query=query, headers=headers, body=body
    )
    assert check(wire) is KEY


@RELAXED
@given(path=st.lists(ENCODED, max_size=8).map("".join), query=QUERIES, headers=HEADERS, body=st.binary(max_size=200))
def test_what_botocore_signs_for_s3_is_accepted(
    path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    signer = S3SigV4Auth(credentials(), "s3", "us-east-1")
    wire = sign(signer, "PUT", f"/bucket/{path}", query=query, headers=headers, body=body)
    assert prove_s3(wire) is KEY


@RELAXED
@given(path=st.lists(ENCODED, max_size=8).map("".join), query=QUERIES, wait_s=st.integers(0, 599))
def test_a_presigned_url_of_botocore_is_accepted_until_it_expires(path: str, query: str, wait_s: int) -> None:
    signer = S3SigV4QueryAuth(credentials(), "s3", "us-east-1", expires=600)
    wire = sign(signer, "GET", f"/bucket/{path}", query=query)
    assert prove_s3(wire, now_s=NOW_S + wait_s) is KEY
    with pytest.raises(Denied) as caught:
        prove_s3(wire, now_s=NOW_S + 601)
    assert caught.value.code == denials.EXPIRED


@RELAXED
@given(path=PATH_TEXT)
def test_any_path_text_gets_the_signature_of_botocore(path: str) -> None:
    wire = signed(path=f"/{path}")
    assume(wire.raw_path == f"/{path}")
    assert check(wire) is KEY


def test_a_presigned_sts_call_is_accepted() -> None:
    signer = SigV4QueryAuth(credentials(), "sts", "us-east-1", expires=60)
    wire = sign(signer, "GET", "/", query="Action=GetCallerIdentity&Version=2011-06-15")
    assert check(wire, service="sts") is KEY


def test_white_space_in_header_values_is_folded_as_botocore_does() -> None:
    assert check(signed(headers=[("X-Amz-Meta-A", "a   b \t c")])) is KEY


def test_repeated_headers_are_joined_in_the_order_received() -> None:
    assert check(signed(headers=[("X-Amz-Meta-A", "2"), ("X-Amz-Meta-A", "1")])) is KEY


def test_text_beyond_ascii_is_accepted_as_latin_1_and_as_utf_8_on_the_wire() -> None:
    wire = signed(headers=[("X-Amz-Meta-A", "caf\u00e9")])
    assert check(wire) is KEY
    as_utf8 = wire.with_header("x-amz-meta-a", "caf\u00e9".encode().decode("latin-1"))
    assert check(as_utf8) is KEY


def test_a_date_header_stands_in_for_x_amz_date() -> None:
    wire = signed(headers=[("Date", "to be replaced")])
    assert "x-amz-date" not in dict(wire.headers)
    assert check(wire) is KEY


@RELAXED
@given(data=st.data())
def test_every_change_of_a_signed_part_is_refused(data: st.DataObject) -> None:
    wire = signed(path="/endpoints/fraud/invocations", query="a=1&b=2")
    names = [name for name, _ in wire.headers if name != "authorization"]
    part = data.draw(st.sampled_from(["method", "raw_path", "query", "body", "signature", *names]))
    if part == "signature":
        head, signature = wire.header("authorization").split("Signature=")
        at = data.draw(st.integers(0, 63))
        flipped = signature[:at] + ("0" if signature[at] != "0" else "1") + signature[at + 1 :]
        changed = wire.with_header("authorization", f"{head}Signature={flipped}")
    elif part == "body":
        changed = replace(wire, body=data.draw(st.binary().filter(lambda body: body != wire.body)))
    elif part in names:
        value = wire.header(part)
        other = data.draw(VALUE.map(lambda text: " ".join(text.split())).filter(lambda text: text != value))
        changed = wire.with_header(part, other)
    else:
        changed = replace(wire, **{part: getattr(wire, part) + "x"})
    with pytest.raises(Denied):
        check(changed)


@RELAXED
@given(data=st.data())
def test_every_change_of_a_presigned_url_is_refused(data: st.DataObject) -> None:
    signer = S3SigV4QueryAuth(credentials(), "s3", "us-east-1", expires=600)
    wire = sign(signer, "GET", "/bucket/key", query="versionId=7")
    pairs = [pair.split("=", 1) for pair in wire.query.split("&")]
    at = data.draw(st.integers(0, len(pairs) - 1))
    how = data.draw(st.sampled_from(["drop", "change"]))
    if how == "drop":
        del pairs[at]
    else:
        pairs[at][1] = data.draw(st.text("0123456789abcdefT", max_size=64).filter(lambda v: v != pairs[at][1]))
    with pytest.raises(Denied):
        prove_s3(replace(wire, query="&".join("=".join(pair) for pair in pairs)))


def test_an_unknown_key_is_named_before_anything_else() -> None:
    wire = sign(SigV4Auth(credentials(AccessKey(id="NOBODY", secret="x")), "sqs", "mars-1"), at_s=0)
    assert refused(wire, denials.UNKNOWN_KEY) == "The security token included in the request is invalid."


def test_a_wrong_secret_is_a_signature_mismatch() -> None:
    wire = sign(SigV4Auth(credentials(AccessKey(id=KEY.id, secret="wrong")), "sagemaker", "us-east-1"))
    assert refused(wire, denials.INVALID_SIGNATURE).startswith("The request signature we calculated does not match")


def test_a_request_without_signature_says_where_keys_come_from() -> None:
    assert "trimtab env" in refused(Wire("GET", "/", "", [("host", HOST)]), denials.MISSING_TOKEN)


def test_a_left_over_session_token_is_named_as_the_cause() -> None:
    wire = sign(SigV4Auth(credentials(token="from-elsewhere"), "sagemaker", "us-east-1"))
    assert "unset AWS_SESSION_TOKEN" in refused(wire, denials.INVALID_TOKEN)


def test_another_region_or_service_or_day_is_refused_with_what_is_expected() -> None:
    elsewhere = sign(SigV4Auth(credentials(), "sagemaker", "eu-west-1"))
    text = refused(elsewhere, denials.WRONG_SCOPE)
    assert text.startswith("Credential should be scoped to a valid Region, not 'eu-west-1'.")
    assert "AWS_DEFAULT_REGION=us-east-1" in text
    other = sign(SigV4Auth(credentials(), "sqs", "us-east-1"))
    assert refused(other, denials.WRONG_SCOPE) == "Credential should be scoped to correct service: 'sagemaker'."
    wire = signed()
    scope = wire.header("authorization").replace("/20261123/", "/20261122/")
    assert refused(wire.with_header("authorization", scope), denials.WRONG_SCOPE).startswith("Date in Credential scope")
    ended = wire.header("authorization").replace("aws4_request", "aws5_request")
    assert "valid terminator" in refused(wire.with_header("authorization", ended), denials.WRONG_SCOPE)


@pytest.mark.parametrize("service", ["iam", "sts"])
@pytest.mark.parametrize("scope", ["us-east-1", "aws-global", "eu-west-1"])
def test_global_services_may_be_signed_for_their_global_region(service: str, scope: str) -> None:
    assert check(sign(SigV4Auth(credentials(), service, scope)), service=service, region="eu-west-1") is KEY


@pytest.mark.parametrize(("service", "limit_s"), [("sagemaker", 300), ("sts", 300)])
def test_clocks_may_differ_by_five_minutes(service: str, limit_s: int) -> None:
    wire = sign(SigV4Auth(credentials(), service, "us-east-1"))
    for now_s in (NOW_S - limit_s, NOW_S + limit_s):
        assert check(wire, service=service, now_s=now_s) is KEY
    late = refused(wire, denials.SKEW, service=service, now_s=NOW_S + limit_s + 1)
    assert late == (
        "Signature expired: 20261123T180000Z is now earlier than 20261123T180001Z (20261123T180501Z - 5 min.)"
    )
    early = refused(wire, denials.SKEW, service=service, now_s=NOW_S - limit_s - 1)
    assert early.startswith("Signature not yet current: 20261123T180000Z is still later than 20261123T175959Z")


def test_clocks_may_differ_by_fifteen_minutes_for_s3() -> None:
    wire = sign(S3SigV4Auth(credentials(), "s3", "us-east-1"), "GET", "/b/k")
    assert prove_s3(wire, now_s=NOW_S + 900) is KEY
    with pytest.raises(Denied) as caught:
        prove_s3(wire, now_s=NOW_S + 901)
    assert caught.value.code == denials.SKEW


def test_a_presigned_url_from_the_future_is_not_valid_yet() -> None:
    wire = sign(S3SigV4QueryAuth(credentials(), "s3", "us-east-1", expires=600), "GET", "/b/k")
    with pytest.raises(Denied, match="not valid yet"):
        prove_s3(wire, now_s=NOW_S - 901)


@pytest.mark.parametrize(("expires", "text"), [(604_801, "less than a week"), (-1, "not negative"), ("x", "number")])
def test_the_lifetime_of_a_presigned_url_has_limits(expires: object, text: str) -> None:
    wire = sign(S3SigV4QueryAuth(credentials(), "s3", "us-east-1", expires=expires), "GET", "/b/k")
    with pytest.raises(Denied, match=text) as caught:
        prove_s3(wire)
    assert caught.value.code == denials.INCOMPLETE_SIGNATURE


def test_a_header_that_is_x_amz_must_be_signed() -> None:
    assert "x-amz-security" in refused(signed().plus("x-amz-security-policy", "none"), denials.INVALID_SIGNATURE)


@pytest.mark.parametrize("name", ["host", "x-amz-date"])
def test_host_and_date_must_be_signed(name: str) -> None:
    wire = signed()
    header = wire.header("authorization").replace(f"{name};", "")
    with pytest.raises(Denied) as caught:
        check(wire.with_header("authorization", header))
    assert caught.value.code == denials.INVALID_SIGNATURE


def test_a_signed_header_that_did_not_arrive_is_named() -> None:
    assert "'content-type'" in refused(signed().without("content-type"), denials.INVALID_SIGNATURE)


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ("AWS4-HMAC-SHA256 Signature=" + "0" * 64, "requires 'Credential' parameter"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, Signature=" + "0" * 64, "requires 'SignedHeaders'"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=" + "0" * 64, "5 slash-delimited"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=zz", "not 64 lower-case hex"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host", "not 64 lower-case hex"),
        ("AWS AKID:signature", "'AWS' is not supported"),
        ("Bearer token", "'Bearer' is not supported"),
        ("Signature=", "must begin with AWS4-HMAC-SHA256"),
    ],
)
def test_a_malformed_authorization_header_is_told_what_it_lacks(authorization: str, text: str) -> None:
    assert text in refused(signed().with_header("authorization", authorization), denials.INCOMPLETE_SIGNATURE)


@pytest.mark.parametrize("stamp", ["", "yesterday", "2026-11-23T18:00:00Z", "20261323T180000Z", "２0261123T180000Z"])
def test_a_malformed_date_is_told_its_form(stamp: str) -> None:
    refused(signed().with_header("x-amz-date", stamp), denials.INCOMPLETE_SIGNATURE)


@RELAXED
@given(text=st.text(max_size=200))
def test_no_authorization_header_breaks_the_parser(text: str) -> None:
    with pytest.raises(Denied):
        check(signed().with_header("authorization", text))


@RELAXED
@given(query=st.text(max_size=200))
def test_no_query_breaks_the_parser(query: str) -> None:
    with pytest.raises(Denied):
        check(replace(signed().without("authorization"), query=f"X-Amz-Signature={query}"))


@RELAXED
@given(
    prefix=st.sampled_from(
        ["AWS4-HMAC-SHA256 Credential=TTABROOTKEY000000001/20261123/us-east-1/sagemaker/aws4_request"]
    ),
    signed_line=st.text(max_size=50),
    signature=st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_no_list_of_signed_headers_breaks_the_parser(prefix: str, signed_line: str, signature: str) -> None:
    with pytest.raises(Denied):
        check(signed().with_header("authorization", f"{prefix}, SignedHeaders={signed_line}, Signature={signature}"))


def test_the_parts_of_the_authorization_header_may_stand_in_any_order() -> None:
    wire = signed()
    algorithm, credential, names, signature = wire.header("authorization").replace(",", "").split(" ")
    assert check(wire.with_header("authorization", f"{algorithm} {signature},{names},{credential}")) is KEY


def test_a_key_that_was_taken_away_is_refused_at_once() -> None:
    keys = dict(KEYS)
    verify = Verifier(lambda: keys, region="us-east-1").verify
    wire = signed()
    arguments = (wire.method, wire.raw_path, wire.query, wire.headers, wire.body, NOW_S)
    assert verify(*arguments) is KEY
    keys.clear()
    with pytest.raises(Denied):
        verify(*arguments)


def test_a_canonical_query_is_sorted_by_encoded_name_then_value() -> None:
    assert canonical_query("b=2&a=z&a=%7e&A&c=a+b&c=a/b") == "A=&a=z&a=~&b=2&c=a%20b&c=a%2Fb"
