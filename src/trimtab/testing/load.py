"""Constant load from boto3 clients, and a count of what came back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until


class Load:
    """`clients` threads that invoke an echo endpoint as fast as they can and count what they get.

    Nothing is retried: a failure is a failure. Each body is unique, so that an answer that went astray is seen.
    """

    def __init__(self, trimtab: Trimtab, endpoint: str, clients: int) -> None:
        self.answers: Counter[str] = Counter()
        self.wrong = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(trimtab, endpoint, i)) for i in range(clients)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, after the requests under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, trimtab: Trimtab, endpoint: str, number: int) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        runtime = trimtab.client("sagemaker-runtime")
        count = 0
        while not self._stop.is_set():
            count += 1
            body = f"{number}:{count}".encode()
            try:
                answer = runtime.invoke_endpoint(EndpointName=endpoint, Body=body)["Body"].read()
                self.wrong += answer != body
                self.answers["ok"] += 1
            except ClientError as error:
                found = error.response
                self.answers[f"{found['ResponseMetadata']['HTTPStatusCode']} {found['Error']['Code']}"] += 1
            except BotoCoreError as error:
                self.answers[type(error).__name__] += 1

    @property
    def failures(self) -> dict[str, int]:
        """Everything but good answers, by kind."""
        return {kind: n for kind, n in self.answers.items() if kind != "ok"}

    def wait_for_answers(self, more: int = 50) -> None:
        """Until `more` further good answers have come: the service is in use right now."""
        goal = self.answers["ok"] + more
        wait_until(lambda: self.answers["ok"] >= goal, lambda: f"more answers, beyond {self.answers}")


@contextmanager
def load(trimtab: Trimtab, endpoint: str, *, clients: int = 16) -> Iterator[Load]:
    """Constant load on `endpoint` for as long as the block lasts."""
    generator = Load(trimtab, endpoint, clients)
    generator.start()
    try:
        yield generator
    finally:
        generator.stop()
    assert generator.wrong == 0, "an answer went to another request"
