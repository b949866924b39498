"""GET /metrics: what Prometheus scrapes. Beside AWS's calls, on the same port.

Prometheus cannot sign requests as AWS's clients do, so HTTP Basic with the id and the secret of an access key is taken
as well as a signature (as for CloudWatch). The key must be allowed `cloudwatch:GetMetricData`; one that is limited to
endpoints sees these.
"""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from isal import isal_zlib

from trimtab.aws.denials import INVALID_SIGNATURE, MISSING_TOKEN, UNKNOWN_KEY
from trimtab.aws.http import HttpRequest, HttpResponse
from trimtab.aws.permissions import check_action
from trimtab.aws.registry import Authenticate, AwsError
from trimtab.control.exposition import OPEN_METRICS, TEXT, Exposition
from trimtab.errors import Denied, TrimtabError, Unavailable
from trimtab.logs import fields
from trimtab.resources.routing import AccessKey

PATH: Final = "/metrics"
_ACTION: Final = ("cloudwatch", "GetMetricData")
_GZIP: Final = 31  # zlib's name for a window of 32 KiB in gzip's frame

_log = logging.getLogger(__name__)


def is_scrape(request: HttpRequest) -> bool:
    """Whether a request is for us, and not for a bucket of that name, whose requests are S3's by signature or query."""
    if request.raw_path != PATH or request.method != "GET" or request.query:
        return False
    authorization = request.headers.get("authorization")
    return not ("/s3/aws4_request" in authorization or authorization.startswith("AWS "))


class Prometheus:
    """The handler of `PATH`. `keys` are the access keys of the moment; `required`: callers must prove who they are."""

    def __init__(
        self,
        exposition: Exposition,
        keys: Callable[[], Mapping[str, AccessKey]],
        authenticate: Authenticate,
        *,
        required: bool,
    ) -> None:
        self._exposition = exposition
        self._keys = keys
        self._authenticate = authenticate
        self._required = required

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """The text; 401 and 403 say what is wrong in plain text."""
        try:
            key = await self._who(request)
            check_action(key, *_ACTION, caller=f"access key {key.id}" if key is not None else "")
        except (Denied, AwsError) as error:
            return _refused(error)
        except TrimtabError as error:
            return _plain(503 if isinstance(error, Unavailable) else 400, str(error))
        except Exception:  # noqa: BLE001 - a defect of ours: logged, and it ends the request, never the server
            _log.exception("scrape failed %s", fields(peer=request.peer))
            return _plain(500, "trimtab failed; its log on stderr says where.")
        open_metrics = "application/openmetrics-text" in request.headers.get("accept")
        body = self._exposition.text(open_metrics=open_metrics, visible=_visible(key))
        headers = [("Content-Type", OPEN_METRICS if open_metrics else TEXT), ("Vary", "Accept, Accept-Encoding")]
        if "gzip" in request.headers.get("accept-encoding"):
            headers.append(("Content-Encoding", "gzip"))
            body = _compressed(body)
        return HttpResponse(headers=headers, body=body)

    async def _who(self, request: HttpRequest) -> AccessKey | None:
        authorization = request.headers.get("authorization")
        if not self._required:
            return None
        if authorization[:6].lower() == "basic ":
            return self._basic(authorization[6:])
        if not authorization and "X-Amz-Signature" not in request.query:
            raise Denied(
                "Give the id and the secret of an access key as user name and password (HTTP Basic).",
                code=MISSING_TOKEN,
            )
        return (await self._authenticate(request, "cloudwatch")).key

    def _basic(self, encoded: str) -> AccessKey:
        try:
            name, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except ValueError:  # no base64, not ASCII, no UTF-8
            raise Denied("The Authorization header is not HTTP Basic.", code=MISSING_TOKEN) from None
        key = self._keys().get(name)
        if key is None:
            raise Denied("There is no such access key.", code=UNKNOWN_KEY)
        if not hmac.compare_digest(key.secret.encode(), password.encode()):
            raise Denied("The password is not the secret of this access key.", code=INVALID_SIGNATURE)
        return key


async def _compressed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """As gzip: a fiftieth of the bytes pass through gateway and client, for less than passing them on would cost."""
    packer = isal_zlib.compressobj(level=1, wbits=_GZIP)
    async for piece in pieces:
        if data := packer.compress(piece):
            yield data
    yield packer.flush()


def _visible(key: AccessKey | None) -> Callable[[str], bool] | None:
    if key is None or not key.endpoints:
        return None
    patterns = key.endpoints
    return lambda endpoint: any(fnmatchcase(endpoint, pattern) for pattern in patterns)


def _refused(error: Denied | AwsError) -> HttpResponse:
    if isinstance(error, Denied) and error.code in (MISSING_TOKEN, UNKNOWN_KEY, INVALID_SIGNATURE):
        response = _plain(401, str(error))
        response.headers.append(("WWW-Authenticate", 'Basic realm="trimtab", charset="UTF-8"'))
        return response
    return _plain(403, str(error))


def _plain(status: int, text: str) -> HttpResponse:
    return HttpResponse(
        status=status, headers=[("Content-Type", "text/plain; charset=utf-8")], body=text.encode() + b"\n"
    )
