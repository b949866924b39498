"""Pages to text, through asynchronous inference: from zero replicas to busy to zero, nothing lost on the way.

    make demo-documents        (or: python examples/documents/demo.py [--pages 20])

Page images are uploaded to S3 and submitted; each is read by OCR (RapidOCR, its models inside its wheel) on replicas that are
there only while pages wait; a notice of each comes over SNS to an SQS queue, its text is in S3, and is compared with what
the page says. Everything runs on this machine, in a temporary folder that is removed at the end. The calls are those of a
program for AWS; only the scaling policy names a signal of trimtab's own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.live import Live
from rich.table import Table
from texts import found_share, texts_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from serving import serving

HERE = Path(__file__).parent
DATA = HERE / "data"
ROLE = "arn:aws:iam::000000000000:role/trimtab"
IMAGE = "trimtab://python"  # on AWS: an image with RapidOCR
NAME = "pages"
VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": f"endpoint/{NAME}/variant/blue",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
LOOK_S = 0.25

console = Console(soft_wrap=True)


@dataclass
class Progress:
    """What has come about since the first page was submitted. Times are of `time.monotonic`."""

    began_s: float
    waiting: dict[str, str] = field(default_factory=dict)  # inference id -> page
    outputs: dict[str, str] = field(default_factory=dict)  # inference id -> URL of the text
    failures: list[str] = field(default_factory=list)
    replicas: int = 0
    most_replicas: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    replica_s: float = 0.0
    looked_s: float = 0.0

    def table(self, what: str) -> Table:
        """As it is shown while it goes on."""
        shown = Table(title=what, title_justify="left")
        for column in ("seconds", "backlog", "replicas", "read", "failed"):
            shown.add_column(column, justify="right", min_width=8)
        elapsed_s = time.monotonic() - self.began_s
        row = (f"{elapsed_s:.1f}", str(len(self.waiting)), "█" * self.replicas + f" {self.replicas}")
        shown.add_row(*row, str(len(self.outputs)), str(len(self.failures)))
        return shown


def main() -> int:
    """Run the demo; 130 after Ctrl-C, as shells expect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pages", type=int, default=20, help="how many pages are submitted (the pictures, again and again)"
    )
    parser.add_argument("--replicas", type=int, default=max(1, (os.cpu_count() or 2)), help="at most")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-demo-")))
            stack.enter_context(serving(folder / "data"))
            return run(folder, options.pages, options.replicas)
    except KeyboardInterrupt:
        console.print("\nstopped; everything that the demo made is removed")
        return 130


def run(folder: Path, pages: int, replicas: int) -> int:
    """The steps, in order. 1 when a page is lost or told twice."""
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    queue, topic = notices()
    s3.create_bucket(Bucket=NAME)
    with console.status("deploying the OCR model"):
        deploy(s3, sagemaker, folder, topic)
    scale_to_zero(replicas)
    wait_for(sagemaker, 0, "waiting for no replica to be left")
    console.print("endpoint [bold]pages[/] has no replicas: it costs nothing now")

    progress = submit(s3, pages)
    with Live(progress.table("Reading"), console=console, refresh_per_second=8) as live:
        while progress.waiting:
            receive(queue, progress)
            look(sagemaker, progress)
            live.update(progress.table("Reading"))
        while progress.replicas:
            time.sleep(LOOK_S)
            look(sagemaker, progress)
            live.update(progress.table("Read; back to zero"))
    console.print()
    told_again = receive(queue, progress)
    show_quality(s3, progress)
    show_cost(progress, pages)
    return int(bool(progress.failures) or told_again > 0 or len(progress.outputs) != pages)


def notices() -> tuple[str, str]:
    """A queue that hears of every page, and the topic that it hears it from."""
    sqs, sns = boto3.client("sqs"), boto3.client("sns")
    queue = sqs.create_queue(QueueName="pages-read")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name="pages-read")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    return queue, topic


def deploy(s3: Any, sagemaker: Any, folder: Path, topic: str) -> None:
    """From a folder with `code/inference.py` to an asynchronous endpoint in service."""
    artifact = folder / "model.tar.gz"
    with tarfile.open(artifact, "w:gz") as archive:
        archive.add(HERE / "ocr" / "code" / "inference.py", "code/inference.py")
    s3.upload_file(str(artifact), NAME, "model/model.tar.gz")
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://{NAME}/model/model.tar.gz"}
    sagemaker.create_model(ModelName=NAME, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "blue", "ModelName": NAME, "InstanceType": "ml.c5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName=NAME,
        ProductionVariants=[variant],
        AsyncInferenceConfig={
            "OutputConfig": {
                "S3OutputPath": f"s3://{NAME}/texts/",
                "S3FailurePath": f"s3://{NAME}/failures/",
                "NotificationConfig": {"SuccessTopic": topic, "ErrorTopic": topic},
            },
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
        },
    )
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def scale_to_zero(replicas: int) -> None:
    """A replica for each page that waits, none when none does. On AWS the same takes a policy for ApproximateBacklogSize
    and one for HasBacklogWithoutCapacity, and minutes."""
    scaling = boto3.client("application-autoscaling")
    scaling.register_scalable_target(**VARIANT, MinCapacity=0, MaxCapacity=replicas)
    dimensions = [{"Name": "EndpointName", "Value": NAME}, {"Name": "VariantName", "Value": "blue"}]
    dimensions.append({"Name": "StableWindowSeconds", "Value": "5"})  # a replica without work for so long ends
    scaling.put_scaling_policy(
        **VARIANT,
        PolicyName="as-many-as-wait",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 1.0,
            "CustomizedMetricSpecification": {
                "Namespace": "trimtab/Endpoints",
                "MetricName": "ConcurrencyPerReplicaEvent",
                "Dimensions": dimensions,
                "Statistic": "Average",
            },
            "ScaleInCooldown": 0,
        },
    )


def submit(s3: Any, pages: int) -> Progress:
    """Upload the pictures, and ask for as many pages to be read."""
    runtime = boto3.client("sagemaker-runtime")
    pictures = sorted(path for path in DATA.iterdir() if path.suffix in (".png", ".jpg"))
    for picture in pictures:
        s3.upload_file(str(picture), NAME, f"in/{picture.name}")
    progress = Progress(began_s=time.monotonic())
    for number in range(pages):
        picture = pictures[number % len(pictures)]
        answer = runtime.invoke_endpoint_async(
            EndpointName=NAME,
            InputLocation=f"s3://{NAME}/in/{picture.name}",
            ContentType="image/png" if picture.suffix == ".png" else "image/jpeg",
            InferenceId=f"{number}-{picture.name}",
        )
        progress.waiting[answer["InferenceId"]] = picture.name
    console.print(f"{pages} pages submitted in {time.monotonic() - progress.began_s:.2f} s; each is on the disk")
    return progress


def receive(queue: str, progress: Progress) -> int:
    """Take the notices that are there. Returns how many of them were told before."""
    sqs = boto3.client("sqs")
    again = 0
    answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)
    for message in answer.get("Messages", ()):
        notice = json.loads(message["Body"])
        if (page := notice.get("inferenceId")) in progress.waiting:
            del progress.waiting[page]
            progress.last_s = time.monotonic()
            progress.first_s = progress.first_s or progress.last_s
            if notice["invocationStatus"] == "Completed":
                progress.outputs[page] = notice["responseParameters"]["outputLocation"]
            else:
                progress.failures.append(f"{page}: {notice.get('failureReason')}")
        elif page:
            again += 1
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    if not answer.get("Messages"):
        time.sleep(LOOK_S)
    return again


def look(sagemaker: Any, progress: Progress) -> None:
    """How many replicas there are now."""
    now_s = time.monotonic()
    progress.replica_s += progress.replicas * (now_s - progress.looked_s)
    progress.looked_s = now_s
    progress.replicas = replicas_of(sagemaker)
    progress.most_replicas = max(progress.most_replicas, progress.replicas)


def replicas_of(sagemaker: Any) -> int:
    variants = sagemaker.describe_endpoint(EndpointName=NAME)["ProductionVariants"]
    return int(variants[0].get("CurrentInstanceCount", 0))


def wait_for(sagemaker: Any, replicas: int, what: str) -> None:
    """Until there are so many."""
    with console.status(what):
        while replicas_of(sagemaker) != replicas:
            time.sleep(LOOK_S)


def show_quality(s3: Any, progress: Progress) -> None:
    """What was read, against what the pages say."""
    truth = json.loads((DATA / "ground_truth.json").read_text())
    shares = defaultdict(list)
    for page, url in progress.outputs.items():
        bucket, _, key = url.removeprefix("s3://").partition("/")
        lines = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        picture = page.partition("-")[2]
        shares[picture].append(found_share([line["text"] for line in lines], texts_of(truth[picture])))
    shown = Table(title="Read, against what the pages say", title_justify="left")
    for column in ("page", "times", "found"):
        shown.add_column(column, justify="left" if column == "page" else "right")
    for picture, found in sorted(shares.items()):
        shown.add_row(picture, str(len(found)), f"{min(found):.0%}")
    console.print(shown)
    for failure in progress.failures:
        console.print(f"failed: {failure}", style="red")


def show_cost(progress: Progress, pages: int) -> None:
    """Replica-seconds: what would be paid for."""
    console.print(
        f"{len(progress.outputs)} of {pages} pages read, the first after {progress.first_s - progress.began_s:.1f} s, the "
        f"last after {progress.last_s - progress.began_s:.1f} s, on up to {progress.most_replicas} replicas: "
        f"{progress.replica_s:.0f} replica-seconds from zero to zero"
    )


if __name__ == "__main__":
    sys.exit(main())
