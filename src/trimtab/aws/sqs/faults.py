"""SQS's refusals: codes and words. Source: the SQS API reference, and answers of SQS that its clients branch on.

A code with the prefix is what the query protocol says; JSON clients get the exception of the model that belongs to it
(`aws.services` knows which).
"""

from __future__ import annotations

from typing import Final

from trimtab.aws.registry import AwsError

_PREFIX: Final = "AWS.SimpleQueueService."


def no_queue() -> AwsError:
    """There is no such queue."""
    return AwsError(f"{_PREFIX}NonExistentQueue", "The specified queue does not exist.")


def name_exists(attribute: str) -> AwsError:
    """CreateQueue of a queue that is there, with another value of `attribute`."""
    return AwsError(
        "QueueAlreadyExists",
        f"A queue already exists with the same name and a different value for attribute {attribute}",
    )


def bad_address(address: str) -> AwsError:
    """A QueueUrl that is none."""
    return AwsError("InvalidAddress", f"The address {address[:200]} is not valid for this endpoint.", 404)


def missing(name: str) -> AwsError:
    """A parameter is missing."""
    return AwsError("MissingParameter", f"The request must contain the parameter {name}.")


def bad_value(name: str, value: object, reason: str) -> AwsError:
    """A parameter's value is wrong."""
    return AwsError(
        "InvalidParameterValue", f"Value {str(value)[:200]} for parameter {name} is invalid. Reason: {reason}"
    )


def bad_message(reason: str) -> AwsError:
    """A message that cannot be sent."""
    return AwsError("InvalidParameterValue", f"One or more parameters are invalid. Reason: {reason}")


def bad_contents() -> AwsError:
    """A message of characters that SQS does not take."""
    return AwsError(
        "InvalidMessageContents",
        "Invalid characters in the message: #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD and #x10000 to #x10FFFF"
        " are allowed.",
    )


def unknown_attribute(name: str) -> AwsError:
    """A name that no queue has."""
    return AwsError("InvalidAttributeName", f"Unknown Attribute {name[:100]}.")


def bad_attribute(name: str, reason: str = "") -> AwsError:
    """A queue attribute's value is wrong."""
    return AwsError(
        "InvalidAttributeValue", f"Invalid value for the parameter {name}." + (f" Reason: {reason}" if reason else "")
    )


def bad_receipt() -> AwsError:
    """A receipt handle that SQS never gave out."""
    return AwsError("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")


def expired_receipt(receipt: str) -> AwsError:
    """FIFO: a receipt handle whose visibility time-out has passed."""
    return bad_value("ReceiptHandle", receipt, "The receipt handle has expired.")


def not_in_flight() -> AwsError:
    """ChangeMessageVisibility of a message that nobody has received."""
    return AwsError(f"{_PREFIX}MessageNotInflight", "The message referred to is not in flight.")


def over_limit(words: str) -> AwsError:
    """More than a queue may hold."""
    return AwsError("OverLimit", words, 403)


def no_resource(name: str) -> AwsError:
    """An ARN or a task that does not lead anywhere."""
    return AwsError(
        "ResourceNotFoundException", f"The resource that you specified for the {name} parameter doesn't exist.", 404
    )


def not_possible(words: str) -> AwsError:
    """What cannot be done with this queue."""
    return AwsError(f"{_PREFIX}UnsupportedOperation", words)


# --- batches ---------------------------------------------------------------------------------------------------------


def empty_batch(entry: str) -> AwsError:
    """No entries."""
    return AwsError(f"{_PREFIX}EmptyBatchRequest", f"There should be at least one {entry} in the request.")


def too_many(count: int, most: int) -> AwsError:
    """Too many entries."""
    return AwsError(
        f"{_PREFIX}TooManyEntriesInBatchRequest",
        f"Maximum number of entries per request are {most}. You have sent {count}.",
    )


def repeated_id(entry_id: str) -> AwsError:
    """Two entries have one id."""
    return AwsError(f"{_PREFIX}BatchEntryIdsNotDistinct", f"Id {entry_id} repeated.")


def bad_id() -> AwsError:
    """An id of another form."""
    return AwsError(
        f"{_PREFIX}InvalidBatchEntryId",
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80"
        " letters long.",
    )


def batch_too_long(size_bytes: int, most_bytes: int) -> AwsError:
    """All messages together are too long."""
    return AwsError(
        f"{_PREFIX}BatchRequestTooLong",
        f"Batch requests cannot be longer than {most_bytes} bytes. You have sent {size_bytes} bytes.",
    )
