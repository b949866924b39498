"""PutObject, DeleteObject, DeleteObjects."""

from __future__ import annotations

from trimtab.aws.registry import Answer, AwsError, Call
from trimtab.aws.s3.calls import Params, in_s3_words, not_implemented, s3
from trimtab.aws.s3.members import (
    attributes_of,
    check_supported,
    put_result,
    unquoted,
    version_member,
    wanted_checksums,
    write_condition,
)
from trimtab.errors import NotFound, RequestError
from trimtab.objects.model import Condition, Removal
from trimtab.objects.store import ObjectStore

MAX_DELETES = 1000
NOT_ENCRYPTED = "encryption and storage class are recorded, not applied; ACLs are disabled, as on new buckets of AWS"


class Writing:
    """Objects in and out of being."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @s3("PutObject", missing=f"{NOT_ENCRYPTED}; no object lock, no customer-provided encryption keys")
    async def put_object(self, call: Call, params: Params) -> Params | Answer:
        check_supported(params)
        algorithms, expected = wanted_checksums(call, params)
        body = params.get("Body")
        info = await self._store.put(
            params["Bucket"],
            params["Key"],
            body.stream() if body is not None else b"",
            attributes=attributes_of(params),
            algorithms=algorithms,
            expected=expected,
            condition=write_condition(params),
        )
        return put_result(info) | await version_member(self._store, info)

    @s3("DeleteObject", missing="MFA delete, object lock")
    async def delete_object(self, call: Call, params: Params) -> Params | Answer:
        not_implemented(params, "MFA", "IfMatchLastModifiedTime", "IfMatchSize")
        removal = await self._store.delete(
            params["Bucket"],
            params["Key"],
            params.get("VersionId", ""),
            condition=Condition(etag=unquoted(params.get("IfMatch") or "")),
        )
        result: Params = {"VersionId": removal.version_id} if removal.version_id else {}
        return result | ({"DeleteMarker": True} if removal.is_delete_marker else {})

    @s3("DeleteObjects", missing="MFA delete, object lock")
    async def delete_objects(self, call: Call, params: Params) -> Params | Answer:
        not_implemented(params, "MFA")
        asked = params["Delete"].get("Objects") or []
        if not 1 <= len(asked) <= MAX_DELETES:
            message = "The XML you provided was not well-formed or did not validate against our published schema"
            raise AwsError("MalformedXML", message, 400)
        for one in asked:
            not_implemented(one, "LastModifiedTime", "Size")
        items = [
            (one["Key"], one.get("VersionId", ""), Condition(etag=unquoted(one.get("ETag") or ""))) for one in asked
        ]
        outcomes = await self._store.delete_many(params["Bucket"], items)
        quiet = params["Delete"].get("Quiet", False)
        result: dict[str, list[Params]] = {"Deleted": [], "Errors": []}
        for (key, version_id, _), outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, RequestError):
                result["Errors"].append(_refused(key, version_id, outcome))
            elif not quiet:
                result["Deleted"].append(_deleted(key, version_id, outcome))
        return {name: entries for name, entries in result.items() if entries}


def _deleted(key: str, version_id: str, removal: Removal) -> Params:
    found: Params = {"Key": key}
    if version_id:
        found["VersionId"] = version_id
    if removal.is_delete_marker:
        found |= {"DeleteMarker": True, "DeleteMarkerVersionId": removal.version_id}
    return found


def _refused(key: str, version_id: str, refusal: RequestError) -> Params:
    words = in_s3_words(refusal)
    code, message = ("InvalidArgument", str(refusal))
    if isinstance(words, AwsError):
        code, message = words.code, words.message
    elif isinstance(refusal, NotFound):
        code, message = "NoSuchKey", "The specified key does not exist."
    found: Params = {"Key": key, "Code": code, "Message": message}
    return found | ({"VersionId": version_id} if version_id else {})
