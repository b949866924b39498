"""Callers: whose key signed an invocation, and whether that key may make it."""

from __future__ import annotations

import time
from collections.abc import Callable

from trimtab.aws.arns import sagemaker_arn
from trimtab.aws.permissions import check_action, check_endpoints
from trimtab.aws.runtime.requests import Target
from trimtab.aws.server.exchange import Exchange
from trimtab.aws.sigv4 import QuickCheck, Verifier
from trimtab.resources.routing import AccessKey, RouteTable


class Callers:
    """Checks signatures: the common form quickly, every other in full."""

    def __init__(self, verifier: Verifier, *, now_s: Callable[[], float] = time.time) -> None:
        self._verifier = verifier
        self._quick = QuickCheck(verifier)
        self._now_s = now_s

    def admit(self, exchange: Exchange, target: Target, table: RouteTable) -> None:
        """Let a whole, signed request pass. Raises Denied."""
        key = self._key_of(exchange, target)
        if key.actions or key.endpoints:
            caller = f"arn:aws:iam::{table.account}:user/{key.id}"
            operation = target.operation.value
            check_action(key, "sagemaker-runtime", operation, caller=caller)
            prefix = sagemaker_arn(table.region, table.account, "endpoint", "")
            check_endpoints(key, "sagemaker-runtime", operation, (target.endpoint,), caller=caller, arn_prefix=prefix)

    def _key_of(self, exchange: Exchange, target: Target) -> AccessKey:
        fields, chunks, now_s = exchange.fields, exchange.chunks, self._now_s()
        common = target.plain_path and len(fields) == len(exchange.headers)
        if common:
            key = self._quick.key_of(exchange.method, target.plain_path, fields, chunks, now_s)
            if key is not None:
                return key
        headers = [(str(n, "latin-1").lower(), str(v, "latin-1").strip()) for n, v in exchange.headers]
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        method = exchange.method.decode("latin-1")
        key = self._verifier.verify(method, target.raw_path, target.query, headers, body, now_s)
        if common:
            self._quick.learn(fields, key)
        return key
