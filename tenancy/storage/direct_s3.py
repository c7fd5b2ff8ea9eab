"""Sends gets and puts of small objects to S3 without boto3's pipeline, which costs five times what the request does.

The request is signed by the client's own signer and sent on the event loop, to the same server with the same timeouts
and certificates; parts of large objects are sent by the client's own session, in threads. What is different: no
``Expect: 100-continue``, for which botocore waits a round trip before it sends the body. Only plain answers are taken:
done, not found, precondition failed. Anything else, and no answer, is for boto3, which sends the request anew, repeats
it, follows redirects and says what is wrong; and so is everything where there is a proxy, and what is asked while the
credentials have to be renewed, which may take its time.
"""

from __future__ import annotations

import base64
import re
import ssl
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path

from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.storage.http_client import Answer, HttpClient
from tenancy.storage.objects import Range, StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

CODE = re.compile(rb"<Code>([A-Za-z]+)</Code>")
PLAIN_NAME = re.compile(r"[a-z0-9-]+")
CHECKSUM = "x-amz-checksum-crc32"
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def asked_range(start: int, into: memoryview) -> str:
    """The header that asks for as much as ``into`` takes."""
    return f"bytes={start}-{start + len(into) - 1}"


def told_range(header: str | None, start: int, into: memoryview) -> Range | None:
    """What the answer says that it gives; ``None`` for anything else than was asked for."""
    told = CONTENT_RANGE.fullmatch(header or "")
    if told is None:
        return None
    first, last, size = map(int, told.groups())
    return Range(last - first + 1, size) if first == start and last - first < len(into) else None


@dataclass(frozen=True)
class DirectRequests:
    """To one bucket, whose objects lie under ``base``. ``client``: whose signer, session and region are used.

    ``http``: None where only boto3 knows the way.
    """

    client: S3Client
    base: str
    http: HttpClient | None

    @classmethod
    def to(cls, client: S3Client, bucket: str, *, by_path: bool) -> DirectRequests | None:
        """None for a bucket that has no URL of the two plain kinds, as an access point."""
        endpoint = client.meta.endpoint_url.rstrip("/")
        scheme, _, host = endpoint.partition("://")
        if not by_path and not PLAIN_NAME.fullmatch(bucket):
            return None
        base = f"{endpoint}/{bucket}" if by_path else f"{scheme}://{bucket}.{host}"
        return cls(client, base, _http_client(client, base))

    async def get(self, key: str) -> StoredObject | None:
        """Raises :class:`ObjectNotFound`."""
        answer = await self._asked("GetObject", "GET", key, {"x-amz-checksum-mode": "ENABLED"})
        if answer is None:
            return None
        _require_object(answer, key)
        body, etag = answer.content, answer.headers.get("etag")
        if answer.status_code != 200 or etag is None or not _is_whole(body, answer.headers):
            return None
        return StoredObject(body, etag)

    async def put(self, key: str, body: bytes, condition: dict[str, str]) -> str | None:
        """The ETag. ``condition``: the header that names it. Raises :class:`PreconditionFailed`."""
        headers = {CHECKSUM: _checksum(body), "Content-Length": str(len(body)), **condition}
        answer = await self._asked("PutObject", "PUT", key, headers, body)
        if answer is None:
            return None
        if answer.status_code == 412:
            raise PreconditionFailed(key)
        return answer.headers.get("etag") if answer.status_code == 200 else None

    def read_range(self, key: str, start: int, into: memoryview) -> Range | None:
        """Fill ``into`` as it comes from the socket: memory that is made anew for each answer costs more than all the
        copying, where pages are dear. Raises :class:`ObjectNotFound`.
        """
        answer = self._answer(key, {"Range": asked_range(start, into)})
        if answer is None:
            return None
        _require_object(answer, key)
        found = told_range(answer.headers.get("Content-Range"), start, into)
        if answer.status_code == 206 and found is not None and _is_filled(answer.raw, into[: found.length]):
            answer.raw.release_conn()
            return found
        answer.raw.close()
        return None

    async def aclose(self) -> None:
        """Ask for nothing more."""
        if self.http is not None:
            await self.http.aclose()

    async def _asked(
        self, operation: str, method: str, key: str, headers: dict[str, str], body: bytes = b""
    ) -> Answer | None:
        if self.http is None or self._has_to_renew():
            return None
        try:
            request = self._signed(operation, AWSRequest(method, self._url(key), headers, body))
        except BotoCoreError:
            return None
        return await self.http.ask(method, request.url, dict(request.headers), body)

    def _answer(self, key: str, headers: dict[str, str]) -> Any:
        internals: Any = self.client
        try:
            request = self._signed("GetObject", AWSRequest("GET", self._url(key), headers, stream_output=True))
            return internals._endpoint.http_session.send(request.prepare())
        except BotoCoreError:
            return None

    def _url(self, key: str) -> str:
        return f"{self.base}/{quote(key, safe='/~')}"

    def _signed(self, operation: str, request: Any) -> Any:
        internals: Any = self.client
        internals._request_signer.get_auth_instance("s3", self.client.meta.region_name, "s3v4").add_auth(request)
        # As botocore tells it: whoever counts this client's requests counts these too.
        self.client.meta.events.emit(f"before-send.s3.{operation}", request=request)
        return request

    def _has_to_renew(self) -> bool:
        """Whether signing would ask somebody for credentials: a server, or a program. The event loop would wait."""
        internals: Any = self.client
        is_due = getattr(internals._request_signer._credentials, "refresh_needed", None)
        return is_due is not None and bool(is_due())


def _http_client(client: S3Client, base: str) -> HttpClient | None:
    """To the server of this URL; None where it is reached by a proxy, or by a certificate of our own."""
    internals: Any = client
    session, config = internals._endpoint.http_session, internals.meta.config
    if session._proxy_config.proxy_url_for(base) or session._cert_file or not session._verify:
        return None
    is_tls = base.startswith("https:")
    context = ssl.create_default_context(cafile=get_cert_path(session._verify)) if is_tls else None
    return HttpClient(context, config.connect_timeout, config.read_timeout)


def _is_filled(raw: Any, into: memoryview) -> bool:
    """Read by http.client's response, as urllib3's own way copies everything three times."""
    filled = 0
    try:
        while filled < len(into) and (count := raw._fp.readinto(into[filled:])):
            filled += count
    except (OSError, HTTPException):
        return False
    return filled == len(into)


def _require_object(answer: Any, key: str) -> None:
    if answer.status_code == 404 and _code(answer.content) == b"NoSuchKey":
        raise ObjectNotFound(key)


def _code(body: bytes) -> bytes:
    found = CODE.search(body)
    return found[1] if found else b""


def _checksum(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def _is_whole(body: bytes, headers: Any) -> bool:
    """As far as the answer says what it is. An object of several parts has the checksum of its parts' checksums."""
    length, checksum = headers.get("content-length"), headers.get(CHECKSUM)
    if length is not None and int(length) != len(body):
        return False
    return checksum is None or "-" in checksum or checksum == _checksum(body)
