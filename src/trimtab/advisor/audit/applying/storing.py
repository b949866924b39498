"""Calls to S3 and ECR that can be carried out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from trimtab.advisor.audit.applying.change import Answer, Change, Operation
from trimtab.advisor.finding import Call

_OWNER: Final = "ExpectedBucketOwner"
_LOSES: Final = ("Expiration", "NoncurrentVersionExpiration")


def _s3(operation: str, call: Call, **parameters: Any) -> Call:
    named = {name: call.parameters[name] for name in ("Bucket", _OWNER) if name in call.parameters}
    return Call(service="s3", operation=operation, parameters=named | parameters)


# --- versioning -----------------------------------------------------------------------------------------------------


def _versioning(call: Call, answer: Answer | None) -> Change:
    held = (answer or {}).get("Status")
    wanted = call.parameters["VersioningConfiguration"]["Status"]
    undo = _s3("put_bucket_versioning", call, VersioningConfiguration={"Status": "Suspended"})
    note = "Versions made until then stay, and are paid for; a bucket never becomes unversioned again."
    before = f"versioning is {held.lower()}" if held else "it never had versioning"
    return Change(call=call, is_done=held == wanted, before=before, undo=(undo,), undo_note=note)


def _suspends(call: Call, answer: Answer | None) -> str:
    status = call.parameters["VersioningConfiguration"].get("Status")
    return "" if status == "Enabled" else "it takes versioning away"


# --- lifecycle ------------------------------------------------------------------------------------------------------


def _lifecycle(call: Call, answer: Answer | None) -> Change:
    """S3 replaces all rules at once: those that are there are put again beside ours, as they were read."""
    held = list((answer or {}).get("Rules", ()))
    ours = call.parameters["LifecycleConfiguration"]["Rules"]
    names = {rule.get("ID") for rule in ours}
    rules = [rule for rule in held if rule.get("ID") not in names] + list(ours)
    if held:
        undo = _s3("put_bucket_lifecycle_configuration", call, LifecycleConfiguration={"Rules": held})
    else:
        undo = _s3("delete_bucket_lifecycle", call)
    return Change(
        call=_s3("put_bucket_lifecycle_configuration", call, LifecycleConfiguration={"Rules": rules}),
        is_done=all(_is_among(rule, held) for rule in ours),
        before=f"{len(held)} lifecycle rule{'' if len(held) == 1 else 's'}, which stay"
        if held
        else "no lifecycle rule",
        undo=(undo,),
        undo_note="Objects that were moved to colder storage by then stay there.",
    )


def _is_among(rule: Mapping[str, Any], held: Iterable[Mapping[str, Any]]) -> bool:
    return any(all(one.get(name) == value for name, value in rule.items()) for one in held)


def _expires(call: Call, answer: Answer | None) -> str:
    held = (answer or {}).get("Rules", ())
    new = [rule for rule in call.parameters["LifecycleConfiguration"]["Rules"] if not _is_among(rule, held)]
    losing = [rule["ID"] for rule in new if any(name in rule for name in _LOSES)]
    return f"rule {losing[0]} deletes objects" if losing else ""


# --- images ---------------------------------------------------------------------------------------------------------


def _ecr(operation: str, call: Call, **parameters: Any) -> Call:
    registry = {name: call.parameters[name] for name in ("registryId",) if name in call.parameters}
    return Call(service="ecr", operation=operation, parameters=registry | parameters)


def _read_repository(call: Call) -> Call:
    return _ecr("describe_repositories", call, repositoryNames=[call.parameters["repositoryName"]])


def _scan_on_push(call: Call, answer: Answer | None) -> Change:
    repositories = (answer or {}).get("repositories") or [{}]
    held = bool(repositories[0].get("imageScanningConfiguration", {}).get("scanOnPush"))
    wanted = call.parameters["imageScanningConfiguration"]["scanOnPush"]
    undo = _ecr(
        "put_image_scanning_configuration",
        call,
        repositoryName=call.parameters["repositoryName"],
        imageScanningConfiguration={"scanOnPush": held},
    )
    before = "images are scanned when they are pushed" if held else "images are not scanned when they are pushed"
    return Change(call=call, is_done=held == wanted, before=before, undo=(undo,))


def _stops_scanning(call: Call, answer: Answer | None) -> str:
    return "" if call.parameters["imageScanningConfiguration"].get("scanOnPush") else "it ends the scanning of images"


def _read_scan(call: Call) -> Call:
    named = {name: call.parameters[name] for name in ("repositoryName", "imageId")}
    return _ecr("describe_image_scan_findings", call, **named)


def _scan(call: Call, answer: Answer | None) -> Change:
    status = (answer or {}).get("imageScanStatus", {}).get("status", "")
    return Change(
        call=call,
        is_done=status in ("COMPLETE", "IN_PROGRESS", "PENDING", "ACTIVE"),
        before=f"the last scan is {status.lower()}" if status else "it was never scanned",
        undo_note="A scan changes nothing: there is nothing to undo.",
    )


OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("s3", "put_bucket_versioning"): Operation(
        read=lambda call: _s3("get_bucket_versioning", call), change=_versioning, danger=_suspends
    ),
    ("s3", "put_bucket_lifecycle_configuration"): Operation(
        read=lambda call: _s3("get_bucket_lifecycle_configuration", call),
        change=_lifecycle,
        absent=frozenset({"NoSuchLifecycleConfiguration"}),
        danger=_expires,
    ),
    ("ecr", "put_image_scanning_configuration"): Operation(
        read=_read_repository, change=_scan_on_push, danger=_stops_scanning
    ),
    ("ecr", "start_image_scan"): Operation(read=_read_scan, change=_scan, absent=frozenset({"ScanNotFoundException"})),
}
