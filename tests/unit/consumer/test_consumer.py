"""Tasks from their queue to their one visible result and their one notice."""

import asyncio
import time

import pytest

from trimtab.consumer.objects import ObjectRefused
from trimtab.consumer.runner import INLINE_RESULT_BYTES
from trimtab.errors import Unavailable
from trimtab.queues.model import Drop, List, Look, NoQueue, Redrive
from trimtab.resources.asynchronous import MAX_INPUT_BYTES, QueueMark, queue_of
from trimtab.testing.consuming import ENDPOINT, TOPIC, Held, Sent
from trimtab.testing.waiting import until

QUEUE = queue_of(ENDPOINT)


async def over(place):
    """Wait until nothing is in the queue any more."""

    async def empty():
        depth = await place.depth()
        return depth.waiting + depth.leased == 0

    await until(empty)


async def test_a_result_is_published_and_told_once(place):
    place.consume()
    await place.accept("t1", b"page", content_type="text/csv", custom_attributes="c", accept="a")
    await over(place)
    held = place.objects.objects["s3://bucket/out/t1.out"]
    assert (held.body, held.sent.content_type) == (b"page", "text/plain")
    assert held.sent.metadata == {"trimtab-task": "t1", "trimtab-endpoint-config": "c1"}
    (notice,) = await place.notices()
    assert notice["invocationStatus"] == "Completed"
    assert notice["requestParameters"] == {"endpointName": ENDPOINT, "contentType": "text/csv"}
    assert notice["responseParameters"] == {"contentType": "text/plain", "outputLocation": "s3://bucket/out/t1.out"}
    assert (notice["inferenceId"], notice["eventName"]) == ("i-t1", "InferenceResult")
    got = place.worker.got[0]
    assert (got.meta.content_type, got.meta.accept, got.meta.custom_attributes) == ("text/csv", "a", "c")
    assert got.meta.inference_id == "i-t1"
    assert [(e.ok, e.variant) for e in place.ended] == [(True, "blue")]


@pytest.mark.parametrize("size_bytes", [0, 1, INLINE_RESULT_BYTES, INLINE_RESULT_BYTES + 1, 9 << 20])
async def test_answers_of_any_size(place, size_bytes):
    place.consume()
    place.worker.on_request = lambda got: got.answer(b"x" * size_bytes)
    await place.accept("t1")
    await over(place)
    assert place.objects.objects["s3://bucket/out/t1.out"].body == b"x" * size_bytes
    assert not place.objects.uploads


async def test_an_answer_in_pieces(place):
    def stream(got):
        got.head("text/csv")
        for _ in range(40):
            got.chunk(b"y" * 200_000)
        got.end()

    place.consume()
    place.worker.on_request = stream
    await place.accept("t1")
    await over(place)
    held = place.objects.objects["s3://bucket/out/t1.out"]
    assert (len(held.body), held.sent.content_type) == (8_000_000, "text/csv")


async def test_inputs_come_from_s3(place):
    place.objects.objects["s3://bucket/in"] = Held(b"z" * (6 << 20), Sent())
    place.consume()
    await place.accept("t1", None, input_location="s3://bucket/in")
    await over(place)
    assert place.objects.objects["s3://bucket/out/t1.out"].body == b"z" * (6 << 20)


async def failed(place, reason):
    """The one task has failed for `reason`, visibly and told once; the failure object's text."""
    await over(place)
    (notice,) = await place.notices()
    assert notice["invocationStatus"] == "Failed"
    assert "responseParameters" not in notice
    assert place.ended[-1].reason == reason
    assert "s3://bucket/out/t1.out" not in place.objects.objects
    return notice["failureReason"], place.objects.objects["s3://bucket/failed/t1-error.out"].body.decode()


async def test_a_models_error_is_not_retried(place):
    place.consume()
    place.worker.on_request = lambda got: got.fail(500, b"no such page")
    await place.accept("t1")
    told, written = await failed(place, "ModelFailed")
    assert told.startswith("ClientError: Received server error (500) from primary. See the SageMaker Endpoint logs")
    assert written == 'Received server error (500) from primary with message "no such page"'
    assert len(place.worker.got) == 1
    found = await place.queues.ask(List(queue=QUEUE, state="dead"))
    assert [message.reason.split(":")[0] for message in found.messages] == ["ModelFailed"]


async def test_what_is_redriven_is_tried_anew(place):
    place.consume()
    place.worker.on_request = lambda got: got.fail(500, b"no")
    await place.accept("t1")
    await failed(place, "ModelFailed")
    place.worker.on_request = lambda got: got.answer(b"yes")
    await place.queues.ask(Redrive(queue=QUEUE))
    await until(lambda: "s3://bucket/out/t1.out" in place.objects.objects)
    await over(place)
    (notice,) = await place.notices()
    assert notice["invocationStatus"] == "Completed"


async def test_a_time_limit(place):
    place.consume()
    place.worker.on_request = lambda got: None
    await place.accept("t1", timeout_s=0.2)
    told, written = await failed(place, "TimedOut")
    assert "server error (0)" in told
    assert "timed out" in written


async def test_an_input_that_is_missing_or_too_large(place):
    place.consume()
    await place.accept("t1", None, input_location="s3://bucket/none")
    told, _ = await failed(place, "InputMissing")
    assert told == (
        "ClientError: Unable to download input from s3://bucket/none: NoSuchKey: The specified key does not exist."
    )


async def test_an_input_of_more_than_a_gigabyte(place):
    class Huge(bytes):
        def __len__(self):
            return MAX_INPUT_BYTES + 1

    place.objects.objects["s3://bucket/huge"] = Held(Huge(), Sent())
    place.consume()
    await place.accept("t1", None, input_location="s3://bucket/huge")
    await failed(place, "InputTooLarge")
    assert not place.worker.got


async def test_a_task_that_has_expired_is_told_of_even_while_there_is_no_replica(place, monkeypatch):
    monkeypatch.setattr("trimtab.consumer.consumer._EXPIRED_EVERY_S", 0.05)
    await place.route(lanes=0)
    await place.accept("t1", ttl_s=time.time() + 0.1)
    await place.accept("t2")
    place.consume()

    async def only_one():
        depth = await place.depth()
        return depth.waiting + depth.leased == 1

    await until(only_one)
    (notice,) = await place.notices()
    assert "expired" in notice["failureReason"]
    assert place.ended[-1].reason == "Expired"
    await place.route(lanes=1)
    await over(place)
    assert "s3://bucket/out/t2.out" in place.objects.objects


async def test_an_output_that_is_refused_is_a_failure_that_says_so(place):
    place.objects.fault = lambda op, url: ObjectRefused("NoSuchBucket: gone") if url.endswith("/t1.out") else None
    place.consume()
    await place.accept("t1")
    told, _ = await failed(place, "OutputRefused")
    assert told == "ClientError: Unable to upload the response to s3://bucket/out/t1.out: NoSuchBucket: gone"


async def test_a_failure_that_cannot_be_written_is_told_all_the_same(place):
    place.objects.fault = lambda op, url: ObjectRefused("AccessDenied: no")
    place.consume()
    await place.accept("t1")
    await over(place)
    (notice,) = await place.notices()
    assert notice["invocationStatus"] == "Failed"
    assert not place.objects.objects


async def test_while_s3_is_away_tasks_wait_and_the_model_is_asked_once(place, monkeypatch):
    monkeypatch.setattr("trimtab.consumer.runner.AWAY_PAUSE_S", 0.02)
    away = [Unavailable("S3 is away")] * 5
    place.objects.fault = lambda op, url: away.pop() if op == "put" and away else None
    place.consume()
    await place.accept("t1")
    await over(place)
    assert "s3://bucket/out/t1.out" in place.objects.objects
    assert len(place.worker.got) == 1
    assert len(await place.notices()) == 1


async def test_a_topic_that_is_not_there_costs_the_notice_and_not_the_result(place):
    await place.queues.ask(Drop(queue="sns/told"))
    place.consume()
    await place.accept("t1")
    await over(place)
    assert "s3://bucket/out/t1.out" in place.objects.objects
    assert place.ended[-1].notice_failed


async def test_a_replica_that_dies_costs_a_task_nothing_but_time(place):
    died = []

    def die(got):
        if not died:
            died.append(got)
            got.connection.abort()
        else:
            got.answer(b"again")

    place.worker.on_request = die
    place.consume()
    begun_s = time.monotonic()
    await place.accept("t1")
    await over(place)
    assert place.objects.objects["s3://bucket/out/t1.out"].body == b"again"
    assert time.monotonic() - begun_s < 5


async def test_the_queue_of_a_deleted_endpoint_empties_and_goes(place):
    await place.route(lanes=0)
    for number in range(5):
        await place.accept(f"t{number}")
    place.consume()
    await place.mark(QueueMark(uid="u1", deleted=True))

    async def gone():
        return isinstance(await place.queues.ask(Look(queue=QUEUE)), NoQueue)

    await until(gone)
    notices = await place.notices()
    assert [notice["failureReason"] for notice in notices] == ["ClientError: The endpoint was deleted."] * 5
    assert {ended.reason for ended in place.ended} == {"EndpointDeleted"}


async def test_no_more_tasks_are_taken_than_the_replicas_may_have(place):
    waiting = []
    place.worker.on_request = waiting.append
    place.consume()
    for number in range(9):
        await place.accept(f"t{number}")

    async def taken():
        return (await place.depth()).leased == 4

    await until(taken)
    assert (await place.depth()).waiting == 5
    place.worker.on_request = lambda got: got.answer(b"done")
    while waiting:
        waiting.pop().answer(b"done")
        await asyncio.sleep(0)
    await until(lambda: len(place.objects.objects) == 9 or [w.answer(b"done") for w in waiting and [waiting.pop()]])
    assert len(place.objects.objects) == 9


async def test_a_response_that_is_asked_for_in_the_notice(place):
    import base64

    from trimtab.testing.consuming import SETTINGS

    settings = SETTINGS.__class__(output_path="", success_topic=TOPIC, include_success=True, max_concurrency=1)
    place.consume()
    await place.accept("t1", b"answer", settings=settings)
    await over(place)
    (notice,) = await place.notices()
    assert base64.b64decode(notice["responseBody"]["content"]) == b"answer"


async def test_a_body_that_is_no_task_goes_to_the_dead_letters(place):
    from trimtab.queues.model import Put

    await place.queues.ask(Put(queue=QUEUE, id="bad", body=b"\xc1"))
    place.consume()
    await over(place)
    assert (await place.depth()).dead == 1
