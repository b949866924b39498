"""The caller's side, for the CLI: AWS's own client against a trimtab, and trimtab's JSON API, signed the same way.

botocore's exceptions end here: callers see `CallFailed` (somebody answered an error), `Stranger` (no trimtab
answered) and `Unreachable` (nobody did).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import botocore.session
import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config as BotoConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EventStreamError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.httpsession import URLLib3Session
from msgspec import Struct

from trimtab.aws.sigv4.signer import Credentials
from trimtab.errors import Invalid, TrimtabError, Unavailable

PART_BYTES = 64 * 2**20  # uploads beyond one part go in parts of this size
_MAX_PARTS = 10_000
_API = "/_trimtab/v1/"


class Server(Struct, frozen=True, kw_only=True):
    """A trimtab to talk to. Without `access_key` the credentials are those that any AWS program would use."""

    url: str
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""


class CallFailed(TrimtabError):
    """The server answered an error. `code` is AWS's (or trimtab's own), `details` what else its body said."""

    reason = "CallFailed"

    def __init__(self, code: str, message: str, *, status: int = 0, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.details = dict(details or {})


class Stranger(TrimtabError):
    """Somebody answers who is no trimtab: a proxy that asks to log in, say."""

    reason = "Stranger"


class Unreachable(Unavailable):
    """Nobody answers at `url`, or the connection broke."""

    reason = "Unreachable"

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"No trimtab answers at {url}: {why}")
        self.url = url


class Client:
    """Calls to one server. Not for several threads at once."""

    def __init__(self, server: Server, *, read_timeout_s: float = 70.0) -> None:
        self._server = server
        self._read_timeout_s = read_timeout_s
        self._session = botocore.session.Session()
        if server.access_key:
            self._session.set_credentials(server.access_key, server.secret_key)
        self._clients: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """Where the calls go."""
        return self._server.url

    @property
    def region(self) -> str:
        """The region that calls are signed for."""
        return self._server.region

    def credentials(self) -> Credentials:
        """The key that calls are signed with now, for a signer of our own. Raises Invalid when there is none."""
        with self._translated():
            found = self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
            frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")

    def call(self, service: str, operation: str, **params: Any) -> dict[str, Any]:
        """One AWS call by botocore's names: `call("sagemaker", "describe_endpoint", EndpointName="e")`."""
        with self._translated():
            answer: dict[str, Any] = getattr(self._client(service), operation)(**params)
            return answer

    def invoke(self, **params: Any) -> tuple[dict[str, Any], bytes]:
        """InvokeEndpoint: the answer's members, and its body."""
        answer = self.call("sagemaker-runtime", "invoke_endpoint", **params)
        with self._translated():
            return answer, answer["Body"].read()

    def invoke_streaming(self, *, target_model: str = "", **params: Any) -> Iterator[tuple[dict[str, Any], bytes]]:
        """InvokeEndpointWithResponseStream: (the answer's members, the next bytes), as they arrive.

        AWS streams from no multi-model endpoint, so that the operation has no member for a `target_model`.
        """

        def name_model(params: dict[str, Any], **_: Any) -> None:
            params["headers"]["X-Amzn-SageMaker-Target-Model"] = target_model

        event = "before-call.sagemaker-runtime.InvokeEndpointWithResponseStream"
        events = self._client("sagemaker-runtime").meta.events
        if target_model:
            events.register(event, name_model)
        try:
            answer = self.call("sagemaker-runtime", "invoke_endpoint_with_response_stream", **params)
        finally:
            events.unregister(event, name_model)
        with self._translated():
            for event in answer["Body"]:
                if part := event.get("PayloadPart"):
                    yield answer, part["Bytes"]

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """A document of trimtab's own API; `path` is relative to `/_trimtab/v1/`."""
        with self._translated():
            if answer := _document(self._send(path, query, stream=False)):
                return answer
            raise _strange()

    def change(self, method: str, path: str, document: Mapping[str, Any], **query: str) -> dict[str, Any]:
        """PUT, PATCH or DELETE something in trimtab's own API; the document that answers it."""
        with self._translated():
            body = msgspec.json.encode(document) if document else b""
            return _document(self._send(path, query, stream=False, method=method, body=body))

    def lines(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """The JSON Lines of trimtab's own API as they come; ends when the server ends them."""
        with self._translated():
            raw = self._send(path, query, stream=True).raw
            pending = b""
            while chunk := raw.read1(65536):
                *whole, pending = (pending + chunk).split(b"\n")
                yield from (msgspec.json.decode(line) for line in whole if line)

    def upload(self, path: Path, bucket: str, key: str) -> None:
        """Put a file, in parts when it is large; an upload that ends early leaves nothing behind."""
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= PART_BYTES:
                self.call("s3", "put_object", Bucket=bucket, Key=key, Body=file)
                return
            part_bytes = max(PART_BYTES, math.ceil(size / _MAX_PARTS))
            where = {"Bucket": bucket, "Key": key}
            upload = self.call("s3", "create_multipart_upload", **where)["UploadId"]
            try:
                parts: list[dict[str, Any]] = []
                while block := file.read(part_bytes):
                    number = len(parts) + 1
                    done = self.call("s3", "upload_part", **where, UploadId=upload, PartNumber=number, Body=block)
                    parts.append({"PartNumber": number, "ETag": done["ETag"]})
                uploaded = {"Parts": parts}
                self.call("s3", "complete_multipart_upload", **where, UploadId=upload, MultipartUpload=uploaded)
            except BaseException:
                with contextlib.suppress(CallFailed, Unreachable):  # what went wrong first is what is told
                    self.call("s3", "abort_multipart_upload", **where, UploadId=upload)
                raise

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            config = BotoConfig(
                retries={"total_max_attempts": 1},  # a person is waiting: say at once what happened
                read_timeout=self._read_timeout_s,
                connect_timeout=5,
                parameter_validation=False,  # the server's messages are the ones to show
                s3={"addressing_style": "path"},
                user_agent_extra="trimtab-cli",
            )
            self._clients[service] = self._session.create_client(
                service, region_name=self._server.region, endpoint_url=self._server.url, config=config
            )
        return self._clients[service]

    def _send(
        self, path: str, query: Mapping[str, str], *, stream: bool, method: str = "GET", body: bytes = b""
    ) -> Any:
        url = f"{self._server.url.rstrip('/')}{_API}{quote(path)}"
        if query:
            url += f"?{urlencode(query, quote_via=quote)}"  # a signature is made of %20, never of +
        request = AWSRequest(method, url, data=body, stream_output=stream)
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        SigV4Auth(credentials, "sagemaker", self._server.region).add_auth(request)
        timeouts_s: Any = (5, None if stream else self._read_timeout_s)  # followed logs may be silent for hours
        response = URLLib3Session(timeout=timeouts_s).send(request.prepare())
        if response.status_code != 200:
            raise _native_failure(response)
        return response

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except EventStreamError as error:
            raise _call_failed(error) from error
        except ClientError as error:
            raise _call_failed(error) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise Invalid(
                'There are no credentials to sign with. Run `eval "$(trimtab env)"`, or name the data directory of the '
                "trimtab that you mean with --data-dir."
            ) from error
        except (BotoConnectionError, ConnectionClosedError) as error:
            raise Unreachable(self._server.url, _why(error)) from error
        except BotoCoreError as error:
            raise Unreachable(self._server.url, _why(error)) from error


def _call_failed(error: ClientError) -> CallFailed:
    answer: Mapping[str, Any] = error.response
    said = answer.get("Error", {})
    details = {key: value for key, value in answer.items() if key not in ("Error", "ResponseMetadata")}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return CallFailed(said.get("Code", "Unknown"), said.get("Message", str(error)), status=status, details=details)


def _document(response: Any) -> dict[str, Any]:
    """What trimtab's own API answered. Stranger for a page of somebody else's."""
    try:
        answer = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    if not isinstance(answer, dict):
        raise _strange()
    return answer


def _strange() -> Stranger:
    return Stranger("The server answered nothing that a trimtab would: is it one?")


def _native_failure(response: Any) -> CallFailed:
    try:
        said = msgspec.json.decode(response.content)["error"]
        return CallFailed(said["code"], said["message"], status=response.status_code)
    except (msgspec.DecodeError, KeyError, TypeError):
        return CallFailed(
            str(response.status_code),
            f"The server answered {response.status_code} and no trimtab error: is it a trimtab?",
            status=response.status_code,
        )


def _why(error: BaseException) -> str:
    """The innermost reason, in the system's words (`Connection refused`)."""
    cause = error.kwargs.get("error") if isinstance(error, BotoCoreError) else None
    reason = getattr(cause, "reason", None) or cause
    text = str(reason or error)
    return text.rpartition("] ")[2] if "[Errno" in text else text
