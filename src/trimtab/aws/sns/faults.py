"""SNS's refusals: codes and words. Source: the SNS API reference, and answers of SNS that its clients branch on."""

from __future__ import annotations

from trimtab.aws.registry import AwsError


def invalid(words: str) -> AwsError:
    """A parameter is wrong."""
    return AwsError("InvalidParameter", f"Invalid parameter: {words}")


def bad_value(words: str) -> AwsError:
    """A message attribute is wrong."""
    return AwsError("ParameterValueInvalid", words)


def empty_batch() -> AwsError:
    """No entries."""
    return AwsError("EmptyBatchRequest", "The batch request doesn't contain any entries.")


def too_many() -> AwsError:
    """More than ten entries."""
    return AwsError("TooManyEntriesInBatchRequest", "The batch request contains more entries than permissible (10).")


def repeated_ids() -> AwsError:
    """Two entries have one id."""
    return AwsError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")


def bad_id() -> AwsError:
    """An id of another form."""
    return AwsError(
        "InvalidBatchEntryId", "The Id of a batch entry in a batch request doesn't abide by the specification."
    )


def batch_too_long() -> AwsError:
    """All messages together are too long."""
    return AwsError("BatchRequestTooLong", "The length of all the batch messages put together is more than the limit.")


def limit(words: str) -> AwsError:
    """Too many subscriptions."""
    return AwsError("SubscriptionLimitExceeded", words, 403)
