"""Tags of objects and buckets."""

from __future__ import annotations

from trimtab.aws.registry import Answer, AwsError, Call
from trimtab.aws.s3.calls import Params, s3
from trimtab.aws.s3.members import checked_tags, version_member
from trimtab.objects.model import NULL_VERSION
from trimtab.objects.store import ObjectStore


class Tagging:
    """Get, put and delete."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @s3("GetObjectTagging")
    async def get_object_tagging(self, call: Call, params: Params) -> Params | Answer:
        info = await self._store.head(params["Bucket"], params["Key"], params.get("VersionId", ""))
        return {"TagSet": _tag_set(info.attributes.tags), **await version_member(self._store, info)}

    @s3("PutObjectTagging")
    async def put_object_tagging(self, call: Call, params: Params) -> Params | Answer:
        return await self._set(params, _tags(params, limit=10))

    @s3("DeleteObjectTagging")
    async def delete_object_tagging(self, call: Call, params: Params) -> Params | Answer:
        return await self._set(params, {})

    @s3("GetBucketTagging")
    async def get_bucket_tagging(self, call: Call, params: Params) -> Params | Answer:
        bucket = await self._store.get_bucket(params["Bucket"])
        if not bucket.tags:
            raise AwsError("NoSuchTagSet", "The TagSet does not exist", 404, {"BucketName": bucket.name})
        return {"TagSet": _tag_set(bucket.tags)}

    @s3("PutBucketTagging")
    async def put_bucket_tagging(self, call: Call, params: Params) -> Params | Answer:
        await self._store.change_bucket(params["Bucket"], tags=_tags(params, limit=50))
        return {}

    @s3("DeleteBucketTagging")
    async def delete_bucket_tagging(self, call: Call, params: Params) -> Params | Answer:
        await self._store.change_bucket(params["Bucket"], tags={})
        return {}

    async def _set(self, params: Params, tags: dict[str, str]) -> Params:
        version = await self._store.set_tags(params["Bucket"], params["Key"], tags, params.get("VersionId", ""))
        return {} if version == NULL_VERSION else {"VersionId": version}


def _tags(params: Params, *, limit: int) -> dict[str, str]:
    return checked_tags(((tag["Key"], tag["Value"]) for tag in params["Tagging"]["TagSet"]), limit=limit)


def _tag_set(tags: dict[str, str]) -> list[Params]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
