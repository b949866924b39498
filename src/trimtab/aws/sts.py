"""STS: who am I. A key acts as a session of trimtab's one execution role, so that the sagemaker SDK finds a role.

`get_execution_role()` wants an assumed-role ARN, which it turns into IAM GetRole(role name). `aws/iam.py` answers that.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from trimtab.aws.arns import partition_of
from trimtab.aws.registry import Call, operation

EXECUTION_ROLE: Final = "AmazonSageMaker-ExecutionRole-trimtab"
ANONYMOUS: Final = "anonymous"  # the session's name under `--auth none`


@operation("sts", "GetCallerIdentity")
async def get_caller_identity(call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """The account, and the execution role's session that is named after the calling key."""
    session = call.identity.id if call.identity is not None else ANONYMOUS
    return {
        "Account": call.account,
        "Arn": f"arn:{partition_of(call.region)}:sts::{call.account}:assumed-role/{EXECUTION_ROLE}/{session}",
        "UserId": f"{unique_id('AROA', call.account, EXECUTION_ROLE)}:{session}",
    }


def unique_id(prefix: str, *parts: str) -> str:
    """A stable id of 21 characters in the form of IAM's (`AROA...`)."""
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()
    return prefix + digest[:17].upper()
