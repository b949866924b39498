"""ACLs, as AWS answers them where they are disabled (its default): the owner has full control, nobody else any."""

from __future__ import annotations

from trimtab.aws.registry import Answer, Call
from trimtab.aws.s3.calls import Params, owner, s3
from trimtab.objects.store import ObjectStore


class Access:
    """Who may do what is decided by access keys, not by buckets."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @s3("GetBucketAcl")
    async def get_bucket_acl(self, call: Call, params: Params) -> Params | Answer:
        await self._store.get_bucket(params["Bucket"])
        return _owners(call)

    @s3("GetObjectAcl")
    async def get_object_acl(self, call: Call, params: Params) -> Params | Answer:
        await self._store.head(params["Bucket"], params["Key"], params.get("VersionId", ""))
        return _owners(call)

    @s3("GetBucketOwnershipControls")
    async def get_bucket_ownership_controls(self, call: Call, params: Params) -> Params | Answer:
        await self._store.get_bucket(params["Bucket"])
        return {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}}


def _owners(call: Call) -> Params:
    grantee = {"Type": "CanonicalUser", **owner(call)}
    return {"Owner": owner(call), "Grants": [{"Grantee": grantee, "Permission": "FULL_CONTROL"}]}
