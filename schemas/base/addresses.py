"""Validates the addresses in settings at the edge, so that a wrong one does not fail later inside a client.

Error messages do not repeat the value: a URL may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

_HOST = re.compile(r"(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.?|[0-9A-Fa-f:.]+")
_BROKER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+)(?::([0-9]{1,5}))?")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:\S+")


def _checked(is_good: Callable[[str], bool], shape: str) -> AfterValidator:
    def check(value: str) -> str:
        if not is_good(value):
            raise PydanticCustomError("address", "give {shape}", {"shape": shape})
        return value

    return AfterValidator(check)


def _is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        has_port = parts.port != 0  # reading it checks it
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and has_port and not re.search(r"\s", value)


def is_private_way(url: str) -> bool:
    """Whether what is sent to this URL can be read by nobody on the way: by TLS, or without leaving the machine."""
    return urlsplit(url).scheme == "https" or is_loopback(url)


def _is_s3_endpoint(value: str) -> bool:
    return _is_http_url(value) and _HOST.fullmatch(urlsplit(value).hostname or "") is not None


def _listed(value: str) -> str:
    """Drops empty entries between commas and after the last one: a client would look for a broker there."""
    return ",".join(part for part in value.split(",") if part.strip())


def _are_brokers(value: str) -> bool:
    found = [_BROKER.fullmatch(part.strip()) for part in value.split(",")]
    return all(broker is not None and 0 < int(broker[1] or 9092) < 65536 for broker in found)


HttpUrl = Annotated[str, _checked(_is_http_url, "a URL, such as http://host:port")]
S3Endpoint = Annotated[
    str,
    _checked(
        _is_s3_endpoint, "a URL, such as http://host:port, of which the host is of letters, digits, hyphens and dots"
    ),
]
"""S3's clients take no underscore in the host, other clients do."""
Brokers = Annotated[str, AfterValidator(_listed), _checked(_are_brokers, "host:port of some brokers, comma-separated")]
BucketName = Annotated[str, _checked(lambda value: _BUCKET.fullmatch(value) is not None, "the name of a bucket")]


def is_loopback(url: str) -> bool:
    """Whether what is asked of this URL stays on the machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_provider_address(url: str) -> bool:
    """Whether a service may ask this URL of an identity provider: by TLS a host by its name, or this machine.

    No number, in whatever notation, in the place of a name: a certificate vouches for a name, and numbers are what
    clouds have their own services under. No password, query or fragment.
    """
    if not re.fullmatch(r"[!-~]{1,512}", url) or re.search(r"[@?#\\]", url) or not _is_http_url(url):
        return False
    if is_loopback(url):
        return True
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    last = host.rpartition(".")[2]
    is_name = _HOST.fullmatch(host) is not None and ":" not in host and not re.fullmatch(r"0x[0-9a-f]*|[0-9]+", last)
    return parts.scheme == "https" and is_name
