from __future__ import annotations


def put(s3, bucket, body, key="k"):
    return s3.put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]


def get(s3, bucket, key="k", **params):
    return s3.get_object(Bucket=bucket, Key=key, **params)["Body"].read()


def test_versions_are_kept_listed_and_read(s3, versioned):
    one, two = put(s3, versioned, b"one"), put(s3, versioned, b"two")
    assert get(s3, versioned) == b"two"
    assert get(s3, versioned, VersionId=one) == b"one"
    assert s3.head_object(Bucket=versioned, Key="k", VersionId=one)["VersionId"] == one
    versions = s3.list_object_versions(Bucket=versioned)["Versions"]
    assert [(v["VersionId"], v["IsLatest"]) for v in versions] == [(two, True), (one, False)]


def test_a_deleted_object_is_hidden_and_can_be_brought_back(s3, versioned, refused):
    put(s3, versioned, b"one")
    deleted = s3.delete_object(Bucket=versioned, Key="k")
    assert deleted["DeleteMarker"] is True
    error = refused(s3.get_object, Bucket=versioned, Key="k")
    assert (error["Code"], error["Status"]) == ("NoSuchKey", 404)
    headers = error["Response"]["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", deleted["VersionId"])
    error = refused(s3.get_object, Bucket=versioned, Key="k", VersionId=deleted["VersionId"])
    assert (error["Code"], error["Status"]) == ("MethodNotAllowed", 405)
    markers = s3.list_object_versions(Bucket=versioned)["DeleteMarkers"]
    assert [(m["VersionId"], m["IsLatest"]) for m in markers] == [(deleted["VersionId"], True)]
    gone = s3.delete_object(Bucket=versioned, Key="k", VersionId=deleted["VersionId"])
    assert (gone["DeleteMarker"], gone["VersionId"]) == (True, deleted["VersionId"])
    assert get(s3, versioned) == b"one"


def test_an_unknown_version_is_said_to_be_unknown(s3, versioned, refused):
    put(s3, versioned, b"one")
    error = refused(s3.get_object, Bucket=versioned, Key="k", VersionId="nope")
    assert (error["Code"], error["Status"]) == ("NoSuchVersion", 404)


def test_an_old_version_is_copied_back(s3, versioned):
    one = put(s3, versioned, b"one")
    put(s3, versioned, b"two")
    source = {"Bucket": versioned, "Key": "k", "VersionId": one}
    copied = s3.copy_object(Bucket=versioned, Key="k", CopySource=source)
    assert copied["CopySourceVersionId"] == one
    assert copied["VersionId"] not in (one, "null")
    assert get(s3, versioned) == b"one"


def test_a_suspended_bucket_writes_null_versions(s3, versioned):
    kept = put(s3, versioned, b"kept")
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Suspended"})
    assert put(s3, versioned, b"x") == "null"
    assert get(s3, versioned, VersionId="null") == b"x"
    assert s3.delete_object(Bucket=versioned, Key="k")["VersionId"] == "null"
    assert get(s3, versioned, VersionId=kept) == b"kept"


def test_deleting_many_answers_with_markers(s3, versioned):
    one = put(s3, versioned, b"one", "a")
    put(s3, versioned, b"two", "b")
    asked = [{"Key": "a", "VersionId": one}, {"Key": "b"}]
    deleted = {d["Key"]: d for d in s3.delete_objects(Bucket=versioned, Delete={"Objects": asked})["Deleted"]}
    assert deleted["a"] == {"Key": "a", "VersionId": one}
    assert deleted["b"]["DeleteMarker"] is True


def test_versions_are_listed_in_pages_and_a_bucket_is_emptied(s3, endpoint, versioned):
    for n in range(3):
        for key in ("a b", "dir/x", "dir/y"):
            put(s3, versioned, str(n).encode(), key)
    s3.delete_object(Bucket=versioned, Key="a b")
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=versioned, PaginationConfig={"PageSize": 2})
    found = [(v["Key"], v["VersionId"]) for p in pages for v in p.get("Versions", []) + p.get("DeleteMarkers", [])]
    assert len(found) == len(set(found)) == 10
    rolled = s3.list_object_versions(Bucket=versioned, Delimiter="/", Prefix="")
    assert [p["Prefix"] for p in rolled["CommonPrefixes"]] == ["dir/"]
    resource = endpoint.resource()
    resource.Bucket(versioned).object_versions.all().delete()
    resource.meta.client.close()
    s3.delete_bucket(Bucket=versioned)
