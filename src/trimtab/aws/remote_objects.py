"""RemoteObjects: S3 over the wire, by AWS's own client, for the consumer of asynchronous tasks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from trimtab.aws.sigv4.signer import Credentials
from trimtab.consumer.objects import ObjectRefused, ObjectTooLarge, Sent, UploadGone, Writer
from trimtab.errors import Invalid, Unavailable
from trimtab.objects.names import bucket_and_key

PART_BYTES: Final = 16 << 20
_READ_BYTES: Final = 1 << 20
_CONNECTIONS: Final = 16
_MISSING: Final = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
_STALE_KEY: Final = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "RequestTimeTooSkewed"})
_PASSING: Final = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "OperationAborted"})


class RemoteObjects:
    """See `consumer.objects.Objects`. Used by several threads."""

    def __init__(self, url: str, credentials: Callable[[], Credentials], *, region: str = "us-east-1") -> None:
        """`url` is where S3 answers; `credentials` are asked for anew when S3 does not know them any more."""
        self._url = url
        self._credentials = credentials
        self._region = region
        self._made: Any = None
        self._lock = threading.Lock()

    def fetch(self, url: str, into: Writer, *, limit_bytes: int) -> int:
        """See Objects. One GET: a change of the object meanwhile is not seen."""
        with self._translated():
            answer = self._client().get_object(**_where(url))
            body = answer["Body"]
            try:
                size_bytes: int = answer["ContentLength"]
                if size_bytes > limit_bytes:
                    raise ObjectTooLarge(f"{url} has {size_bytes} bytes; the most is {limit_bytes}.")
                while chunk := body.read(_READ_BYTES):
                    into.write(chunk)
            finally:
                body.close()
        return size_bytes

    def put(self, url: str, body: bytes, sent: Sent) -> None:
        """See Objects."""
        with self._translated():
            self._client().put_object(**_where(url), Body=body, **_members(sent))

    def stage(self, url: str, body: BinaryIO, sent: Sent, *, alone: bool) -> tuple[str, Sequence[str]]:
        """See Objects."""
        with self._translated():
            client, where = self._client(), _where(url)
            if not alone:
                self._abandon_others(client, where)
            upload_id: str = client.create_multipart_upload(**where, **_members(sent))["UploadId"]
            etags: list[str] = []
            try:
                while part := body.read(PART_BYTES):
                    number = len(etags) + 1
                    done = client.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=part)
                    etags.append(done["ETag"])
            except BaseException:
                with contextlib.suppress(ClientError, BotoCoreError):  # what went wrong first is what is told
                    client.abort_multipart_upload(**where, UploadId=upload_id)
                raise
        return upload_id, etags

    def _abandon_others(self, client: Any, where: dict[str, str]) -> None:
        for page in client.get_paginator("list_multipart_uploads").paginate(
            Bucket=where["Bucket"], Prefix=where["Key"]
        ):
            for upload in page.get("Uploads", ()):
                if upload["Key"] == where["Key"]:
                    client.abort_multipart_upload(**where, UploadId=upload["UploadId"])

    def complete(self, url: str, upload_id: str, etags: Sequence[str], sent: Sent) -> None:
        """See Objects."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        with self._translated():
            client, where = self._client(), _where(url)
            try:
                client.complete_multipart_upload(**where, UploadId=upload_id, MultipartUpload={"Parts": parts})
            except ClientError as error:
                if _code(error) != "NoSuchUpload":
                    raise
                if not self._is_there(client, where, sent):
                    raise UploadGone(f"The upload to {url} is no more.") from error

    def _is_there(self, client: Any, where: dict[str, str], sent: Sent) -> bool:
        try:
            found = client.head_object(**where)
        except ClientError as error:
            if _code(error) in _MISSING:
                return False
            raise
        return dict(found.get("Metadata", {})) == dict(sent.metadata)

    def abandon(self, url: str, upload_id: str) -> None:
        """See Objects."""
        with self._translated():
            try:
                self._client().abort_multipart_upload(**_where(url), UploadId=upload_id)
            except ClientError as error:
                if _code(error) not in {"NoSuchUpload", *_MISSING}:
                    raise

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                import botocore.session  # only here: a consumer without a task has no use for a client
                from botocore.config import Config as BotoConfig

                given = self._credentials()
                config = BotoConfig(
                    retries={"total_max_attempts": 2, "mode": "standard"},
                    connect_timeout=5,
                    read_timeout=60,
                    max_pool_connections=_CONNECTIONS,
                    s3={"addressing_style": "path"},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    user_agent_extra="trimtab-consumer",
                )
                self._made = botocore.session.Session().create_client(
                    "s3",
                    endpoint_url=self._url,
                    region_name=self._region,
                    aws_access_key_id=given.key_id,
                    aws_secret_access_key=given.secret,
                    aws_session_token=given.token or None,
                    config=config,
                )
            return self._made

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._named(error) from error
        except (ParamValidationError, Invalid) as error:
            raise ObjectRefused(str(error)) from error
        except BotoCoreError as error:
            raise Unavailable(f"S3 at {self._url} does not answer: {error}") from error

    def _named(self, error: ClientError) -> ObjectRefused | Unavailable:
        code = _code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        text = f"{code}: {error.response.get('Error', {}).get('Message', '')}"
        if code in _STALE_KEY:
            with self._lock:
                self._made = None  # the key may have been replaced: the next call asks for it anew
        if code in _STALE_KEY or code in _PASSING or status >= 500 or status == 429:
            return Unavailable(f"S3 says {text}")
        return ObjectRefused(text, missing=code in _MISSING)


def _where(url: str) -> dict[str, str]:
    bucket, key = bucket_and_key(url)
    return {"Bucket": bucket, "Key": key}


def _members(sent: Sent) -> dict[str, Any]:
    content = {"ContentType": sent.content_type} if sent.content_type else {}
    return {**content, "Metadata": dict(sent.metadata)}


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
