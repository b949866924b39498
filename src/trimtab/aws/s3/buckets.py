"""Buckets: make, find, configure, delete."""

from __future__ import annotations

import base64

from trimtab.aws.registry import Answer, AwsError, Call
from trimtab.aws.s3.calls import Params, invalid, not_implemented, owner, s3
from trimtab.aws.s3.members import check_supported
from trimtab.errors import AlreadyExists
from trimtab.objects.model import Bucket, Versioning
from trimtab.objects.store import ObjectStore

_CLASSIC = "us-east-1"  # whose name is no location constraint, and where creating twice is no error


class Buckets:
    """All buckets belong to the one account."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @s3("ListBuckets")
    async def list_buckets(self, call: Call, params: Params) -> Params | Answer:
        prefix = params.get("Prefix", "")
        after = _untoken(params.get("ContinuationToken", ""))
        limit = params.get("MaxBuckets", 10_000)
        region = params.get("BucketRegion")
        found = [
            bucket
            for bucket in await self._store.list_buckets()
            if bucket.name.startswith(prefix) and bucket.name > after and region in (None, bucket.region)
        ]
        result: Params = {
            "Buckets": [
                {"Name": b.name, "CreationDate": b.created_s, "BucketRegion": b.region, "BucketArn": _arn(b)}
                for b in found[:limit]
            ],
            "Owner": owner(call),
        }
        if len(found) > limit:
            result["ContinuationToken"] = _token(found[limit - 1].name)
        if prefix:
            result["Prefix"] = prefix
        return result

    @s3("CreateBucket", missing="object lock, bucket tags at creation, directory buckets")
    async def create_bucket(self, call: Call, params: Params) -> Params | Answer:
        not_implemented(params, "ObjectLockEnabledForBucket")
        check_supported(params)
        configuration = params.get("CreateBucketConfiguration") or {}
        not_implemented(configuration, "Location", "Bucket", "Tags")
        region = _checked_location(configuration.get("LocationConstraint", ""), call.region)
        name = params["Bucket"]
        try:
            await self._store.create_bucket(name, region=region)
        except AlreadyExists:
            if call.region != _CLASSIC:
                message = "Your previous request to create the named bucket succeeded and you already own it."
                raise AwsError("BucketAlreadyOwnedByYou", message, 409, {"BucketName": name}) from None
        return {"Location": f"/{name}", "BucketArn": f"arn:aws:s3:::{name}"}

    @s3("HeadBucket")
    async def head_bucket(self, call: Call, params: Params) -> Params | Answer:
        bucket = await self._store.get_bucket(params["Bucket"])
        return {"BucketRegion": bucket.region, "BucketArn": _arn(bucket), "AccessPointAlias": False}

    @s3("DeleteBucket")
    async def delete_bucket(self, call: Call, params: Params) -> Params | Answer:
        await self._store.delete_bucket(params["Bucket"])
        return {}

    @s3("GetBucketLocation")
    async def get_bucket_location(self, call: Call, params: Params) -> Params | Answer:
        bucket = await self._store.get_bucket(params["Bucket"])
        return {} if bucket.region == _CLASSIC else {"LocationConstraint": bucket.region}

    @s3("GetBucketVersioning")
    async def get_bucket_versioning(self, call: Call, params: Params) -> Params | Answer:
        bucket = await self._store.get_bucket(params["Bucket"])
        return {} if bucket.versioning is Versioning.NEVER else {"Status": bucket.versioning.value}

    @s3("PutBucketVersioning", missing="MFA delete")
    async def put_bucket_versioning(self, call: Call, params: Params) -> Params | Answer:
        wanted = params["VersioningConfiguration"]
        if wanted.get("MFADelete") == "Enabled":
            not_implemented(wanted, "MFADelete")
        status = wanted.get("Status")
        if not status:
            raise AwsError(
                "IllegalVersioningConfigurationException",
                "The Versioning element must be specified",
                400,
            )
        await self._store.change_bucket(params["Bucket"], versioning=Versioning(status))
        return {}


def _checked_location(constraint: str, region: str) -> str:
    """The region of a new bucket. The one endpoint speaks for the region that trimtab runs as."""
    if constraint == _CLASSIC:
        raise AwsError("InvalidLocationConstraint", "The specified location-constraint is not valid", 400)
    if constraint == "EU":
        constraint = "eu-west-1"
    if region == _CLASSIC:
        return constraint or region
    if constraint != region:
        named = constraint or "unspecified"
        raise AwsError(
            "IllegalLocationConstraintException",
            f"The {named} location constraint is incompatible for the region specific endpoint this request was sent "
            f"to ({region}).",
            400,
        )
    return region


def _arn(bucket: Bucket) -> str:
    return f"arn:aws:s3:::{bucket.name}"


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _untoken(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid("The continuation token provided is incorrect", ArgumentName="continuation-token") from None
