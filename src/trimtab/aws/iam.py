"""IAM, as far as SageMaker programs need it: roles to name in their calls.

trimtab keeps no roles. A role is a label that programs pass along: models run as the user who runs trimtab, and what a
call may do is decided by its key (`aws/permissions.py`). So every valid name is a role that SageMaker may assume, with
`AmazonSageMakerFullAccess` attached; only service-linked roles (`AWSServiceRoleFor...`), which AWS makes itself, do not
exist. Names that SageMaker's console makes have the path `/service-role/`, as the SDKs expect.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

from trimtab.aws.arns import Arn, parse_arn, partition_of
from trimtab.aws.permissions import check_action, check_endpoints
from trimtab.aws.registry import AwsError, Call, operation
from trimtab.aws.sts import unique_id
from trimtab.errors import Denied, Invalid, NotSupported
from trimtab.resources.routing import AccessKey

FULL_ACCESS: Final = "policy/AmazonSageMakerFullAccess"
_CONSOLE_MADE: Final = "AmazonSageMaker-ExecutionRole"
_SERVICE_LINKED: Final = "AWSServiceRoleFor"
_TRUST: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
_MAX_ITEMS: Final = 1000
_NOT_EVALUATED: Final = (
    "PolicyInputList",
    "PermissionsBoundaryPolicyInputList",
    "PolicyExclusionList",
    "ResourcePolicy",
)


class Iam:
    """`created_s` is the date of the roles: when this trimtab's data directory was made, seconds since the epoch."""

    def __init__(self, *, created_s: float) -> None:
        self._created_s = created_s

    @operation("iam", "GetRole", missing="every valid name is a role; roles limit nothing, keys do (`trimtab keys`)")
    async def get_role(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """The role of that name. NoSuchEntity for service-linked roles."""
        name = params["RoleName"]
        _refuse_service_linked(name)
        path = "/service-role/" if name.startswith(_CONSOLE_MADE) else "/"
        return {
            "Role": {
                "Path": path,
                "RoleName": name,
                "RoleId": unique_id("AROA", call.account, name),
                "Arn": f"arn:{partition_of(call.region)}:iam::{call.account}:role{path}{name}",
                "CreateDate": self._created_s,
                "AssumeRolePolicyDocument": quote(json.dumps(_TRUST), safe=""),  # IAM sends it encoded (RFC 3986)
                "Description": "A label: trimtab runs models as the user who runs trimtab.",
                "MaxSessionDuration": 3600,
            }
        }

    @operation("iam", "AttachRolePolicy", missing="only AmazonSageMakerFullAccess, which every role has")
    async def attach_role_policy(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do for the policy that every role has, as on AWS; NotSupported for any other."""
        _refuse_service_linked(params["RoleName"])
        if params["PolicyArn"] != f"arn:{partition_of(call.region)}:iam::aws:{FULL_ACCESS}":
            raise NotSupported(
                "AttachRolePolicy",
                f"trimtab has no role policies beyond AmazonSageMakerFullAccess; {params['PolicyArn']} cannot be "
                "attached. Limit what a program may do with its key: `trimtab keys create --action ...`.",
            )
        return {}

    @operation("iam", "SimulatePrincipalPolicy", missing="policies and conditions given in the call")
    async def simulate_principal_policy(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """What the calling key may do: roles limit nothing, keys do. One result for each action and resource."""
        given = [name for name in _NOT_EVALUATED if params.get(name)]
        if given:
            raise NotSupported(
                "SimulatePrincipalPolicy", f"trimtab evaluates its keys' limits; {', '.join(given)} cannot be given."
            )
        _check_source(params["PolicySourceArn"])
        start, size = _page(params)
        pairs = [(action, arn) for action in params["ActionNames"] for arn in params.get("ResourceArns") or ["*"]]
        results = [
            {
                "EvalActionName": action,
                "EvalResourceName": arn,
                "EvalDecision": "allowed" if _may(call.identity, action, arn) else "implicitDeny",
                "MatchedStatements": [],
                "MissingContextValues": [],
            }
            for action, arn in pairs[start : start + size]
        ]
        more = start + size < len(pairs)
        return {"EvaluationResults": results, "IsTruncated": more, "Marker": str(start + size) if more else None}


def _refuse_service_linked(name: str) -> None:
    if name.startswith(_SERVICE_LINKED):
        raise AwsError("NoSuchEntity", f"The role with name {name} cannot be found.", 404)


def _parsed(arn: str) -> Arn | None:
    try:
        return parse_arn(arn)
    except Invalid:
        return None


def _check_source(arn: str) -> None:
    """A role of any account: programs bring the ARNs that they have."""
    source = _parsed(arn)
    if source is None or source.service != "iam":
        raise AwsError("InvalidInput", f"Invalid Entity Arn: {arn} does not clearly define entity type and name.", 400)
    if source.kind != "role":
        raise AwsError("NoSuchEntity", f"{arn} cannot be found: trimtab has roles only.", 404)
    _refuse_service_linked(source.name.rpartition("/")[2])


def _may(key: AccessKey | None, action: str, arn: str) -> bool:
    """The same checks as a call goes through (`aws/permissions.py`)."""
    service, _, operation = action.partition(":")
    found = _parsed(arn)
    names = [found.name] if found is not None and (found.service, found.kind) == ("sagemaker", "endpoint") else []
    try:
        check_action(key, service, operation, caller="")
        check_endpoints(key, service, operation, names, caller="", arn_prefix="")
    except Denied:
        return False
    return True


def _page(params: dict[str, Any]) -> tuple[int, int]:
    marker = params.get("Marker", "0")
    if not (marker.isascii() and marker.isdigit() and len(marker) < 10):
        raise AwsError("InvalidInput", "Marker is not one that trimtab gave.", 400)
    return int(marker), params.get("MaxItems", _MAX_ITEMS)
