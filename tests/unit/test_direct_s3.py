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


class Socket:
    """Gives a part at a time, as http.client's response does."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self.parts = list(parts)
        self._fp = self
        self.then: list[str] = []

    def readinto(self, into: memoryview) -> int:
        part = self.parts.pop(0) if self.parts else b""
        if isinstance(part, Exception):
            raise part
        into[: len(part)] = part
        return len(part)

    def read(self, *_: Any, **__: Any) -> bytes:
        return b"".join(part for part in self.parts if isinstance(part, bytes))

    def release_conn(self) -> None:
        self.then.append("kept")

    def close(self) -> None:
        self.then.append("closed")


def part(told: str, raw: Any, status: int = 206) -> AWSResponse:
    headers: Any = {"Content-Range": told, "ETag": '"e"', "Content-Length": "6"}
    return AWSResponse("", status, headers, raw)


def read_six(store: S3ObjectStore) -> Any:
    return store.read_range("a", 2, memoryview(bytearray(6)), lambda found, size: (bytes(found), size))


async def test_a_part_is_read_from_the_socket_and_the_connection_kept() -> None:
    raw = Socket(b"sea", b"led")
    store, wire = store_over(part("bytes 2-7/10", raw))
    assert await read_six(store) == (b"sealed", 10)
    assert wire.sent[0].headers["Range"] in ("bytes=2-7", b"bytes=2-7")
    assert (wire.by_boto(), raw.then) == ([False], ["kept"])


@pytest.mark.parametrize(
    "first",
    [
        part("bytes 2-7/10", Socket(b"sea")),
        part("bytes 2-7/10", Socket(b"sea", TimeoutError())),
        part("bytes 0-5/10", Socket(b"sealed")),
        part("bytes 2-9/10", Socket(b"sealed!!")),
        part("", Socket(b"sealed"), 200),
        part("bytes 2-7/*", Socket(b"sealed")),
        ConnectionClosedError(endpoint_url=ENDPOINT),
    ],
    ids=["cut short", "slow", "another part", "more", "all of it", "of unknown size", "closed"],
)
async def test_for_any_other_answer_to_a_part_boto3_asks_again(first: AWSResponse | Exception) -> None:
    store, wire = store_over(first, part("bytes 2-7/10", Raw(b"sealed")))
    assert await read_six(store) == (b"sealed", 10)
    assert wire.by_boto() == [False, True]
    assert isinstance(first, Exception) or first.raw.then == ["closed"]


async def test_a_store_that_gives_no_parts_is_refused_and_a_missing_object_told() -> None:
    store, _ = store_over(part("", Socket(), 200), part("", Raw(b"sealed"), 200), refused(404, "NoSuchKey"))
    with pytest.raises(Refused, match="part of an object"):
        await read_six(store)
    with pytest.raises(ObjectNotFound):
        await read_six(store)


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
