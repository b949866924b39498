"""Bad bytes get a clear answer before any handler runs."""

from __future__ import annotations

import base64
import gzip
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws.http import BytesBody, Headers
from trimtab.aws.protocols import jsonbody, query, requests, timestamps, xmlbody
from trimtab.aws.protocols.bindings import write_located
from trimtab.aws.protocols.errors import ConstraintsFailed, Malformed, Part
from trimtab.aws.protocols.validation import MAX_FAILURES, validate
from trimtab.aws.services import Shape, load
from trimtab.errors import TooLarge

SAGEMAKER = load("sagemaker", ["CreateModel", "CreateEndpointConfig", "ListModels", "Search", "CreateApp", "AddTags"])
S3 = load("s3")
IAM = load("iam", ["GetRole", "TagRole", "CreateRole"])
CLOUDWATCH = load("cloudwatch", ["PutMetricData", "GetMetricData"])


def shape(service: Any, operation: str) -> Shape:
    found = service.operations[operation].input
    assert found is not None
    return found


CREATE_MODEL = shape(SAGEMAKER, "CreateModel")


def json_of(body: bytes, operation: str = "CreateModel") -> dict[str, Any]:
    return jsonbody.parse(shape(SAGEMAKER, operation), body)


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b'{"ModelName":NaN}', "not valid JSON"),
        (b'{"ModelName":"\xff"}', "not valid JSON"),
        (b'{"ModelName":"\\ud800"}', "not valid JSON"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"ModelName":1}', "NUMBER_VALUE can not be converted to a String"),
        (b'{"ModelName":true}', "TRUE_VALUE can not be converted to a String"),
        (b'{"ModelName":{}}', "Start of structure or map found where not expected"),
        (b'{"ModelName":[]}', "Start of list found where not expected"),
        (b'{"EnableNetworkIsolation":"true"}', "STRING_VALUE can not be converted to a Boolean"),
        (b'{"Tags":{}}', "Expected list or null"),
        (b'{"PrimaryContainer":[]}', "Expected a structure"),
        (b'{"PrimaryContainer":{"Environment":{"A":1}}}', "PrimaryContainer.Environment.A"),
    ],
)
def test_json_that_is_not_what_the_model_says_is_refused_and_located(body: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        json_of(body)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1e999", "not valid JSON|can not be converted"),
        ("1.5", "can not be converted to an Integer"),
        ("99999999999", "does not fit"),
        ("1" * 400, "can not be converted|not valid JSON|does not fit"),
        ('"5"', "STRING_VALUE can not be converted to an Integer"),
    ],
)
def test_numbers_out_of_range_or_kind_are_refused(value: str, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        json_of(b'{"MaxResults":%s}' % value.encode(), "ListModels")


@pytest.mark.parametrize("value", ["1e300", "-1e300", '"yesterday"', '"2026-13-01T00:00:00Z"'])
def test_timestamps_that_no_calendar_has_are_refused(value: str) -> None:
    with pytest.raises(Malformed, match="CreationTimeAfter"):
        json_of(b'{"CreationTimeAfter":%s}' % value.encode(), "ListModels")


def test_null_is_unset_integral_floats_are_integers_and_unknown_members_are_ignored() -> None:
    assert json_of(b'{"NameContains":null,"MaxResults":5.0,"Foo":{"Bar":[1]}}', "ListModels") == {"MaxResults": 5}
    assert json_of(b"") == json_of(b" \n") == json_of(b"{}") == {}


def test_of_two_members_of_one_name_the_last_counts() -> None:
    assert json_of(b'{"ModelName":"a","ModelName":"b"}') == {"ModelName": "b"}


def test_nesting_that_a_self_holding_shape_allows_has_a_limit() -> None:
    depth = 60
    body = b'{"Resource":"Model","SearchExpression":' + b'{"SubExpressions":[' * depth + b"{}" + b"]}" * depth + b"}"
    with pytest.raises(Malformed, match="levels deep"):
        json_of(body, "Search")


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_parse_or_be_malformed(body: bytes) -> None:
    for parse, of in (
        (jsonbody.parse, CREATE_MODEL),
        (xmlbody.parse, shape(S3, "DeleteObjects").members["Delete"].shape),
    ):
        try:
            assert isinstance(parse(of, body), dict)
        except Malformed:
            continue


# --- XML ---------------------------------------------------------------------------------------------------------------

DELETE = shape(S3, "DeleteObjects").members["Delete"].shape


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not well-formed"),
        (b"<a", "not well-formed"),
        (b"<a/><b/>", "not well-formed"),
        (b"<a>\xff</a>", "not well-formed"),
        (b"<?xml version='1.0' encoding='klingon'?><a/>", "not well-formed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "DOCTYPE"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "DOCTYPE"),
        (b"<a>&b;</a>", "not well-formed"),
        (b"<a>" * 200 + b"</a>" * 200, "levels deep"),
        (b"<Delete><Quiet>maybe</Quiet></Delete>", "not a valid boolean"),
        (b"<Delete><Quiet>true</Quiet><Quiet>true</Quiet></Delete>", "more than one Quiet"),
        (b"<Delete><Object><Key><b/></Key></Object></Delete>", "elements in Key"),
    ],
)
def test_xml_that_is_broken_or_dangerous_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        xmlbody.parse(DELETE, body)


def test_namespaces_and_prefixes_of_xml_do_not_matter() -> None:
    body = b'<x:Delete xmlns:x="http://s3.amazonaws.com/doc/2006-03-01/"><x:Object><x:Key> k\n</x:Key></x:Object></x:Delete>'
    assert xmlbody.parse(DELETE, body) == {"Objects": [{"Key": " k\n"}]}


def test_characters_that_xml_cannot_hold_are_replaced_on_the_way_out() -> None:
    writer = xmlbody.Writer()
    writer.element("a", "x\x00y\rz<&>")
    assert writer.document().endswith("<a>x�y&#13;z&lt;&amp;&gt;</a>".encode())


# --- query -------------------------------------------------------------------------------------------------------------


def test_lists_maps_and_structures_of_a_form() -> None:
    form = query.form(b"RoleName=r&Tags.member.2.Key=b&Tags.member.2.Value=2&Tags.member.1.Key=a&Tags.member.1.Value=1")
    assert query.parse(shape(IAM, "TagRole"), form) == {
        "RoleName": "r",
        "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}],
    }


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (b"Tags.member.x.Key=a", "must be numbered"),
        (b"Tags.member.-1.Key=a", "must be numbered"),
        (b"RoleName.x=1", "must be a single value"),
        (b"a." * 100 + b"=1", "nested too deeply"),
        (b"a=1&" * 100_001, "more than 100000 fields"),
        (b"RoleName=%ff", "not valid UTF-8"),
        (b"\xff", "percent-encoded form"),
    ],
)
def test_forms_that_mean_nothing_are_refused(form: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        query.parse(shape(IAM, "TagRole"), query.form(form))


@pytest.mark.parametrize("value", ["1_000", "0x1", "", "nan", "inf", "1e999", "٣"])
def test_numbers_of_a_form_are_plain_decimal(value: str) -> None:
    with pytest.raises(Malformed, match="not a valid double"):
        query.parse(shape(CLOUDWATCH, "PutMetricData"), [("MetricData.member.1.Value", value)])


def test_the_names_that_sqs_had_in_the_query_days_are_still_read() -> None:
    sqs = load("sqs")
    pairs = [
        ("QueueName", "q"),
        ("Attribute.1.Name", "VisibilityTimeout"),
        ("Attribute.1.Value", "30"),
        ("Tag.1.Key", "k"),
        ("Tag.1.Value", "v"),
    ]
    assert query.parse(shape(sqs, "CreateQueue"), pairs, "CreateQueue") == {
        "QueueName": "q",
        "Attributes": {"VisibilityTimeout": "30"},
        "tags": {"k": "v"},
    }
    pairs = [
        ("SendMessageBatchRequestEntry.1.Id", "1"),
        ("SendMessageBatchRequestEntry.1.MessageBody", "m"),
        ("SendMessageBatchRequestEntry.1.MessageAttribute.1.Name", "n"),
        ("SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType", "String"),
        ("SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue", "s"),
    ]
    assert query.parse(shape(sqs, "SendMessageBatch"), pairs, "SendMessageBatch") == {
        "Entries": [
            {
                "Id": "1",
                "MessageBody": "m",
                "MessageAttributes": {"n": {"DataType": "String", "StringValue": "s"}},
            }
        ]
    }


# --- REST --------------------------------------------------------------------------------------------------------------


async def read(operation: str, query_string: str = "", body: bytes = b"", **headers: str) -> dict[str, Any]:
    return await requests.parse(
        S3.operations[operation],
        "rest-xml",
        body=BytesBody(body),
        labels={"Bucket": "b", "Key": "k"},
        query_pairs=query.fields(query_string, Part.ARGUMENT),
        headers=Headers([(name.replace("_", "-"), value) for name, value in headers.items()]),
    )


async def test_header_maps_lists_and_dates_are_read() -> None:
    params = await read("PutObject", x_amz_meta_a="1", x_amz_meta_b_c="é", if_none_match="*", content_length="5")
    body = params.pop("Body")
    assert await body.read(10) == b""
    assert params == {
        "Bucket": "b",
        "Key": "k",
        "Metadata": {"a": "1", "b-c": "é"},
        "IfNoneMatch": "*",
        "ContentLength": 5,
    }
    params = await read("GetObjectAttributes", x_amz_object_attributes='ETag, "Check,sum" ,ObjectSize')
    assert params["ObjectAttributes"] == ["ETag", "Check,sum", "ObjectSize"]


async def test_a_date_that_is_none_is_ignored_as_http_wants() -> None:
    assert "IfModifiedSince" not in await read("GetObject", if_modified_since="yesterday")
    params = await read("GetObject", if_modified_since="Fri, 02 Jan 2026 03:04:05 GMT")
    assert params["IfModifiedSince"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_a_query_value_of_the_wrong_type_is_an_invalid_argument() -> None:
    with pytest.raises(Malformed, match="max-keys is not a valid integer") as raised:
        await read("ListObjects", "max-keys=many")
    assert raised.value.part is Part.ARGUMENT
    assert "MaxKeys" not in await read("ListObjects", "max-keys=")
    assert (await read("ListObjects", "prefix="))["Prefix"] == ""


async def test_a_streaming_body_is_handed_over_unread_and_a_document_has_a_limit() -> None:
    assert hasattr((await read("PutObject", body=b"x"))["Body"], "stream")
    with pytest.raises(TooLarge):
        await read("DeleteObjects", body=b" " * (requests.MAX_DOCUMENT_BYTES + 1))


async def test_a_payload_that_is_text_must_be_utf8() -> None:
    assert (await read("PutBucketPolicy", body=b"{}"))["Policy"] == "{}"
    with pytest.raises(Malformed, match="UTF-8"):
        await read("PutBucketPolicy", body=b"\xff")


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\x00", "漢"])
def test_a_result_cannot_break_out_of_its_header(value: str) -> None:
    output = S3.operations["GetObject"].output
    assert output is not None
    with pytest.raises(ValueError, match="header value"):
        write_located(output, {"ContentType": value})


# --- constraints -------------------------------------------------------------------------------------------------------


def refused(params: dict[str, Any], of: Shape = CREATE_MODEL) -> str:
    with pytest.raises(ConstraintsFailed) as raised:
        validate(of, params)
    return str(raised.value)


def test_what_is_missing_is_named() -> None:
    assert refused({}) == (
        "1 validation error detected: Value null at 'modelName' failed to satisfy constraint: Member must not be null"
    )


def test_every_broken_constraint_is_told_at_once_in_awss_words() -> None:
    text = refused({"ModelName": "a_b", "PrimaryContainer": {"Mode": "Many", "Environment": {"1": "x" * 1025}}})
    assert text.startswith(
        "4 validation errors detected: Value 'a_b' at 'modelName' failed to satisfy constraint: Member"
    )
    assert "regular expression pattern: [a-zA-Z0-9]([\\-a-zA-Z0-9]*[a-zA-Z0-9])?; " in text
    assert (
        "Value 'Many' at 'primaryContainer.mode' failed to satisfy constraint: Member must satisfy enum value set:"
        " [SingleModel, MultiModel]" in text
    )
    assert "at 'primaryContainer.environment' failed to satisfy constraint: Map keys must satisfy constraint: [" in text
    assert "at 'primaryContainer.environment.1.member' failed to satisfy constraint: Member must have length" in text


def test_items_are_counted_from_one_and_nulls_in_lists_are_named() -> None:
    text = refused({"ModelName": "m", "Tags": [{"Key": "k", "Value": "v"}, {"Key": ""}, None]})
    assert "Value null at 'tags.2.member.value'" in text
    assert "Value '' at 'tags.2.member.key' failed to satisfy constraint: Member must have length greater than" in text
    assert "Value null at 'tags.3.member' failed to satisfy constraint: Member must not be null" in text


def test_instance_types_that_aws_does_not_have_are_refused() -> None:
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.huge", "InitialInstanceCount": 0}
    text = refused(
        {"EndpointConfigName": "c", "ProductionVariants": [variant]}, shape(SAGEMAKER, "CreateEndpointConfig")
    )
    assert "Value 'ml.huge' at 'productionVariants.1.member.instanceType' failed to satisfy constraint" in text
    assert (
        "Value '0' at 'productionVariants.1.member.initialInstanceCount' failed to satisfy constraint: Member must have"
        " value greater than or equal to 1" in text
    )


def test_a_list_that_is_too_long_is_shown_in_short() -> None:
    tag = {"Key": "k", "Value": "v"}
    text = refused({"ResourceArn": "arn:aws:sagemaker:r:1:model/m", "Tags": [tag] * 51}, shape(SAGEMAKER, "AddTags"))
    assert "at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50" in text
    assert len(text) < 3000


def test_the_answer_to_very_bad_input_stays_readable() -> None:
    text = refused({"ModelName": "m", "Tags": [{}] * 50})
    assert text.startswith(f"{MAX_FAILURES} validation errors detected")
    assert len(refused({"ModelName": "x" * 10**6})) < 2000


def test_a_bucket_may_be_in_any_region_of_the_server() -> None:
    validate(
        shape(S3, "CreateBucket"),
        {"Bucket": "b", "CreateBucketConfiguration": {"LocationConstraint": "local-1"}},
    )


def test_sensitive_values_are_not_repeated() -> None:
    found = Shape(name="S", type="string", pattern="a", sensitive=True)
    root = load("sts", ["GetCallerIdentity"]).operations["GetCallerIdentity"].input
    assert root is not None
    member = CREATE_MODEL.members["ModelName"]
    root.members = {"Secret": type(member)(name="Secret", shape=found, wire_name="Secret")}
    assert "hunter2" not in refused({"Secret": "hunter2"}, root)


# --- timestamps --------------------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


@given(MOMENTS)
def test_iso_dates_are_read_as_they_were_written(moment: datetime) -> None:
    assert timestamps.parse(timestamps.iso8601(moment)) == moment
    assert timestamps.parse(timestamps.iso8601(moment, always_millis=True)) == moment


@given(MOMENTS.filter(lambda m: m.year >= 1900))
def test_header_dates_are_read_as_they_were_written_to_the_second(moment: datetime) -> None:
    assert timestamps.parse(timestamps.rfc822(moment)) == moment.replace(microsecond=0)


@given(MOMENTS.filter(lambda m: 1900 < m.year < 2200))
def test_epoch_seconds_keep_their_milliseconds(moment: datetime) -> None:
    assert abs(timestamps.from_epoch(timestamps.epoch(moment)) - moment).total_seconds() < 0.0005


@given(st.text(max_size=40))
def test_no_text_does_anything_but_be_a_timestamp_or_raise_value_error(text: str) -> None:
    try:
        assert timestamps.parse(text).tzinfo is UTC
    except ValueError:
        pass


def test_blobs_are_base64() -> None:
    send = shape(load("sqs", ["SendMessage"]), "SendMessage")
    document = b'{"MessageAttributes":{"a":{"DataType":"Binary","BinaryValue":"%s"}}}'
    parsed = jsonbody.parse(send, document % base64.b64encode(b"\x00\x01"))
    assert parsed["MessageAttributes"]["a"]["BinaryValue"] == b"\x00\x01"
    with pytest.raises(Malformed, match="to a Blob"):
        jsonbody.parse(send, document % b"not base64!")


# --- packed bodies, and forms that are bombs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (gzip.compress(b"0" * (requests.MAX_DOCUMENT_BYTES + 1)), TooLarge),
        (b"0" * 100, Malformed),
        (gzip.compress(b"0" * 100)[:-4], Malformed),
        (gzip.compress(b"0") + gzip.compress(b"1"), Malformed),  # half of it would be lost
    ],
    ids=["too large", "not packed", "cut off", "two members"],
)
async def test_a_packed_body_is_unpacked_whole_or_refused(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        await requests.unpacked(BytesBody(body), Headers([("content-encoding", "GZIP")]))


async def test_a_packed_body_as_large_as_may_be_is_unpacked() -> None:
    data = b"0" * requests.MAX_DOCUMENT_BYTES
    body = await requests.unpacked(BytesBody(gzip.compress(data)), Headers([("content-encoding", "gzip")]))
    assert await body.read(requests.MAX_DOCUMENT_BYTES) == data


def test_names_of_many_parts_do_not_eat_the_memory() -> None:
    pairs = [(f"{number}." + ".".join("a" * 58), "1") for number in range(query.MAX_PARTS // 50)]
    with pytest.raises(Malformed, match="different parts"):
        query.parse(shape(CLOUDWATCH, "PutMetricData"), pairs)
