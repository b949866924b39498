"""The quick check of a signature: for invocations as AWS's clients send them, at a quarter of the full check's cost.

It works on the header bytes as received and knows only the common form: signed in the header, no query, a plain path,
no repeated field, signed values that are canonical as they stand. Whatever else it meets (a wrong signature included)
it leaves to the `Verifier`, which decides. So it can only say yes, and says so only where the `Verifier` would: a test
compares the two. What repeats from request to request (key, scope, signed names, key derivation) is kept in a `_Plan`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import Final, TypeVar

from msgspec import Struct

from trimtab.aws.sigv4.claim import ALGORITHM, Scope, claim_of_header, epoch_s
from trimtab.aws.sigv4.verifier import SKEW_S, Verifier
from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

T = TypeVar("T")

_AUTHORIZATION: Final = b"authorization"
_DATE: Final = b"x-amz-date"
_TOKEN: Final = b"x-amz-security-token"
_SIGNATURE_CHARS: Final = 64
_MAX_PLANS: Final = 1024
_MAX_TIMES: Final = 64
_BLOCK_BYTES: Final = 64  # of SHA-256
_INNER: Final = bytes(x ^ 0x36 for x in range(256))
_OUTER: Final = bytes(x ^ 0x5C for x in range(256))


class _Plan(Struct, frozen=True):
    """All of a check that does not change while a client signs with one key for one day over the same headers."""

    key: AccessKey
    date: bytes  # YYYYMMDD
    values_of: Callable[[Mapping[bytes, bytes]], tuple[bytes, ...]]  # the signed fields' values; KeyError
    amz_names: int  # signed names that begin with `x-amz-`
    template: bytes  # of the canonical request: method, path, the signed values, payload hash
    text: bytes  # template of the string to sign: timestamp, hash of the canonical request
    inner: bytes  # the signing key, padded for HMAC (RFC 2104)
    outer: bytes


class QuickCheck:
    """Says yes to well-signed requests of the common form; one beside each `Verifier` that checks invocations."""

    def __init__(self, verifier: Verifier) -> None:
        self._keys = verifier.keys
        self._verifier = verifier
        self._plans: dict[bytes, _Plan] = {}
        self._times: dict[bytes, float] = {}

    def key_of(
        self,
        method: bytes,
        path: bytes,
        fields: Mapping[bytes, bytes],
        body: Sequence[bytes],
        now_s: float,
    ) -> AccessKey | None:
        """Whose request this is; None when the full check must be asked.

        `path` is canonical (`canonical_path` leaves it as it is) and without a query; `fields` are all header fields by
        lower-case name, none of them repeated; `body` is whole.
        """
        authorization = fields.get(_AUTHORIZATION)
        if authorization is None:
            return None
        plan = self._plans.get(authorization[:-_SIGNATURE_CHARS])
        if plan is None or self._keys().get(plan.key.id) is not plan.key:
            return None
        timestamp = fields.get(_DATE, b"")
        signed_at_s = self._times.get(timestamp) or self._epoch_s(timestamp)
        if timestamp[:8] != plan.date or not -SKEW_S <= now_s - signed_at_s <= SKEW_S:
            return None
        if b"\n".join((b"", *fields)).count(b"\nx-amz-") != plan.amz_names:
            return None  # one that is not signed, or a session token
        try:
            values = plan.values_of(fields)
        except KeyError:
            return None
        payload = sha256(body[0] if len(body) == 1 else b"".join(body)).hexdigest()
        request = plan.template % (method, path, *values, payload.encode())
        if not _is_canonical(request):
            return None
        text = plan.text % (timestamp, sha256(request).hexdigest().encode())
        expected = sha256(plan.outer + sha256(plan.inner + text).digest()).hexdigest()
        return plan.key if hmac.compare_digest(expected.encode(), authorization[-_SIGNATURE_CHARS:]) else None

    def learn(self, fields: Mapping[bytes, bytes], key: AccessKey) -> None:
        """The full check says that a request with these fields is `key`'s: check the next ones like it quickly.

        Unless it is signed in another form than the common one.
        """
        authorization = fields.get(_AUTHORIZATION, b"")
        head = authorization[:-_SIGNATURE_CHARS]
        if not head.endswith(b"Signature=") or _TOKEN in fields:
            return
        try:
            texts = {"x-amz-date": fields.get(_DATE, b"").decode("ascii")}
            scope = claim_of_header(authorization.decode("ascii"), texts).scope
        except (Denied, UnicodeDecodeError):
            return
        if {"host", "x-amz-date"} <= scope.signed_set and len(scope.signed_set) == len(scope.signed):
            _bounded(self._plans, _MAX_PLANS)[head] = _plan(key, scope, self._verifier.signing_key(key.secret, scope))

    def _epoch_s(self, timestamp: bytes) -> float:
        """Read a second's timestamp once for all the requests that are signed in it. 0 when it is none."""
        try:
            at_s = epoch_s(timestamp.decode("ascii"))
        except (Denied, UnicodeDecodeError):
            return 0.0
        _bounded(self._times, _MAX_TIMES)[timestamp] = at_s
        return at_s


def _plan(key: AccessKey, scope: Scope, signing_key: bytes) -> _Plan:
    names = tuple(name.encode() for name in scope.signed)
    lines = b"".join(name.replace(b"%", b"%%") + b":%b\n" for name in names)
    padded = signing_key.ljust(_BLOCK_BYTES, b"\0")
    return _Plan(
        key=key,
        date=scope.date.encode(),
        values_of=itemgetter(*names),
        amz_names=sum(name.startswith(b"x-amz-") for name in names),
        template=b"%b\n%b\n\n" + lines + b"\n" + scope.signed_line.encode().replace(b"%", b"%%") + b"\n%b",
        text=f"{ALGORITHM}\n%b\n{scope.text.replace('%', '%%')}\n%b".encode(),
        inner=padded.translate(_INNER),
        outer=padded.translate(_OUTER),
    )


def _is_canonical(request: bytes) -> bool:
    """Whether canonical form would leave the values of a canonical request as they are.

    They are of printable ASCII (the parser lets no control character but the tab through), without two spaces in a row,
    and no space stands behind a colon or before a line's end: some of that a value may have, and is checked in full.
    """
    if not request.isascii() or b"\t" in request:
        return False
    return b" " not in request or not (b"  " in request or b": " in request or b" \n" in request)


def _bounded(table: dict[bytes, T], most: int) -> dict[bytes, T]:
    """`table` with room for one more."""
    if len(table) >= most:
        table.clear()
    return table
