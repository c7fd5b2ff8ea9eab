"""What is asked of S3 without boto3's pipeline: plain answers are taken, and for any other boto3 asks again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import AF_INET
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ConnectionClosedError

from tenancy.errors import ObjectNotFound, PreconditionFailed, Refused, StoreUnavailable
from tenancy.platform.threads import RESERVED, ahead_of_others
from tenancy.storage.direct_s3 import DirectRequests
from tenancy.storage.http_client import AT_A_TIME
from tenancy.storage.s3 import S3ObjectStore, connect
from tests.fixtures.certificates import certificate

ENDPOINT = "http://127.0.0.1:1"
BOUND_SECONDS = 30
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


def refused(status: int, code: str) -> AWSResponse:
    return AWSResponse("", status, {}, Raw(ERROR.format(code).encode()))  # type: ignore[arg-type]


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


async def read_six(store: S3ObjectStore) -> tuple[bytes, int]:
    into = memoryview(bytearray(6))
    found = await store.read_range("a", 2, into)
    return bytes(into[: found.length]), found.object_bytes


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
    store, wire = store_at(ENDPOINT), Wire(list(answers))
    store.client._endpoint.http_session = wire  # type: ignore[attr-defined]
    return store, wire


def store_at(endpoint_url: str) -> S3ObjectStore:
    client = connect(endpoint_url, timeout_seconds=1.0, access_key_id="a", secret_access_key="b")
    return S3ObjectStore(client, "bucket", DirectRequests.to(client, "bucket", by_path=True))


@dataclass
class Asked:
    """One request as a server got it. ``connection``: on which, by their numbers."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_by_boto(self) -> bool:
        return "user-agent" in self.headers


@dataclass
class Server:
    """Gives these answers in turn. None closes the connection instead; for an event it waits before it answers."""

    answers: list[bytes | asyncio.Event | None]
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    closed: list[int] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    def by_boto(self) -> list[bool]:
        return [asked.is_by_boto for asked in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while await self._answered(number, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.append(number)
            writer.close()

    async def _answered(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {name.lower(): value for name, _, value in (told.partition(": ") for told in rest if told)}
        if headers.get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.asked.append(Asked(number, line, headers, body))
        given = self.answers.pop(0)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.001)
        self.under_way -= 1
        if isinstance(given, asyncio.Event):
            is_gone = asyncio.create_task(reader.read(1))
            await asyncio.wait([is_gone, asyncio.create_task(given.wait())], return_when=asyncio.FIRST_COMPLETED)
            if is_gone.done():
                return False
            is_gone.cancel()
            given = SEALED
        writer.write(given or b"")
        return given is not None


@asynccontextmanager
async def serving(
    *answers: bytes | asyncio.Event | None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[S3ObjectStore, Server]]:
    made = Server(list(answers))
    server = await asyncio.start_server(made.serve, "localhost", 0, family=AF_INET, ssl=tls, backlog=1024)
    store = store_at(f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}")
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            yield store, made
    finally:
        await store.aclose()
        server.close()


def told(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer as it comes."""
    named = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def error(status: int, code: str) -> bytes:
    return told(status, ERROR.format(code).encode())


SEALED = told(200, b"sealed", ETag='"e"')


async def test_a_plain_answer_is_taken_as_it_is_and_its_connection_kept() -> None:
    async with serving(SEALED, told(200, ETag='"new"'), SEALED) as (store, server):
        assert (await store.get("a/b c")).body == b"sealed"
        assert await store.put("a", b"one", if_match='"e"') == '"new"'
        assert (await store.get("a")).etag == '"e"'
    first, put, _ = server.asked
    assert first.line == "GET /bucket/a/b%20c HTTP/1.1"
    assert first.headers["authorization"].startswith("AWS4-HMAC-SHA256")
    assert (put.body, put.headers["if-match"]) == (b"one", '"e"')
    assert (server.by_boto(), server.connections) == ([False] * 3, 1)


async def test_an_answer_that_comes_in_pieces_after_a_word_before_it_is_one() -> None:
    chunked = told(200, ETag='"e"', Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"")
    async with serving(b"HTTP/1.1 102 Processing\r\n\r\n" + chunked + b"3\r\nsea\r\n3\r\nled\r\n0\r\n\r\n") as (
        store,
        server,
    ):
        assert (await store.get("a")).body == b"sealed"
    assert server.by_boto() == [False]


async def test_a_missing_object_and_a_lost_race_are_told_at_once() -> None:
    async with serving(error(404, "NoSuchKey"), error(412, "PreconditionFailed")) as (store, server):
        with pytest.raises(ObjectNotFound):
            await store.get("a")
        with pytest.raises(PreconditionFailed):
            await store.put("a", b"one", if_absent=True)
    assert server.asked[1].headers["if-none-match"] == "*"
    assert server.by_boto() == [False, False]


@pytest.mark.parametrize(
    "first",
    [
        error(503, "SlowDown"),
        error(301, "PermanentRedirect"),
        SEALED[:-2],
        b"no answer at all\r\n\r\n",
        told(200, b"sealed"),
        told(200, b"other", ETag='"e"', x_amz_checksum_crc32="AAAAAA=="),
    ],
    ids=["slow down", "redirect", "cut short", "nonsense", "no tag", "changed on the way"],
)
async def test_for_any_other_answer_boto3_asks_again(first: bytes) -> None:
    async with serving(first, SEALED) as (store, server):
        assert (await store.get("a")).body == b"sealed"
    assert server.by_boto() == [False, True]


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_client_would() -> None:
    async with serving(asyncio.Event(), SEALED) as (store, server):
        assert (await store.get("a")).body == b"sealed"
        assert server.by_boto() == [False, True]


async def test_what_is_said_after_an_answer_is_no_answer_to_what_is_asked_next() -> None:
    async with serving(SEALED + told(200, b"another", ETag='"f"'), SEALED) as (store, server):
        assert (await store.get("a")).body == b"sealed"
        assert (await store.get("b")).body == b"sealed"
        assert [asked.connection for asked in server.asked] == [1, 2]


async def test_a_connection_that_the_server_ends_is_not_used_again() -> None:
    async with serving(told(200, b"sealed", ETag='"e"', Connection="close"), SEALED, None, SEALED) as (store, server):
        for _ in range(3):
            assert (await store.get("a")).body == b"sealed"
    assert [asked.connection for asked in server.asked] == [1, 2, 2, 3], "what was not answered is asked once more"


async def test_of_a_server_that_only_closes_connections_boto3_asks_once_this_was_tried_twice() -> None:
    async with serving(None, None, SEALED) as (store, server):
        assert (await store.get("a")).body == b"sealed"
    assert server.by_boto() == [False, False, True]


async def test_a_cancelled_request_takes_its_connection_with_it() -> None:
    async with serving(asyncio.Event(), SEALED) as (store, server):
        cut_off = asyncio.create_task(store.put("a", b"one"))
        while not server.asked:
            await asyncio.sleep(0.001)
        cut_off.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut_off
        while not server.closed:
            await asyncio.sleep(0.001)
        assert (await store.get("a")).body == b"sealed"
        assert [asked.connection for asked in server.asked] == [1, 2]


async def test_no_more_are_under_way_than_are_said_and_what_is_ahead_of_others_waits_for_none() -> None:
    may_go_on = asyncio.Event()
    async with serving(*[may_go_on] * AT_A_TIME, SEALED, *[SEALED] * (3 * AT_A_TIME)) as (store, server):
        reads = [asyncio.create_task(store.get("a")) for _ in range(2 * AT_A_TIME)]
        while len(server.asked) < AT_A_TIME:
            await asyncio.sleep(0.001)
        with ahead_of_others():
            assert (await store.get("lease")).body == b"sealed"
        assert len(server.asked) == AT_A_TIME + 1
        may_go_on.set()
        assert {found.body for found in await asyncio.gather(*reads)} == {b"sealed"}
        assert server.most <= AT_A_TIME + RESERVED


async def test_a_closed_store_asks_nothing_more() -> None:
    async with serving(SEALED) as (store, server):
        await store.get("a")
        await store.aclose()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.get("a")
        while not server.closed:
            await asyncio.sleep(0.001)
    assert len(server.asked) == 1


async def test_while_credentials_have_to_be_renewed_boto3_asks_which_renews_them_off_the_event_loop() -> None:
    def renewed() -> dict[str, str]:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        due.append(datetime.now(UTC) + timedelta(hours=1))
        return {"access_key": "a", "secret_key": "b", "token": "t", "expiry_time": due[-1].isoformat()}

    due: list[datetime] = []
    async with serving(SEALED, SEALED) as (store, server):
        credentials = RefreshableCredentials("a", "b", "t", datetime.now(UTC), renewed, "test")
        store.client._request_signer._credentials = credentials  # type: ignore[attr-defined]
        for _ in range(2):
            assert (await store.get("a")).body == b"sealed"
    assert (server.by_boto(), len(due)) == ([True, False], 1)


async def test_a_write_that_is_not_simply_done_is_asked_again_under_the_same_condition() -> None:
    async with serving(error(409, "ConditionalRequestConflict"), told(200, ETag='"new"')) as (store, server):
        assert await store.put("a", b"one", if_match='"old"') == '"new"'
    assert [asked.headers["if-match"] for asked in server.asked] == ['"old"', '"old"']


async def test_a_missing_bucket_is_no_missing_object() -> None:
    async with serving(error(404, "NoSuchBucket"), error(404, "NoSuchBucket")) as (store, _):
        with pytest.raises(Refused, match="NoSuchBucket"):
            await store.get("a")


async def test_a_server_is_believed_by_the_certificates_that_the_client_believes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, strangers = certificate(tmp_path, "ours", None), certificate(tmp_path, "strangers", None)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ours.pem"))
    for authority, is_believed in ((ours, True), (strangers, False)):
        certificate(tmp_path, "server", authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
        async with serving(SEALED, tls=context) as (store, server):
            if is_believed:
                assert (await store.get("a")).body == b"sealed"
            else:
                with pytest.raises(StoreUnavailable, match="out of reach"):
                    await store.get("a")
        assert server.by_boto() == [False] * is_believed


def test_behind_a_proxy_only_boto3_knows_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_at("http://store.test:1").direct.http is not None  # type: ignore[union-attr]
    monkeypatch.setenv("http_proxy", "http://proxy.test:1")
    assert store_at("http://store.test:1").direct.http is None  # type: ignore[union-attr]


def test_a_bucket_of_the_region_is_asked_by_its_host_and_an_access_point_by_boto3_alone() -> None:
    client = connect(None, timeout_seconds=1.0, access_key_id="a", secret_access_key="b")
    made = DirectRequests.to(client, "bucket", by_path=False)
    assert made is not None
    assert made.base == client.meta.endpoint_url.replace("https://", "https://bucket.")
    assert DirectRequests.to(client, "arn:aws:s3:eu-west-1:1:accesspoint/x", by_path=False) is None
