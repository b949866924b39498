"""Verify SigV4: does the key that the request names make this signature over this request?

The order of checks is AWS's: readable, key known, day, region, service, terminator, clock, signature. Nothing is
compared in a way whose time tells how much of it was right.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from trimtab.aws.denials import (
    ACCESS_DENIED,
    EXPIRED,
    INVALID_SIGNATURE,
    INVALID_TOKEN,
    SKEW,
    UNKNOWN_KEY,
    WRONG_SCOPE,
)
from trimtab.aws.sigv4.canonical import (
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    merged,
)
from trimtab.aws.sigv4.claim import ALGORITHM, Claim, Scope, claim_of_header, claim_of_query, iso_basic, missing_token
from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

Keys = Callable[[], Mapping[str, AccessKey]]  # by access key id, as they are now

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_GLOBAL_SERVICES: Final = frozenset({"iam", "sts", "s3"})
_GLOBAL_REGIONS: Final = frozenset({"us-east-1", "aws-global"})
SKEW_S: Final = 300  # AWS services
_S3_SKEW_S: Final = 900
_MAX_SIGNING_KEYS: Final = 1024


class Proof(Struct, frozen=True):
    """A verified request: whose key, and what the signatures of its chunks (S3 streaming) go on from."""

    key: AccessKey
    claim: Claim
    signing_key: bytes


class Verifier:
    """Verifies against the keys that `keys()` gives at the moment of each request.

    `region` is where this trimtab says it is. A request must be signed for it; requests to the global services
    (IAM, STS, S3) may also be signed for `us-east-1` or `aws-global`, as AWS's own clients do.
    """

    def __init__(self, keys: Keys, *, region: str) -> None:
        self.keys = keys
        self._region = region
        self._signing_keys: dict[tuple[str, str], bytes] = {}

    def verify(
        self,
        method: str,
        raw_path: str,
        query: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | memoryview,
        now_s: float,
        *,
        service: str = "sagemaker",
    ) -> AccessKey:
        """Whose request this is: the data plane's check, in one call, for a body that is here.

        `headers` have lower-case names and stripped values; `raw_path` and `query` are as received; `now_s` is wall
        time. `service` is the signing name (the runtime's is `sagemaker`). Raises Denied with a code of `denials`.
        """
        fields = merged(headers)
        payload_hash = sha256(body).hexdigest()
        return self.prove(method, raw_path, query, fields, payload_hash, service, now_s).key

    def prove(
        self,
        method: str,
        raw_path: str,
        query: str,
        fields: Mapping[str, str],
        payload_hash: str,
        service: str,
        now_s: float,
    ) -> Proof:
        """Check the signature in the header or in the query over `fields` (merged headers) and `payload_hash`."""
        authorization = fields.get("authorization")
        if authorization:
            claim = claim_of_header(authorization, fields)
        elif "X-Amz-Signature=" in query or "X-Amz-Algorithm=" in query:
            claim = claim_of_query(query)
        else:
            raise missing_token()
        key = self._key_of(claim, service)
        self._check_scope(claim, service)
        _check_clock(claim, service, now_s)
        _check_signed_headers(claim, service, fields)
        signing_key = self.signing_key(key.secret, claim.scope)
        expected = _signature(claim, signing_key, method, raw_path, query, fields, payload_hash, service)
        if not hmac.compare_digest(expected, claim.signature):
            raise Denied(MISMATCH, code=INVALID_SIGNATURE)
        return Proof(key, claim, signing_key)

    def _key_of(self, claim: Claim, service: str) -> AccessKey:
        key = self.keys().get(claim.scope.key_id)
        if key is None:
            raise unknown_key(service)
        if claim.token:
            raise invalid_token(service)
        return key

    def _check_scope(self, claim: Claim, service: str) -> None:
        scope = claim.scope
        if scope.date != claim.timestamp[:8]:
            raise Denied(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{scope.date}' != '{claim.timestamp[:8]}', from '{claim.timestamp}'.",
                code=WRONG_SCOPE,
            )
        if scope.region != self._region and not (service in _GLOBAL_SERVICES and scope.region in _GLOBAL_REGIONS):
            raise WrongRegion(scope.region, self._region)
        if scope.service != service:
            raise Denied(f"Credential should be scoped to correct service: '{service}'.", code=WRONG_SCOPE)
        if scope.terminator != "aws4_request":
            raise Denied(
                f"Credential should be scoped with a valid terminator: 'aws4_request', not '{scope.terminator}'.",
                code=WRONG_SCOPE,
            )

    def signing_key(self, secret: str, scope: Scope) -> bytes:
        """The key that signs for `scope`; made once a day."""
        cached = self._signing_keys.get((secret, scope.text))
        if cached is not None:
            return cached
        key = f"AWS4{secret}".encode()
        for part in (scope.date, scope.region, scope.service, scope.terminator):
            key = hmac.digest(key, part.encode(), "sha256")
        if len(self._signing_keys) >= _MAX_SIGNING_KEYS:
            self._signing_keys.clear()
        self._signing_keys[(secret, scope.text)] = key
        return key


class WrongRegion(Denied):
    """Signed for another region. S3's clients follow `expected` by themselves when the answer names it."""

    def __init__(self, got: str, expected: str) -> None:
        super().__init__(
            f"Credential should be scoped to a valid Region, not '{got}'. "
            f"This trimtab is in '{expected}': set AWS_DEFAULT_REGION={expected}, or the client's region_name.",
            code=WRONG_SCOPE,
        )
        self.got = got
        self.expected = expected


def unknown_key(service: str) -> Denied:
    """No such key, in the words of `service`."""
    if service == "s3":
        return Denied("The AWS Access Key Id you provided does not exist in our records.", code=UNKNOWN_KEY)
    return Denied("The security token included in the request is invalid.", code=UNKNOWN_KEY)


def invalid_token(service: str) -> Denied:
    """A session token: trimtab gives none out, so it came from elsewhere (often a left-over AWS_SESSION_TOKEN)."""
    text = "The provided token is malformed or otherwise invalid." if service == "s3" else unknown_key(service).args[0]
    return Denied(f"{text} trimtab gives out no session tokens: unset AWS_SESSION_TOKEN.", code=INVALID_TOKEN)


def _check_clock(claim: Claim, service: str, now_s: float) -> None:
    skew_s = _S3_SKEW_S if service == "s3" else SKEW_S
    if claim.expires_s is not None:
        _check_lifetime(claim, service, skew_s, now_s)
    elif service == "s3" and abs(now_s - claim.signed_at_s) > skew_s:
        raise Denied("The difference between the request time and the current time is too large.", code=SKEW)
    elif claim.signed_at_s < now_s - skew_s:
        raise Denied(_expired_text(claim, now_s - skew_s, now_s, "- 5 min."), code=SKEW)
    elif claim.signed_at_s > now_s + skew_s:
        raise Denied(
            f"Signature not yet current: {claim.timestamp} is still later than {iso_basic(now_s + skew_s)} "
            f"({iso_basic(now_s)} + 5 min.)",
            code=SKEW,
        )


def _check_lifetime(claim: Claim, service: str, skew_s: int, now_s: float) -> None:
    if claim.signed_at_s > now_s + skew_s:
        raise Denied("Request is not valid yet", code=EXPIRED)
    end_s = claim.signed_at_s + (claim.expires_s or 0)
    if now_s > end_s:
        text = (
            "Request has expired"
            if service == "s3"
            else f"Signature expired: {iso_basic(end_s)} is now earlier than {iso_basic(now_s)}"
        )
        raise Denied(text, code=EXPIRED)


def _expired_text(claim: Claim, limit_s: float, now_s: float, how: str) -> str:
    return f"Signature expired: {claim.timestamp} is now earlier than {iso_basic(limit_s)} ({iso_basic(now_s)} {how})"


def _check_signed_headers(claim: Claim, service: str, fields: Mapping[str, str]) -> None:
    signed = claim.scope.signed_set
    if "host" not in signed:
        raise Denied(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.", code=INVALID_SIGNATURE
        )
    unsigned = [name for name in fields if name.startswith("x-amz-") and name not in signed]
    if unsigned:
        code = ACCESS_DENIED if service == "s3" else INVALID_SIGNATURE
        names = ", ".join(sorted(unsigned))
        raise Denied(f"There were headers present in the request which were not signed: {names}", code=code)
    if claim.expires_s is None and not ("x-amz-date" in signed or ("date" in signed and "x-amz-date" not in fields)):
        raise Denied(
            "'X-Amz-Date' or 'Date' must be a 'SignedHeader' in the AWS Authorization.", code=INVALID_SIGNATURE
        )


def _signature(
    claim: Claim,
    signing_key: bytes,
    method: str,
    raw_path: str,
    query: str,
    fields: Mapping[str, str],
    payload_hash: str,
    service: str,
) -> str:
    scope = claim.scope
    try:
        headers = canonical_headers(fields, scope.signed)
    except KeyError as absent:
        raise Denied(f"{MISMATCH} The signed header {absent} did not arrive.", code=INVALID_SIGNATURE) from None
    request = canonical_request(
        method,
        canonical_path(raw_path, s3=service == "s3"),
        canonical_query(query, without="X-Amz-Signature" if claim.expires_s is not None else ""),
        headers,
        scope.signed_line,
        payload_hash,
    )
    text = f"{ALGORITHM}\n{claim.timestamp}\n{scope.text}\n{sha256(request).hexdigest()}"
    return hmac.digest(signing_key, text.encode(), "sha256").hex()
