"""What is asked of S3 without boto3's pipeline: plain answers are taken, and for any other boto3 asks again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

from tenancy.errors import ObjectNotFound, PreconditionFailed, Refused
from tenancy.storage.direct_s3 import DirectRequests
from tenancy.storage.s3 import S3ObjectStore, connect

ENDPOINT = "http://127.0.0.1:1"
ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>m</Message></Error>"


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


class Raw:
    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.body

    def read(self, *_: Any, **__: Any) -> bytes:
        body, self.body = self.body, b""
        return body

    def close(self) -> None: ...


def answer(status: int, body: bytes = b"", **headers: str) -> AWSResponse:
    told: Any = {name.replace("_", "-"): value for name, value in headers.items()}
    return AWSResponse("", status, told, Raw(body))


def refused(status: int, code: str) -> AWSResponse:
    return answer(status, ERROR.format(code).encode())


@dataclass
class Wire:
    """In the place of the client's connections: what is sent, and what is answered in turn."""

    answers: list[AWSResponse | Exception]
    sent: list[Any] = field(default_factory=list)

    def send(self, request: Any) -> AWSResponse:
        self.sent.append(request)
        given = self.answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    def by_boto(self) -> list[bool]:
        return ["User-Agent" in request.headers for request in self.sent]


def store_over(*answers: AWSResponse | Exception) -> tuple[S3ObjectStore, Wire]:
    client = connect(ENDPOINT, timeout_seconds=1.0, access_key_id="a", secret_access_key="b")
    wire = Wire(list(answers))
    client._endpoint.http_session = wire  # type: ignore[attr-defined]
    return S3ObjectStore(client, "bucket", DirectRequests.to(client, "bucket", by_path=True)), wire


async def test_a_plain_answer_is_taken_as_it_is() -> None:
    store, wire = store_over(answer(200, b"sealed", ETag='"e"'))
    assert (await store.get("a/b c")).body == b"sealed"
    assert wire.sent[0].url == f"{ENDPOINT}/bucket/a/b%20c"
    assert "AWS4-HMAC-SHA256" in str(wire.sent[0].headers["Authorization"])
    assert wire.by_boto() == [False]


async def test_a_missing_object_and_a_lost_race_are_told_at_once() -> None:
    store, wire = store_over(refused(404, "NoSuchKey"), refused(412, "PreconditionFailed"))
    with pytest.raises(ObjectNotFound):
        await store.get("a")
    with pytest.raises(PreconditionFailed):
        await store.put("a", b"one", if_absent=True)
    assert wire.sent[1].headers["If-None-Match"] in ("*", b"*")
    assert wire.by_boto() == [False, False]


@pytest.mark.parametrize(
    "first",
    [
        refused(503, "SlowDown"),
        refused(301, "PermanentRedirect"),
        ConnectionClosedError(endpoint_url=ENDPOINT),
        answer(200, b"seal", ETag='"e"', Content_Length="6"),
        answer(200, b"other", ETag='"e"', x_amz_checksum_crc32="AAAAAA=="),
    ],
    ids=["slow down", "redirect", "closed", "cut short", "changed on the way"],
)
async def test_for_any_other_answer_boto3_asks_again(first: AWSResponse | Exception) -> None:
    store, wire = store_over(first, answer(200, b"sealed", ETag='"e"'))
    assert (await store.get("a")).body == b"sealed"
    assert wire.by_boto() == [False, True]


async def test_a_write_that_is_not_simply_done_is_asked_again_under_the_same_condition() -> None:
    store, wire = store_over(refused(409, "ConditionalRequestConflict"), answer(200, ETag='"new"'))
    assert await store.put("a", b"one", if_match='"old"') == '"new"'
    assert [request.headers["If-Match"] in ('"old"', b'"old"') for request in wire.sent] == [True, True]


async def test_a_missing_bucket_is_no_missing_object() -> None:
    store, _ = store_over(refused(404, "NoSuchBucket"), refused(404, "NoSuchBucket"))
    with pytest.raises(Refused, match="NoSuchBucket"):
        await store.get("a")


def test_a_bucket_of_the_region_is_asked_by_its_host_and_an_access_point_by_boto3_alone() -> None:
    client = connect(None, timeout_seconds=1.0, access_key_id="a", secret_access_key="b")
    made = DirectRequests.to(client, "bucket", by_path=False)
    assert made is not None
    assert made.base == client.meta.endpoint_url.replace("https://", "https://bucket.")
    assert DirectRequests.to(client, "arn:aws:s3:eu-west-1:1:accesspoint/x", by_path=False) is None
