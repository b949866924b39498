"""Filters, order, pages; AddTags, ListTags, DeleteTags."""

from datetime import UTC, datetime
from itertools import chain

import pytest

from trimtab.aws.registry import AwsError

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:model/m"


@pytest.fixture
async def many(sagemaker, clock) -> list[str]:
    """Twenty-five models, a second apart, oldest first."""
    names = [f"Model-{index:02d}" for index in range(25)]
    for name in names:
        clock.advance(1)
        await sagemaker("CreateModel", ModelName=name, PrimaryContainer={"Image": "i"})
    return names


async def pages(sagemaker, **params) -> list[list[str]]:
    found, token = [], {}
    while True:
        answer = await sagemaker("ListModels", **params, **token)
        found.append([model["ModelName"] for model in answer["Models"]])
        if "NextToken" not in answer:
            return found
        token = {"NextToken": answer["NextToken"]}


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def test_the_default_is_newest_first_ten_a_page(sagemaker, many) -> None:
    found = await pages(sagemaker)
    assert [len(page) for page in found] == [10, 10, 5]
    assert list(chain(*found)) == list(reversed(many))


async def test_a_last_page_that_is_full_has_no_token(sagemaker, many) -> None:
    assert [len(page) for page in await pages(sagemaker, MaxResults=5)] == [5] * 5


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("key", ["Name", "CreationTime"])
async def test_every_order_pages_through_everything_once(sagemaker, many, key, order) -> None:
    found = list(chain(*await pages(sagemaker, SortBy=key, SortOrder=order, MaxResults=7)))
    assert found == (many if order == "Ascending" else list(reversed(many)))


async def test_names_are_matched_without_regard_to_case(sagemaker, many) -> None:
    assert await pages(sagemaker, NameContains="mODEL-03") == [["Model-03"]]
    assert await pages(sagemaker, NameContains="none") == [[]]


async def test_after_is_inclusive_and_before_exclusive(sagemaker, many, control) -> None:
    third, fifth = control.models["Model-02"].created_s, control.models["Model-04"].created_s
    found = await pages(sagemaker, CreationTimeAfter=at(third), CreationTimeBefore=at(fifth), SortOrder="Ascending")
    assert found == [["Model-02", "Model-03"]]


async def test_last_modified_filters_endpoints(sagemaker, deployed, clock) -> None:
    await deployed("old")
    clock.advance(10)
    await deployed("new")
    recent = await sagemaker("ListEndpoints", LastModifiedTimeAfter=at(clock.now_s()))
    assert [e["EndpointName"] for e in recent["Endpoints"]] == ["new"]
    before = await sagemaker("ListEndpoints", LastModifiedTimeBefore=at(clock.now_s()))
    assert [e["EndpointName"] for e in before["Endpoints"]] == ["old"]


async def test_pages_stay_true_while_things_come_and_go(sagemaker, many, clock) -> None:
    first = await sagemaker("ListModels", MaxResults=5)
    seen = [model["ModelName"] for model in first["Models"]]
    await sagemaker("DeleteModel", ModelName=seen[-1])  # the very one that the token points at
    await sagemaker("DeleteModel", ModelName=many[3])
    clock.advance(1)
    await sagemaker("CreateModel", ModelName="newest", PrimaryContainer={"Image": "i"})
    answer = await sagemaker("ListModels", MaxResults=100, NextToken=first["NextToken"])
    rest = [model["ModelName"] for model in answer["Models"]]
    assert seen + rest == [name for name in reversed(many) if name != many[3]]


@pytest.mark.parametrize("token", ["forged", "AAAA", "é", "A" * 8192])
async def test_a_token_that_was_made_up_is_refused(sagemaker, many, token) -> None:
    with pytest.raises(AwsError, match="NextToken is not one") as caught:
        await sagemaker("ListModels", NextToken=token)
    assert caught.value.code == "ValidationException"


async def test_a_token_belongs_to_its_listing_and_order(sagemaker, many) -> None:
    token = (await sagemaker("ListModels"))["NextToken"]
    for operation, params in (("ListEndpoints", {}), ("ListModels", {"SortBy": "Name"})):
        with pytest.raises(AwsError, match="NextToken is not one"):
            await sagemaker(operation, NextToken=token, **params)


async def test_tags_are_added_overwritten_listed_and_deleted(sagemaker) -> None:
    await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"}, Tags=[{"Key": "a", "Value": "1"}])
    added = await sagemaker("AddTags", ResourceArn=ARN, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}])
    assert added == {"Tags": [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]}
    assert await sagemaker("DeleteTags", ResourceArn=ARN, TagKeys=["a", "not-there"]) == {}
    assert await sagemaker("ListTags", ResourceArn=ARN) == {"Tags": [{"Key": "b", "Value": ""}]}


async def test_list_tags_always_has_tags(sagemaker) -> None:
    await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"})
    assert await sagemaker("ListTags", ResourceArn=ARN, MaxResults=50) == {"Tags": []}


async def test_too_many_tags_are_a_limit(sagemaker) -> None:
    await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"})
    await sagemaker("AddTags", ResourceArn=ARN, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
    with pytest.raises(AwsError) as caught:
        await sagemaker("AddTags", ResourceArn=ARN, Tags=[{"Key": "more", "Value": ""}])
    assert caught.value.code == "ResourceLimitExceeded"


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        (ARN, f'Could not find model "{ARN}".'),
        ("arn:aws:sagemaker:us-east-1:123456789012:model/m", "not of region eu-west-1"),
        ("arn:aws:sagemaker:eu-west-1:999999999999:model/m", "account 123456789012"),
        ("arn:aws:sagemaker:eu-west-1:123456789012:training-job/t", "no tags for 'training-job'"),
        ("arn:aws:sagemaker:eu-west-1:123456789012:model", "is not an ARN"),
    ],
)
async def test_tags_of_what_is_not_there_are_refused(sagemaker, arn, expected) -> None:
    with pytest.raises(AwsError) as caught:
        await sagemaker("ListTags", ResourceArn=arn)
    assert caught.value.code == "ValidationException"
    assert expected in caught.value.message
