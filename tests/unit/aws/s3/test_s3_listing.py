from __future__ import annotations

import pytest

KEYS = ["a b+c.csv", "img/1.png", "img/2.png", "img/raw/1", "models/é/x", "top"]


@pytest.fixture
def filled(s3, bucket):
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    return bucket


def listed(page):
    return [o["Key"] for o in page.get("Contents", [])], [p["Prefix"] for p in page.get("CommonPrefixes", [])]


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2"])
def test_listings_in_both_versions(s3, filled, call):
    page = getattr(s3, call)(Bucket=filled)
    assert (listed(page), page["IsTruncated"], page["Name"], page["MaxKeys"]) == ((KEYS, []), False, filled, 1000)
    assert page["Contents"][0]["Size"] == 1
    page = getattr(s3, call)(Bucket=filled, Delimiter="/")
    assert listed(page) == (["a b+c.csv", "top"], ["img/", "models/"])
    page = getattr(s3, call)(Bucket=filled, Delimiter="/", Prefix="img/")
    assert listed(page) == (["img/1.png", "img/2.png"], ["img/raw/"])
    assert listed(getattr(s3, call)(Bucket=filled, Prefix="none")) == ([], [])
    assert listed(getattr(s3, call)(Bucket=filled, MaxKeys=0)) == ([], [])


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_paginators_see_everything_once(s3, filled, call, delimiter, size):
    pages = s3.get_paginator(call).paginate(Bucket=filled, Delimiter=delimiter, PaginationConfig={"PageSize": size})
    found = [name for page in pages for part in listed(page) for name in part]
    assert sorted(found) == (sorted(KEYS) if not delimiter else ["a b+c.csv", "img/", "models/", "top"])


def test_markers_and_start_after(s3, filled):
    assert listed(s3.list_objects(Bucket=filled, Marker="img/2.png"))[0] == KEYS[3:]
    assert listed(s3.list_objects_v2(Bucket=filled, StartAfter="img/2.png"))[0] == KEYS[3:]
    page = s3.list_objects(Bucket=filled, Delimiter="/", MaxKeys=2)
    assert (page["NextMarker"], listed(page)) == ("img/", (["a b+c.csv"], ["img/"]))
    assert listed(s3.list_objects(Bucket=filled, Delimiter="/", Marker="img/")) == (["top"], ["models/"])


def test_owners_are_told_where_asked(s3, filled):
    assert "Owner" not in s3.list_objects_v2(Bucket=filled)["Contents"][0]
    assert "Owner" in s3.list_objects_v2(Bucket=filled, FetchOwner=True)["Contents"][0]
    assert "Owner" in s3.list_objects(Bucket=filled)["Contents"][0]


def test_a_forged_token_is_refused(s3, filled, refused):
    assert refused(s3.list_objects_v2, Bucket=filled, ContinuationToken="?")["Code"] == "InvalidArgument"
    assert refused(s3.list_objects_v2, Bucket=filled, MaxKeys=-1)["Code"] == "InvalidArgument"


def test_the_resource_interface_lists_and_empties(endpoint, s3, filled):
    resource = endpoint.resource()
    bucket = resource.Bucket(filled)
    assert [o.key for o in bucket.objects.filter(Prefix="img/")] == KEYS[1:4]
    bucket.objects.all().delete()
    assert list(bucket.objects.all()) == []
    resource.meta.client.close()
