"""When a delivery by http that failed is tried again. Source: SNS developer guide, "Amazon SNS message delivery
retries" (the four phases, the defaults and bounds of a delivery policy).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from trimtab.errors import Invalid

MAX_RETRIES: Final = 100
MAX_DELAY_S: Final = 3600
_FUNCTIONS: Final = ("linear", "arithmetic", "geometric", "exponential")


class RetryPolicy(Struct, frozen=True, rename="camel", kw_only=True):
    """AWS's healthyRetryPolicy. Delays in seconds."""

    min_delay_target: int = 20
    max_delay_target: int = 20
    num_retries: int = 3
    num_no_delay_retries: int = 0
    num_min_delay_retries: int = 0
    num_max_delay_retries: int = 0
    backoff_function: str = "linear"


def retry_policy(document: Any) -> RetryPolicy:
    """The policy in a healthyRetryPolicy. Raises Invalid with what is wrong."""
    try:
        policy = msgspec.convert(document or {}, RetryPolicy)
    except msgspec.ValidationError as error:
        raise Invalid(f"DeliveryPolicy: {error}") from None
    phases = policy.num_no_delay_retries, policy.num_min_delay_retries, policy.num_max_delay_retries
    if policy.backoff_function not in _FUNCTIONS:
        raise Invalid(f"DeliveryPolicy: healthyRetryPolicy.backoffFunction must be one of {', '.join(_FUNCTIONS)}")
    if not 0 <= policy.num_retries <= MAX_RETRIES:
        raise Invalid(f"DeliveryPolicy: healthyRetryPolicy.numRetries must be between 0 and {MAX_RETRIES}")
    if not 1 <= policy.min_delay_target <= policy.max_delay_target <= MAX_DELAY_S:
        raise Invalid(
            "DeliveryPolicy: healthyRetryPolicy.minDelayTarget and maxDelayTarget must be between 1 and"
            f" {MAX_DELAY_S}, and the first not above the second"
        )
    if min(phases) < 0 or sum(phases) > policy.num_retries:
        raise Invalid("DeliveryPolicy: healthyRetryPolicy.numRetries must be at least the sum of its phases")
    return policy


def delay_s(policy: RetryPolicy, retry: int) -> float | None:
    """Seconds before the `retry`-th retry (from 1); None when there are no more."""
    if retry > policy.num_retries:
        return None
    if retry <= policy.num_no_delay_retries:
        return 0.0
    retry -= policy.num_no_delay_retries
    if retry <= policy.num_min_delay_retries:
        return float(policy.min_delay_target)
    retry -= policy.num_min_delay_retries
    backing_off = (
        policy.num_retries - policy.num_no_delay_retries - policy.num_min_delay_retries - policy.num_max_delay_retries
    )
    if retry > backing_off:
        return float(policy.max_delay_target)
    return _backed_off(policy, retry, backing_off)


def _backed_off(policy: RetryPolicy, step: int, steps: int) -> float:
    """From the least delay at the first step to the most at the last, by the function's curve."""
    least, most = float(policy.min_delay_target), float(policy.max_delay_target)
    share = 1.0 if steps == 1 else (step - 1) / (steps - 1)
    match policy.backoff_function:
        case "linear":
            return least + (most - least) * share
        case "arithmetic":  # the difference grows by the same amount each time
            return least + (most - least) * share * (share + 1) / 2
        case "geometric":
            return float(least * (most / least) ** share)
        case _:
            return float(least + (most - least) * (2.0 ** (10 * share) - 1) / 1023)


def is_permanent(status: int) -> bool:
    """Whether an answer means that trying again is of no use: the subscriber refuses. (429: it is only too busy.)"""
    return 400 <= status < 500 and status != 429
