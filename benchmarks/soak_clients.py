"""The clients of `soak.py`, processes of their own that nobody kills; what they write down, and what follows from it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import msgspec

ENDPOINT = "soak"
BUCKET = "soak"
SENDERS = 2  # threads of each client
VISIBLE_S = 20  # a notice whose answer was lost with a gateway comes again after this
IN_HAND_MOST = 2000  # messages that are accepted and not noticed yet: more is asked when there are fewer


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of a client's ledger."""

    what: str  # asked, accepted, noticed
    id: str  # of the inference
    notice: str = ""  # id of the SQS message
    status: str = ""  # what the notice says
    result: str = ""  # what was found where the result is to be; "" = nothing


class Verdict(msgspec.Struct, frozen=True):
    """What the ledgers say."""

    asked: int
    accepted: int
    unanswered_done: int  # of those that were asked but not answered
    lost: list[str]  # accepted, without a notice
    without_result: list[str]  # noticed, nothing there
    double: list[str]  # two notices, two results, or a result that was written again
    wrong: list[str]  # failed, somebody else's, or never asked

    @property
    def good(self) -> bool:
        """Nothing was lost, nothing shows twice."""
        return not (self.lost or self.without_result or self.double or self.wrong)


def judge(lines: Iterable[Line], left: Iterable[str]) -> Verdict:
    """`left`: ids of results that were there at the end."""
    asked: set[str] = set()
    accepted: set[str] = set()
    notices: dict[str, set[str]] = {}
    results: dict[str, set[str]] = {}
    wrong: set[str] = set()
    for line in lines:
        if line.what == "asked":
            asked.add(line.id)
        elif line.what == "accepted":
            accepted.add(line.id)
        else:
            notices.setdefault(line.id, set()).add(line.notice)
            if line.result:
                results.setdefault(line.id, set()).add(line.result)
                if json.loads(line.result)["of"] != line.id:
                    wrong.add(line.id)
            if line.status != "Completed":
                wrong.add(line.id)
    wrong |= notices.keys() - asked
    double = {id for id in notices if len(notices[id]) > 1 or len(results.get(id, ())) > 1}
    return Verdict(
        asked=len(asked),
        accepted=len(accepted),
        unanswered_done=len(notices.keys() - accepted),
        lost=sorted(accepted - notices.keys()),
        without_result=sorted(notices.keys() - results.keys() - wrong),
        double=sorted(double | set(left)),
        wrong=sorted(wrong),
    )


class Counts:
    """What clients have done, for all processes to see."""

    def __init__(self, context: SpawnContext) -> None:
        self.accepted = context.Value("q", 0)
        self.noticed = context.Value("q", 0)  # about: one that comes again may count twice

    @staticmethod
    def add(value: Any, by: int) -> None:
        """Atomically."""
        with value.get_lock():
            value.value += by


class Ledger:
    """A file, a line as soon as something is known. Its client is never killed."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, line: Line) -> None:
        """One entry."""
        with self._lock:
            self._file.write(msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """All is in the file."""
        self._file.close()


def client_of(service: str, access: dict[str, str], attempts: int) -> Any:
    """A plain boto3 client."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, connect_timeout=5, read_timeout=30)
    return boto3.client(service, config=config, **access)


def client(
    name: str, folder: Path, access: dict[str, str], queue_url: str, counts: Counts, messages: int, over: Event
) -> None:
    """Asks until `messages` were accepted, and takes notices until it is over."""
    ledger = Ledger(folder / f"{name}.jsonl")
    senders = [
        threading.Thread(target=send, args=(f"{name}-{n}", ledger, access, counts, messages)) for n in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    receive(ledger, access, queue_url, counts, over)
    for sender in senders:
        sender.join()
    ledger.close()


def send(name: str, ledger: Ledger, access: dict[str, str], counts: Counts, messages: int) -> None:
    """One request after the other; one that was not answered is not asked again: it may have been accepted."""
    from botocore.exceptions import BotoCoreError, ClientError

    runtime = client_of("sagemaker-runtime", access, 1)
    number = 0
    while counts.accepted.value < messages:
        if counts.accepted.value - counts.noticed.value > IN_HAND_MOST:
            time.sleep(0.05)
            continue
        number += 1
        id = f"{name}-{number}"
        ledger.write(Line("asked", id))
        try:
            runtime.invoke_endpoint_async(
                EndpointName=ENDPOINT, Body=id.encode(), ContentType="text/plain", InferenceId=id
            )
        except (BotoCoreError, ClientError):
            time.sleep(0.02)  # something was killed
            continue
        ledger.write(Line("accepted", id))
        counts.add(counts.accepted, 1)
    runtime.close()


def receive(ledger: Ledger, access: dict[str, str], queue_url: str, counts: Counts, over: Event) -> None:
    """Notices, and the result of each."""
    from botocore.exceptions import BotoCoreError, ClientError

    sqs, s3 = client_of("sqs", access, 5), client_of("s3", access, 5)
    seen: set[str] = set()
    while not over.is_set():
        try:
            found = sqs.receive_message(
                QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=2, VisibilityTimeout=VISIBLE_S
            )
            for message in found.get("Messages", ()):
                key, line = note(s3, message)
                if line.id and line.notice not in seen:  # SQS may deliver it again
                    ledger.write(line)
                    seen.add(line.notice)
                    counts.add(counts.noticed, 1)
                if key:
                    s3.delete_object(Bucket=BUCKET, Key=key)
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        except (BotoCoreError, ClientError):
            time.sleep(0.02)
    sqs.close()
    s3.close()


def note(s3: Any, message: dict[str, Any]) -> tuple[str, Line]:
    """The key of a notice's result, and what is to be known of the two. No id: a new endpoint's notice of trial."""
    notice = json.loads(json.loads(message["Body"])["Message"])
    location = notice.get("responseParameters", {}).get("outputLocation", "")
    key = location.removeprefix(f"s3://{BUCKET}/")
    result = read(s3, key) if key else ""
    return key, Line(
        "noticed", notice.get("inferenceId", ""), message["MessageId"], notice.get("invocationStatus", ""), result
    )


def read(s3: Any, key: str) -> str:
    """The object; "" when there is none."""
    from botocore.exceptions import ClientError

    try:
        return str(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode())
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return ""
