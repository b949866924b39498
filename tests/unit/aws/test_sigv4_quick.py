"""The quick check says yes only where the full one does, and does so for what AWS's clients send."""

import hashlib
import hmac
import time

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws.sigv4 import QuickCheck, Verifier
from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

KEY = AccessKey(id="AKIAIOSFODNN7EXAMPLE", secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
PATH = "/endpoints/fraud/invocations"
BODY = b"[[0.1, 0.2]]"


def signed(body=BODY, headers=(), key=KEY, region="us-east-1"):
    """Header fields by lower-case name, as botocore signs an invocation now."""
    request = AWSRequest(
        "POST", f"http://127.0.0.1:7070{PATH}", data=body, headers={"Content-Type": "application/json"}
    )
    for name, value in headers:
        request.headers[name] = value
    SigV4Auth(Credentials(key.id, key.secret), "sagemaker", region).add_auth(request)
    fields = {"host": "127.0.0.1:7070", **{name.lower(): value for name, value in request.headers.items()}}
    return {name.encode(): value.encode() for name, value in fields.items()}


class Both:
    """The two checks over one set of keys."""

    def __init__(self):
        self.keys = {KEY.id: KEY}
        self.verifier = Verifier(lambda: self.keys, region="us-east-1")
        self.quick_check = QuickCheck(self.verifier)

    def full(self, fields, body=BODY, path=PATH):
        headers = [(name.decode("latin-1"), value.decode("latin-1").strip()) for name, value in fields.items()]
        try:
            return self.verifier.verify("POST", path, "", headers, body, time.time())
        except Denied:
            return None

    def quick(self, fields, body=BODY, path=PATH, method=b"POST", later_s=0.0):
        return self.quick_check.key_of(method, path.encode(), fields, [body], time.time() + later_s)

    def learn(self, fields, body=BODY):
        self.quick_check.learn(fields, self.full(fields, body))


@pytest.fixture
def both():
    return Both()


def test_the_first_request_of_a_client_is_left_to_the_full_check_and_the_next_ones_are_quick(both):
    first = signed()
    assert both.quick(first) is None
    both.learn(first)
    assert both.quick(first) is KEY
    assert both.quick(signed(b"another body"), b"another body") is KEY


def test_a_body_in_pieces_is_checked_as_one(both):
    fields = signed()
    both.learn(fields)
    assert both.quick_check.key_of(b"POST", PATH.encode(), fields, [BODY[:3], BODY[3:]], time.time()) is KEY


@pytest.mark.parametrize(
    "change",
    [
        {"body": b"[[0.1, 0.3]]"},
        {"path": "/endpoints/other/invocations"},
        {"method": b"PUT"},
        {"later_s": 400.0},
        {"later_s": -400.0},
    ],
    ids=["body", "path", "method", "late", "early"],
)
def test_what_was_not_signed_so_is_not_let_through(both, change):
    fields = signed()
    both.learn(fields)
    assert both.quick(fields, **change) is None


def test_a_key_that_was_taken_away_or_changed_counts_at_once(both):
    fields = signed()
    both.learn(fields)
    both.keys = {}
    assert both.quick(fields) is None
    both.keys = {KEY.id: AccessKey(id=KEY.id, secret="another")}
    assert both.quick(fields) is None
    assert both.full(fields) is None


def test_an_unsigned_amazon_field_or_a_session_token_is_left_to_the_full_check(both):
    fields = signed()
    both.learn(fields)
    assert both.quick({**fields, b"x-amz-security-token": b"t"}) is None
    assert both.quick({b"x-amz-meta": b"t", **fields}) is None
    assert both.quick({**fields, b"x-amzn-trace-id": b"Root=1"}) is KEY


def test_a_presigned_or_unsigned_request_teaches_nothing(both):
    both.quick_check.learn({b"host": b"h"}, KEY)
    both.quick_check.learn({b"authorization": b"Bearer x", b"x-amz-date": b"never"}, KEY)
    assert both.quick({b"host": b"h"}) is None


def test_timestamps_that_are_none_are_left_to_the_full_check(both):
    fields = signed()
    both.learn(fields)
    for bad in (b"", b"yesterday", b"\xff", fields[b"x-amz-date"][:8] + b"T999999Z"):
        assert both.quick({**fields, b"x-amz-date": bad}) is None


# What the HTTP parser lets through: of the control characters, the tab.
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f") | st.just("\t"), max_size=12
)


@given(
    attributes=VALUES,
    extra=VALUES,
    name=st.sampled_from(["x-amz-extra", "accept", "x-amzn-note", "a b"]),
    data=st.data(),
)
def test_a_yes_of_the_quick_check_is_a_yes_of_the_full_one(attributes, extra, name, data):
    both = Both()
    plain = signed(headers=[("X-Amzn-SageMaker-Custom-Attributes", "as usual")])
    both.learn(plain)
    fields = {**plain, b"x-amzn-sagemaker-custom-attributes": attributes.encode("latin-1", "replace")}
    if data.draw(st.booleans()):
        fields[name.encode()] = extra.encode("latin-1", "replace")
    if data.draw(st.booleans()):
        fields = _resigned(both, fields)
    if both.quick(fields) is not None:
        assert both.full(fields) is KEY


def _resigned(both, fields):
    """With the signature that somebody with the key would make over the fields' raw values."""
    head = fields[b"authorization"][:-64].decode()
    names = head.split("SignedHeaders=")[1].split(",")[0].split(";")
    lines = b"".join(name.encode() + b":" + fields[name.encode()] + b"\n" for name in names)
    payload = hashlib.sha256(BODY).hexdigest().encode()
    request = b"POST\n" + PATH.encode() + b"\n\n" + lines + b"\n" + ";".join(names).encode() + b"\n" + payload
    scope = head.split("Credential=")[1].split(",")[0].partition("/")[2]
    text = "\n".join(["AWS4-HMAC-SHA256", fields[b"x-amz-date"].decode(), scope, hashlib.sha256(request).hexdigest()])
    key = f"AWS4{KEY.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return {**fields, b"authorization": head.encode() + hmac.digest(key, text.encode(), "sha256").hex().encode()}
