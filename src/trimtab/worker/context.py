"""The `context` that handlers may take as their last argument, as AWS's toolkits and TorchServe give it.

One is made for each request, and only if some handler takes it. Of the headers that a handler sets, those go back that
SageMaker lets through: the content type and the custom attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.wire.frames import RequestMeta
from trimtab.worker.tracing import headers

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_SENT_AS = (
    ("Content-Type", "content_type"),
    ("Accept", "accept"),
    (CUSTOM_ATTRIBUTES, "custom_attributes"),
    ("X-Amzn-SageMaker-Inference-Id", "inference_id"),
    ("X-Amzn-SageMaker-Target-Model", "target_model"),
    ("X-Amzn-SageMaker-Session-Id", "session_id"),
)


class RequestProcessor:
    """One request's headers in, its status and headers out (TorchServe's name for it)."""

    def __init__(self, meta: RequestMeta) -> None:
        self._properties = {name: value for name, field in _SENT_AS if (value := getattr(meta, field))}
        if meta.trace:
            self._properties |= headers(meta.trace)
        self._response_headers: dict[str, str] = {}
        self._status, self._phrase = 200, "OK"

    def get_request_properties(self) -> dict[str, str]:
        """All headers."""
        return self._properties

    def get_request_property(self, key: str) -> str | None:
        """One header, in any case; None when the caller did not send it."""
        return next((v for k, v in self._properties.items() if k.lower() == key.lower()), None)

    def add_response_property(self, key: str, value: str) -> None:
        """Set a header of the answer."""
        self._response_headers[key] = value

    def get_response_headers(self) -> dict[str, str]:
        """The answer's headers set so far."""
        return self._response_headers

    def get_response_header(self, key: str) -> str | None:
        """One of the answer's headers, in any case."""
        return next((v for k, v in self._response_headers.items() if k.lower() == key.lower()), None)

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """Set the answer's HTTP status. 400 and over makes it a failure; the caller's client sees 424."""
        self._status, self._phrase = int(code), reason_phrase or ""

    def get_response_status_code(self) -> int:
        """The status set last; 200 to begin with."""
        return self._status

    def get_response_status_phrase(self) -> str:
        """The phrase set last."""
        return self._phrase


class Context:
    """What a handler may know of its request and of the server.

    `idx` is 0, except in predict_batch_fn: there it is the place of the request among the inputs.
    """

    def __init__(self, meta: RequestMeta, system_properties: dict[str, Any], model_name: str) -> None:
        self.model_name = model_name
        self.manifest: dict[str, Any] = {"model": {"modelName": model_name}}
        self.system_properties = system_properties
        self.request_processor = [RequestProcessor(meta)]
        self.request_ids = {0: meta.inference_id}

    @classmethod
    def joined(cls, contexts: Sequence[Context]) -> Context:
        """The context of several requests together. What is set for one of them reaches that one's own."""
        first = contexts[0]
        context = cls(RequestMeta(), first.system_properties, first.model_name)
        context.request_processor = [one.request_processor[0] for one in contexts]
        context.request_ids = {place: one.request_ids[0] for place, one in enumerate(contexts)}
        return context

    @property
    def request_id(self) -> str:
        """The caller's inference id; "" when it sent none."""
        return self.request_ids[0]

    @property
    def custom_attributes(self) -> str:
        """The caller's custom attributes; "" when it sent none."""
        return self.get_request_header(0, CUSTOM_ATTRIBUTES) or ""

    def get_request_id(self, idx: int = 0) -> str:
        """The caller's inference id; "" when it sent none."""
        return self.request_ids[idx]

    def get_request_header(self, idx: int, key: str) -> str | None:
        """One header of the request, in any case; None when the caller did not send it."""
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx: int = 0) -> dict[str, str]:
        """All headers of the request."""
        return self.request_processor[idx].get_request_properties()

    def get_request_content_type(self, idx: int = 0) -> str | None:
        """The body's content type; None when the caller named none."""
        return self.get_request_header(idx, "Content-Type")

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of the answer. SageMaker passes on Content-Type and the custom attributes; so does trimtab."""
        self.request_processor[idx].add_response_property(key, value)

    def get_response_headers(self, idx: int = 0) -> dict[str, str]:
        """The answer's headers set so far."""
        return self.request_processor[idx].get_response_headers()

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the answer's content type; it wins over what output_fn returns."""
        self.set_response_header(idx, "Content-Type", value)

    def get_response_content_type(self, idx: int = 0) -> str | None:
        """The content type set so far."""
        return self.request_processor[idx].get_response_header("Content-Type")

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the answer's HTTP status; 400 and over makes it a failure."""
        self.request_processor[idx].report_status(code, phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """`set_response_status` for every request of the context."""
        for processor in self.request_processor:
            processor.report_status(code, phrase)

    def get_response_status(self, idx: int = 0) -> tuple[int, str]:
        """Status and phrase set so far."""
        processor = self.request_processor[idx]
        return processor.get_response_status_code(), processor.get_response_status_phrase()
