"""Does anything that was accepted get lost, or show twice, while every kind of process is killed at random moments?

    python -m benchmarks.soak [--messages 1000000] [--kills 1000] [--clients 2] [--seed 1] [--queues-url URL] [--json FILE]

A real `trimtab serve` with two gateways, an asynchronous endpoint, its notices through a topic to an SQS queue. Clients
(boto3, processes of their own) ask, and keep a ledger: what they asked, what was answered with 202, and for each notice
the result that they found then. They remove it, so that a result that is written again shows at the end. Meanwhile
gateways, control, nursery, workers, consumer, queues and the supervisor (with it all of them; it is started again) are
killed by SIGKILL, evenly over the messages, whichever by chance.

Each answer of the model has a number of its own. The ledger must say: every id that was accepted has one notice, its
result was there with it, and nothing is left where results are. Ids that were asked but not answered may be there, once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import msgspec
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.soak_clients import BUCKET, ENDPOINT, Counts, Line, Verdict, client, client_of, judge, read
from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab

KINDS = ("gateway", "control", "nursery", "worker", "consumer", "queues")
SUPERVISOR_EVERY = 20  # of so many kills one is of the supervisor
CALM_S = 5.0
PATIENCE_S = 180.0  # without any progress: what has not come is lost

MODEL = """
import json, os, uuid

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return body.encode() if isinstance(body, str) else bytes(body)

def predict_fn(data, model):
    return json.dumps({"of": data.decode(), "number": uuid.uuid4().hex}).encode()

def output_fn(prediction, accept):
    return prediction, "application/json"
"""


# --- the subject, and what kills it ----------------------------------------------------------------------------------


class Subject:
    """A trimtab that is started again, on the same port and data, when its supervisor was killed."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = ("--gateways", "2", *options)
        self.server = Trimtab(folder / "data", *self._options)
        self.url = self.server.url
        self.killed: Counter[str] = Counter()

    def access(self) -> dict[str, str]:
        """What boto3 is given."""
        env = self.server.env
        return {
            "endpoint_url": self.url,
            "region_name": env["AWS_DEFAULT_REGION"],
            "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
        }

    def deploy(self) -> str:
        """The endpoint, its topic, the queue of notices: the queue's URL."""
        server = self.server
        server.client("s3").create_bucket(Bucket=BUCKET)
        sns, sqs = server.client("sns"), server.client("sqs")
        queue_url = str(sqs.create_queue(QueueName=ENDPOINT)["QueueUrl"])
        queue = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic = sns.create_topic(Name=ENDPOINT)["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
        server.create_model(ENDPOINT, archive(code__inference_py=MODEL))
        variant = {
            "VariantName": "blue",
            "ModelName": ENDPOINT,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 2,
        }
        output = {
            "S3OutputPath": f"s3://{BUCKET}/out/",
            "S3FailurePath": f"s3://{BUCKET}/failed/",
            "NotificationConfig": {"SuccessTopic": topic, "ErrorTopic": topic},
        }
        server.sagemaker.create_endpoint_config(
            EndpointConfigName=ENDPOINT,
            ProductionVariants=[variant],
            AsyncInferenceConfig={"OutputConfig": output, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4}},
        )
        server.sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=ENDPOINT)
        server.settled(ENDPOINT)
        return queue_url

    def kill(self, kind: str, chance: random.Random) -> None:
        """One process of a kind, as soon as there is one."""
        if kind == "supervisor":
            self._kill_all()
        else:
            until_s = time.monotonic() + PATIENCE_S
            while not self._kill_one(kind, chance):
                assert time.monotonic() < until_s, f"there is no {kind}"
                time.sleep(0.02)
        self.killed[kind] += 1

    def _kill_one(self, kind: str, chance: random.Random) -> bool:
        victims = self.server.processes(f"trimtab: {kind}")
        if not victims:
            return False
        try:
            chance.choice(victims).kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def _kill_all(self) -> None:
        """The supervisor: the others end themselves. Then a new one."""
        below = self.server.processes("trimtab")
        self.server.process.kill()
        self.server.stop()
        _, alive = psutil.wait_procs(below, timeout=90)
        assert not alive, f"these outlive their supervisor: {alive}"
        self.server = Trimtab(self._folder / "data", *self._options, "--port", self.url.rpartition(":")[2])

    def left(self) -> list[str]:
        """Ids of the results (and keys of the failures) that are there."""
        s3 = client_of("s3", self.access(), 5)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        found = [json.loads(read(s3, key))["of"] if key.startswith("out/") else key for key in keys]
        s3.close()
        return found


class Report(msgspec.Struct, frozen=True):
    """The whole run."""

    seconds: float
    killed: dict[str, int]
    verdict: Verdict


def soak(
    messages: int,
    kills: int,
    *,
    clients: int = 2,
    seed: int = 1,
    options: tuple[str, ...] = (),
    say: Callable[[str], None] = print,
) -> Report:
    """All of it."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="tt-soak-") as name:
        folder = Path(name)
        subject = Subject(folder, *options)
        running: list[SpawnProcess] = []
        spawn = multiprocessing.get_context("spawn")
        counts, over = Counts(spawn), spawn.Event()
        try:
            queue_url, access = subject.deploy(), subject.access()
            begin_s = time.monotonic()
            for number in range(clients):
                arguments = (f"c{seed}-{number}", folder, access, queue_url, counts, messages, over)
                process = spawn.Process(target=client, args=arguments)
                process.start()
                running.append(process)
            kill_evenly(subject, counts, messages, kills, chance, say)
            wait_for_accepts(counts, messages)
            wait_for_notices(folder)
            over.set()
            for process in running:
                process.join()
            assert not any(process.exitcode for process in running), "a client has failed"
            verdict = judge(ledgers(folder), subject.left())
            return Report(time.monotonic() - begin_s, dict(subject.killed), verdict)
        finally:
            for left in running:
                left.kill()
                left.join()
            subject.server.stop()


def kill_evenly(
    subject: Subject, counts: Counts, messages: int, kills: int, chance: random.Random, say: Callable[[str], None]
) -> None:
    """A kill for each so many messages; at a moment within them that chance chooses."""
    step = messages / max(kills, 1)
    for number in range(kills):
        wait_for_accepts(counts, step * (number + chance.random()))
        kind = "supervisor" if number % SUPERVISOR_EVERY == SUPERVISOR_EVERY // 2 else chance.choice(KINDS)
        time.sleep(chance.random() * 0.05)  # anywhere between two messages
        subject.kill(kind, chance)
        if number % 100 == 99:
            say(f"{counts.accepted.value} accepted, {counts.noticed.value} noticed, {number + 1} kills")


def wait_for_accepts(counts: Counts, enough: float) -> None:
    """As long as anything goes on."""
    last, since_s = -1, time.monotonic()
    while (now := counts.accepted.value) < enough:
        if now != last:
            last, since_s = now, time.monotonic()
        assert time.monotonic() - since_s < PATIENCE_S, f"nothing goes on: {now} accepted"
        time.sleep(0.002)


def ledgers(folder: Path) -> Iterator[Line]:
    """All that clients have written down."""
    decode = msgspec.json.Decoder(Line).decode
    for file in sorted(folder.glob("c*.jsonl")):
        with file.open("rb") as lines:
            yield from (decode(line) for line in lines if line.endswith(b"\n"))


def wait_for_notices(folder: Path) -> None:
    """Until all have come, and then until no other has come for a while: what has not come by then is lost."""
    last, since_s = (-1, -1), time.monotonic()
    while True:
        now = judge(ledgers(folder), ())
        if (len(now.lost), now.unanswered_done) != last:
            last, since_s = (len(now.lost), now.unanswered_done), time.monotonic()
        if time.monotonic() - since_s > (PATIENCE_S if now.lost else CALM_S):
            return
        time.sleep(1.0)


def main() -> int:
    """0: nothing was lost, nothing shows twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=max(2, (os.cpu_count() or 2) // 2))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queues-url", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what runs here is ended, too
    more = ("--queues-url", options.queues_url) if options.queues_url else ()
    report = soak(options.messages, options.kills, clients=options.clients, seed=options.seed, options=more)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    found = report.verdict
    print(
        f"{found.accepted} accepted of {found.asked} asked, {sum(report.killed.values())} kills {report.killed}, {report.seconds:.0f} s"
    )
    print(
        f"lost {len(found.lost)}, without result {len(found.without_result)}, double {len(found.double)}, wrong {len(found.wrong)}; "
        f"{found.unanswered_done} that were asked but not answered were done"
    )
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
