"""Sign with SigV4, cheaply: for programs that send the same few requests many times. Checked against botocore."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256

from msgspec import Struct

from trimtab.aws.sigv4.canonical import canonical_headers, canonical_path, canonical_request, merged
from trimtab.aws.sigv4.claim import ALGORITHM, iso_basic


class Credentials(Struct, frozen=True):
    """An access key; `token` goes with temporary ones."""

    key_id: str
    secret: str
    token: str = ""


class Signer(Struct, frozen=True):
    """Signs requests of one service (its signing name) in one region."""

    credentials: Credentials
    region: str
    service: str = "sagemaker"

    def prepare(
        self, method: str, raw_path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Callable[[int], list[tuple[str, str]]]:
        """A function that gives all headers, signature included, for a second since the epoch.

        `headers` have Host among them; all are signed. The path has no query. What depends on the request alone is
        worked out here, once.
        """
        path = canonical_path(raw_path, s3=False)
        payload_hash = sha256(body).hexdigest()
        token = self.credentials.token
        given = [*headers, ("X-Amz-Security-Token", token)] if token else list(headers)

        def at(second: int) -> list[tuple[str, str]]:
            timestamp = iso_basic(second)
            dated = [*given, ("X-Amz-Date", timestamp)]
            fields = merged([(name.lower(), value) for name, value in dated])
            signed = sorted(fields)
            line = ";".join(signed)
            text = canonical_request(method, path, "", canonical_headers(fields, signed), line, payload_hash)
            scope = f"{timestamp[:8]}/{self.region}/{self.service}/aws4_request"
            to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256(text).hexdigest()}"
            key = signing_key(self.credentials.secret, timestamp[:8], self.region, self.service)
            signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
            credential = f"{self.credentials.key_id}/{scope}"
            value = f"{ALGORITHM} Credential={credential}, SignedHeaders={line}, Signature={signature}"
            return [*dated, ("Authorization", value)]

        return at


@lru_cache(maxsize=16)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of a day, region and service. Source: IAM User Guide, "Create a signed AWS API request"."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
