"""Admission: which requests a variant takes in, and how long one may take. Pure."""

from __future__ import annotations

from trimtab.errors import ModelFailed, NoCapacity, NotReady, QueueFull, TooLarge, TrimtabError
from trimtab.resources.routing import VariantRoute
from trimtab.resources.serverless import MAX_PAYLOAD_BYTES

# AWS: a streamed answer may take 8 minutes in all (docs "Real-time inference", InvokeEndpointWithResponseStream).
STREAM_TIMEOUT_S = 480.0
COLLECTED_BYTES = 128 * 2**20  # of an answer that comes in pieces to a caller that wants it whole


def oversize(route: VariantRoute, size_bytes: int) -> TooLarge | None:
    """Why a body of `size_bytes` is not taken in; None when it is."""
    if size_bytes <= route.max_payload_bytes:
        return None
    limit_bytes = route.max_payload_bytes
    return TooLarge(
        f"The body of {size_bytes} bytes is over the {limit_bytes} bytes that variant {route.name} takes.",
        limit_bytes=limit_bytes,
    )


def overfull(route: VariantRoute, *, waiting: int) -> QueueFull | None:
    """Why one more request may not wait when `waiting` do; None when it may.

    A full queue passes: QueueFull is ThrottlingException to callers, which every AWS client retries after a pause, and
    which its rate limiter counts; a 503 would say that there is nobody to work.
    """
    if waiting < route.max_queue:
        return None
    return QueueFull(
        f"{waiting} requests already wait for variant {route.name}. Try again, or add replicas.", retry_after_s=1.0
    )


def over_concurrency(route: VariantRoute, *, in_hand: int) -> QueueFull | None:
    """Why a serverless variant does not take a request with which so many are in hand; None when it does.

    AWS: beyond MaxConcurrency the answer is ThrottlingException (docs "Serverless Inference", section on concurrency).
    """
    if not route.most_in_hand or in_hand <= route.most_in_hand:
        return None
    return QueueFull(
        f"Variant {route.name} has {route.most_in_hand} requests in hand, as many as its MaxConcurrency. Try again, or "
        "raise MaxConcurrency.",
        retry_after_s=1.0,
    )


def overlong_serverless(size_bytes: int) -> ModelFailed | None:
    """Why an answer of a serverless variant is not passed on (AWS: 4 MB at most); None when it is."""
    if size_bytes <= MAX_PAYLOAD_BYTES:
        return None
    return ModelFailed(
        f"The answer of {size_bytes} bytes is over the {MAX_PAYLOAD_BYTES} bytes that a serverless endpoint passes on.",
        status=500,
    )


MODEL_QUEUES = 8  # the requests for all models of a variant may fill so many queues: one slow load does not fill them


def overfull_models(route: VariantRoute, *, waiting: int) -> QueueFull | None:
    """Why one more request may not wait in a multi-model variant when `waiting` do for all models together."""
    if waiting < route.max_queue * MODEL_QUEUES:
        return None
    return QueueFull(
        f"{waiting} requests already wait for models of variant {route.name}. Try again, or add replicas.",
        retry_after_s=1.0,
    )


class Refusals:
    """Whether so many requests are refused that refusing takes the time of serving.

    A client that asks again at once can be refused faster than its requests could ever be answered: some hundred
    connections that do so would keep a gateway busy with refusals alone.
    """

    PER_S = 1000.0  # a refusal costs about 30 us: 3 % of a gateway
    BURST_S = 0.1  # refusals that are not used up are kept for so long

    __slots__ = ("_due_s",)

    def __init__(self) -> None:
        self._due_s = 0.0  # when all refusals so far will have been paid for

    def crowd(self, now_s: float) -> bool:
        """Note one refusal; whether that is more than `PER_S` allows, by now."""
        due_s = min(max(self._due_s, now_s - self.BURST_S), now_s + self.BURST_S) + 1 / self.PER_S
        self._due_s = due_s
        return due_s > now_s


class Impatience:
    """How long one client that is refused is left unread. It is told of the refusal at once; what it asks next waits.

    Who comes again as soon as it can is held for twice as long each time. Who backs off, as AWS's clients do, is back
    after its time is over, and so waits for nothing.
    """

    FIRST_S = 0.02
    MOST_S = 1.0
    GRACE_S = 0.05  # whoever is back within this after its time has waited for it; a busy gateway sees it that late

    __slots__ = ("_held_s", "_until_s")

    def __init__(self) -> None:
        self._held_s = 0.0
        self._until_s = 0.0

    def pause_s(self, now_s: float) -> float:
        """Seconds for which not to read a client refused now, while refusals crowd."""
        again = self._until_s - self._held_s <= now_s <= self._until_s + max(self._held_s, self.GRACE_S)
        self._held_s = min(self._held_s * 2, self.MOST_S) if again else self.FIRST_S
        self._until_s = now_s + self._held_s
        return self._held_s


def overlong(size_bytes: int) -> ModelFailed | None:
    """Why no more of an answer in pieces is collected once `size_bytes` have come; None when more may come."""
    if size_bytes <= COLLECTED_BYTES:
        return None
    return ModelFailed(
        f"The answer comes in pieces and is over {COLLECTED_BYTES} bytes, the most that InvokeEndpoint collects. Use "
        "InvokeEndpointWithResponseStream, or answer less.",
        status=500,
    )


def overdue(route: VariantRoute, *, sent: bool) -> TrimtabError:
    """The failure of a request whose time is up: in a replica's hands it is the model's, in the queue it is ours."""
    if sent:
        return ModelFailed(
            "Your invocation timed out while waiting for a response from container "
            f"{route.container}. Review the latency metrics for each container in Amazon CloudWatch, resolve the "
            "issue, and try again.",
            status=0,
        )
    if route.serverless is not None:  # AWS: ModelNotReadyException
        return NotReady(f"No environment of variant {route.name} was ready within {route.timeout_s:g} s.")
    if not route.lanes:
        return NoCapacity(f"Variant {route.name} has no replica, and none was ready within {route.timeout_s:g} s.")
    return NoCapacity(f"No replica of variant {route.name} became free within {route.timeout_s:g} s.")
