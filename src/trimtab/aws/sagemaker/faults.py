"""SageMaker's own words for trimtab's errors. The texts are AWS's, verbatim: its SDKs branch on substrings of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trimtab.aws.arns import sagemaker_arn
from trimtab.aws.registry import AwsError, Call
from trimtab.errors import AlreadyExists, InUse, Invalid, LimitExceeded, NotFound

_NOUNS = {"model": "model", "endpoint": "endpoint", "endpoint-config": "endpoint configuration"}


def invalid(message: str) -> AwsError:
    """A ValidationException: the caller's request, as it stands, can never succeed."""
    return AwsError("ValidationException", message)


def not_supported_yet(member: str, hint: str = "") -> AwsError:
    """A ValidationException for a member whose effect trimtab does not have: better refused than silently ignored."""
    text = f"{member} is not supported yet by trimtab."
    return invalid(f"{text} {hint}" if hint else f"{text} Leave it out; docs/operations.md says what is supported.")


@contextmanager
def in_aws_words(call: Call) -> Iterator[None]:
    """Raise what SageMaker would raise where control refuses. Not-found is a ValidationException here, as on AWS."""
    try:
        yield
    except NotFound as error:
        noun = _NOUNS.get(error.kind)
        if noun is None:
            raise invalid(str(error)) from error
        raise invalid(f'Could not find {noun} "{_arn(call, error.kind, error.name)}".') from error
    except AlreadyExists as error:
        noun = _NOUNS.get(error.kind, error.kind)
        raise invalid(f'Cannot create already existing {noun} "{_arn(call, error.kind, error.name)}".') from error
    except InUse as error:
        if error.kind != "endpoint":
            raise invalid(str(error)) from error
        raise invalid(f'Cannot update in-progress endpoint "{_arn(call, error.kind, error.name)}".') from error
    except LimitExceeded as error:
        raise AwsError("ResourceLimitExceeded", str(error)) from error
    except Invalid as error:
        raise invalid(str(error)) from error


def _arn(call: Call, kind: str, name: str) -> str:
    return sagemaker_arn(call.region, call.account, kind, name)
