from __future__ import annotations

import re
from pathlib import Path

import pytest


def test_a_bucket_is_created_found_and_deleted(s3, refused):
    s3.create_bucket(Bucket="my-models")
    assert s3.head_bucket(Bucket="my-models")["BucketRegion"] == "us-east-1"
    listed = s3.list_buckets()
    assert "my-models" in [b["Name"] for b in listed["Buckets"]]
    assert re.fullmatch(r"[0-9a-f]{64}", listed["Owner"]["ID"])
    assert s3.get_bucket_location(Bucket="my-models")["LocationConstraint"] is None
    s3.delete_bucket(Bucket="my-models")
    error = refused(s3.head_bucket, Bucket="my-models")
    assert (error["Code"], error["Message"], error["Status"]) == ("404", "Not Found", 404)
    assert refused(s3.delete_bucket, Bucket="my-models")["Code"] == "NoSuchBucket"


def test_creating_a_bucket_twice_in_us_east_1_is_no_error(s3, bucket):
    s3.create_bucket(Bucket=bucket)


def test_waiters_see_buckets_come_and_go(s3):
    s3.create_bucket(Bucket="waited-for")
    s3.get_waiter("bucket_exists").wait(Bucket="waited-for", WaiterConfig={"Delay": 0, "MaxAttempts": 1})
    s3.delete_bucket(Bucket="waited-for")
    s3.get_waiter("bucket_not_exists").wait(Bucket="waited-for", WaiterConfig={"Delay": 0, "MaxAttempts": 1})


def test_a_bucket_name_that_s3_refuses_is_refused(s3, refused):
    error = refused(s3.create_bucket, Bucket="Upper-Case")
    assert (error["Code"], error["Status"]) == ("InvalidBucketName", 400)


def test_a_bucket_with_objects_cannot_be_deleted(s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    error = refused(s3.delete_bucket, Bucket=bucket)
    assert (error["Code"], error["Status"]) == ("BucketNotEmpty", 409)


def test_the_expected_owner_is_the_account(s3, bucket, refused):
    s3.head_bucket(Bucket=bucket, ExpectedBucketOwner="123456789012")
    error = refused(s3.head_bucket, Bucket=bucket, ExpectedBucketOwner="999999999999")
    assert (error["Code"], error["Message"], error["Status"]) == ("403", "Forbidden", 403)
    assert refused(s3.list_objects_v2, Bucket=bucket, ExpectedBucketOwner="999999999999")["Code"] == "AccessDenied"


def test_location_constraints_follow_the_region(tmp_path: Path, endpoint, refused, s3):
    made = s3.create_bucket(Bucket="from-afar", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert made["Location"] == "/from-afar"
    assert s3.get_bucket_location(Bucket="from-afar")["LocationConstraint"] == "eu-west-1"
    other = type(endpoint)(tmp_path, region="eu-central-1")
    other.start()
    try:
        client = other.client()
        here = {"LocationConstraint": "eu-central-1"}
        client.create_bucket(Bucket="here", CreateBucketConfiguration=here)
        assert client.head_bucket(Bucket="here")["BucketRegion"] == "eu-central-1"
        error = refused(client.create_bucket, Bucket="here", CreateBucketConfiguration=here)
        assert (error["Code"], error["Status"]) == ("BucketAlreadyOwnedByYou", 409)
        assert refused(client.create_bucket, Bucket="there")["Code"] == "IllegalLocationConstraintException"
        elsewhere = {"LocationConstraint": "us-west-2"}
        error = refused(client.create_bucket, Bucket="there", CreateBucketConfiguration=elsewhere)
        assert error["Code"] == "IllegalLocationConstraintException"
    finally:
        other.stop()


def test_tags_of_a_bucket_are_kept_and_removed(s3, bucket, refused):
    assert refused(s3.get_bucket_tagging, Bucket=bucket)["Code"] == "NoSuchTagSet"
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "team", "Value": "risk"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "team", "Value": "risk"}]
    s3.delete_bucket_tagging(Bucket=bucket)
    assert refused(s3.get_bucket_tagging, Bucket=bucket)["Code"] == "NoSuchTagSet"


def test_versioning_is_off_until_it_is_switched_on(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for status in ("Enabled", "Suspended"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status


def test_buckets_are_listed_in_pages(s3):
    for n in range(5):
        s3.create_bucket(Bucket=f"paged-{n}")
    pages = s3.get_paginator("list_buckets").paginate(Prefix="paged-", PaginationConfig={"PageSize": 2})
    assert [[b["Name"][-1] for b in page["Buckets"]] for page in pages] == [["0", "1"], ["2", "3"], ["4"]]


@pytest.mark.parametrize("call", ["get_bucket_acl", "get_bucket_ownership_controls"])
def test_access_is_the_owners_alone(s3, bucket, call):
    getattr(s3, call)(Bucket=bucket)
    grants = s3.get_bucket_acl(Bucket=bucket)["Grants"]
    assert [g["Permission"] for g in grants] == ["FULL_CONTROL"]


def test_what_is_not_there_says_so(s3, bucket, refused):
    error = refused(s3.get_bucket_policy, Bucket=bucket)
    assert (error["Code"], error["Status"]) == ("NotImplemented", 501)
    assert "GetBucketPolicy" in error["Message"]
    assert refused(s3.create_bucket, Bucket="locked", ObjectLockEnabledForBucket=True)["Code"] == "NotImplemented"
    error = refused(s3.put_object, Bucket=bucket, Key="k", ACL="public-read")
    assert error["Code"] == "AccessControlListNotSupported"
    s3.put_object(Bucket=bucket, Key="k", ACL="bucket-owner-full-control")
