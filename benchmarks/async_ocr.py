"""From zero to busy to zero: pages through OCR by asynchronous inference, and what the replicas cost for it.

    python -m benchmarks.async_ocr [--pages 1000] [--replicas 2] [--start SECONDS] [--json FILE]

An asynchronous endpoint at zero replicas; N page images are in S3. All are submitted at once, trimtab's event signal
scales from zero by what waits, and back to zero when nothing does. The model is RapidOCR (PP-OCRv4 by ONNX Runtime, one
thread; its models are in its wheel). The pages are rendered from known words: synthetic, so that what was read can be
compared with what is written there.

Replica-seconds are from when a replica is started until it is gone, whether or not it works. They are compared with the
fewest that anybody could spend who finishes at the same time and knows all of it before: the time that replicas have
spent in the model for these pages in this very run, and one start (as measured in this run) for each of as many
replicas as that work needs by then. No such scheduler loses time between pages, waits for the queue, or keeps a replica
a moment too long.

`--start` has the model pretend to load for so long, as one with many gigabytes does. Needs rapidocr-onnxruntime.
"""

from __future__ import annotations

import argparse
import difflib
import io
import json
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins
from PIL import Image, ImageDraw, ImageFont

from benchmarks.scaling import scale, tracking
from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab, serving

BUCKET, NAME, VARIANT = "pages", "ocr", "blue"
STABLE_S = 3.0  # how long a backlog must have been gone before replicas go
LOOK_EVERY_S = 0.05
GIVE_UP_S = 3600.0
TEXT = (
    "account balance amount invoice payment customer number delivery address total net gross order contract service "
    "monthly period interest transfer signed date place name company office street city country reference article"
)
WORDS = TEXT.split()

MODEL = """
import json, os, time
from pathlib import Path

import cv2
import numpy as np
import rapidocr_onnxruntime
import yaml

def model_fn(model_dir):
    time.sleep(float(os.environ.get("LOADS_FOR_S", "0")))
    home = Path(rapidocr_onnxruntime.__file__).parent
    config = yaml.safe_load((home / "config.yaml").read_text())
    for part in config.values():
        part["intra_op_num_threads"] = part["inter_op_num_threads"] = 1
        if "model_path" in part:
            part["model_path"] = str(home / part["model_path"])
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"ocr-{os.getpid()}.yaml"
    path.write_text(yaml.safe_dump(config))
    cv2.setNumThreads(1)
    try:
        return rapidocr_onnxruntime.RapidOCR(config_path=str(path))
    finally:
        path.unlink()

def transform_fn(model, body, content_type, accept):
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not an image")
    found, _ = model(image)
    return json.dumps({"lines": [line[1] for line in found or ()]}), "application/json"
"""


class Result(Struct, kw_only=True):
    pages: int
    replicas: int  # most at once
    submit_s: float
    first_result_s: float  # after the first page was submitted
    finish_s: float  # likewise: all results are there
    to_zero_s: float  # after that: no replica is left
    work_s: float  # in the model
    start_s: float  # of a replica, mean
    replica_s: float
    least_replicas: int
    least_replica_s: float
    accuracy: float  # of characters

    @property
    def ratio(self) -> float:
        return self.replica_s / self.least_replica_s


def page(number: int) -> tuple[bytes, str]:
    """A page image (PNG), and what is written on it."""
    draw_from = random.Random(number)
    lines = [" ".join(draw_from.choices(WORDS, k=5)) + f" {draw_from.randrange(10**6)}" for _ in range(12)]
    image = Image.new("L", (900, 620), 255)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=24)
    for row, line in enumerate(lines):
        draw.text((30, 25 + 48 * row), line, fill=draw_from.randrange(0, 80), font=font)
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return packed.getvalue(), "\n".join(lines)


class Watch:
    """Looks at the replicas, in a thread of its own, until `stop`: what they cost, and how many there were."""

    def __init__(self, trimtab: Trimtab) -> None:
        from trimtab.aws.client import Client, Server

        keys = trimtab.env
        self._server = Server(
            url=trimtab.url,
            region=keys["AWS_DEFAULT_REGION"],
            access_key=keys["AWS_ACCESS_KEY_ID"],
            secret_key=keys["AWS_SECRET_ACCESS_KEY"],
        )
        self._make = Client
        self.client = Client(self._server)
        self.seen: dict[str, list[float]] = {}  # replica: when it was started, when it was seen last
        self.starts_s: dict[str, float] = {}
        self.most = self.now = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def queue(self) -> dict[str, Any]:
        return self.client.get(f"endpoints/{NAME}/queue")

    def cost_s(self) -> float:
        return sum(last_s - first_s + LOOK_EVERY_S / 2 for first_s, last_s in self.seen.values())

    def _run(self) -> None:
        client = self._make(self._server)
        while not self._over.wait(LOOK_EVERY_S):
            replicas = client.get(f"endpoints/{NAME}")["replicas"]
            now_s = time.time()
            for replica in replicas:
                self.seen.setdefault(replica["id"], [replica["started_s"], now_s])[1] = now_s
                if replica["state"] == "Ready":
                    self.starts_s.setdefault(replica["id"], replica["start_s"])
            self.now = len(replicas)
            self.most = max(self.most, self.now)


def least(work_s: float, start_s: float, finish_s: float, most: int) -> tuple[int, float]:
    """Fewest replicas that do so much work by then, and their replica-seconds."""
    room_s = finish_s - start_s
    replicas = min(most, max(1, ceil(work_s / room_s - 1e-9))) if room_s > 0 else most
    return replicas, work_s + replicas * start_s


def deploy(trimtab: Trimtab, most: int, loads_for_s: float) -> None:
    trimtab.s3.create_bucket(Bucket=BUCKET)
    trimtab.create_model(NAME, archive(code__inference_py=MODEL), LOADS_FOR_S=str(loads_for_s))
    trimtab.sagemaker.create_endpoint_config(
        EndpointConfigName=NAME,
        ProductionVariants=[
            {"VariantName": VARIANT, "ModelName": NAME, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        ],
        AsyncInferenceConfig={
            "OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/out", "S3FailurePath": f"s3://{BUCKET}/failed"},
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
        },
    )
    trimtab.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    trimtab.settled(NAME)
    windows = {"StableWindowSeconds": f"{STABLE_S:g}"}
    scale(
        trimtab.client("application-autoscaling"),
        NAME,
        0,
        most,
        tracking(NAME, 1.0, variant=VARIANT, windows=windows, out_s=0),
        variant=VARIANT,
        name="backlog",
    )


def until(true: Any) -> None:
    give_up_s = time.monotonic() + GIVE_UP_S
    while not true():
        if time.monotonic() > give_up_s:
            raise TimeoutError("it has not come about")
        time.sleep(LOOK_EVERY_S)


def in_model_s(trimtab: Trimtab) -> float:
    """Time that replicas have spent in the model's handlers, as they say themselves."""
    now = datetime.now(UTC)
    points = trimtab.client("cloudwatch").get_metric_statistics(
        Namespace="trimtab/Endpoints",
        MetricName="ComputeTime",
        Dimensions=[{"Name": "EndpointName", "Value": NAME}, {"Name": "VariantName", "Value": VARIANT}],
        StartTime=now - timedelta(seconds=GIVE_UP_S),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return sum(point["Sum"] for point in points) / 1e6


def measure(trimtab: Trimtab, pages: int, most: int, loads_for_s: float) -> Result:
    deploy(trimtab, most, loads_for_s)
    written: list[str] = []
    for number in range(pages):
        image, text = page(number)
        written.append(text)
        trimtab.s3.put_object(Bucket=BUCKET, Key=f"in/{number}.png", Body=image)
    watch = Watch(trimtab)
    until(lambda: not watch.client.get(f"endpoints/{NAME}")["replicas"])
    watch.start()
    try:
        answers, begun_s, submitted_s = submit(trimtab, pages)
        first_s = finish_s = 0.0

        def ended() -> int:
            return int(watch.queue()["ended"])

        until(lambda: ended() > 0)
        first_s = time.time()
        until(lambda: ended() >= pages)
        finish_s = time.time()
        until(lambda: watch.now == 0)
        zero_s = time.time()
    finally:
        watch.stop()
    time.sleep(2.5)  # gateways report once a second; the last report is in then
    work_s = in_model_s(trimtab)
    start_s = sum(watch.starts_s.values()) / len(watch.starts_s)
    fewest, least_s = least(work_s, start_s, finish_s - begun_s, most)
    return Result(
        pages=pages,
        replicas=watch.most,
        submit_s=submitted_s - begun_s,
        first_result_s=first_s - begun_s,
        finish_s=finish_s - begun_s,
        to_zero_s=zero_s - finish_s,
        work_s=work_s,
        start_s=start_s,
        replica_s=watch.cost_s(),
        least_replicas=fewest,
        least_replica_s=least_s,
        accuracy=accuracy(trimtab, answers, written),
    )


def submit(trimtab: Trimtab, pages: int) -> tuple[list[dict[str, Any]], float, float]:
    begun_s = time.time()

    def ask(number: int) -> dict[str, Any]:
        where = f"s3://{BUCKET}/in/{number}.png"
        return dict(
            trimtab.runtime.invoke_endpoint_async(EndpointName=NAME, InputLocation=where, ContentType="image/png")
        )

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(pages)))
    return answers, begun_s, time.time()


def accuracy(trimtab: Trimtab, answers: list[dict[str, Any]], written: list[str]) -> float:
    """Part of the characters that were read as they are written."""
    same = total = 0
    for answer, text in zip(answers, written, strict=True):
        key = answer["OutputLocation"].removeprefix(f"s3://{BUCKET}/")
        lines = json.loads(trimtab.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())["lines"]
        ours, theirs = "".join(text.split()), "".join("".join(lines).split())
        same += sum(block.size for block in difflib.SequenceMatcher(None, ours, theirs, False).get_matching_blocks())
        total += len(ours)
    return same / total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=2, help="most at once")
    parser.add_argument("--start", type=float, default=0.0, help="seconds that the model pretends to load")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with serving() as trimtab:
        found = measure(trimtab, asked.pages, asked.replicas, asked.start)
    print(
        f"{found.pages} pages, {found.replicas} replicas at most: submitted in {found.submit_s:.1f} s, first result after"
        f" {found.first_result_s:.2f} s, all after {found.finish_s:.1f} s, at zero {found.to_zero_s:.1f} s later"
    )
    print(
        f"work {found.work_s:.1f} s, a start {found.start_s:.2f} s; {found.replica_s:.1f} replica-seconds, with foresight"
        f" {found.least_replica_s:.1f} ({found.least_replicas} replicas): {found.ratio:.3f} x; characters read"
        f" {100 * found.accuracy:.1f} %"
    )
    if asked.json:
        asked.json.write_text(json.dumps({**to_builtins(found), "ratio": found.ratio}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
