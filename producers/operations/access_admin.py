"""Adds the access control lists of ``schemas.bus.access`` to a cluster, and reports a surplus without removing it.

aiokafka's admin client has no method for them, but its protocol has both requests, and its client sends them to any
broker; brokers hand them on. Another Kafka client only for these two (kafka-python, confluent-kafka) would be a second
set of TLS and SASL settings, and the latter a library in C. ``tests/integration/test_access_control.py`` runs both
requests on Apache Kafka.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    SecurityDisabled,
    for_code,
)
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from producers.operations import access_entries
from producers.operations.access_entries import ALLOW, DENY, LITERAL, OPERATIONS, PREFIXED, RESOURCES, Entry
from producers.operations.principals import Principals
from producers.operations.topics import REQUEST_TIMEOUT_MS, within_bound
from schemas.base.contract import Contract
from schemas.bus.access import Right
from tenancy.errors import BusUnavailable, Refused

ANY = 1
_NUMBERS = {word: number for numbers in (RESOURCES, OPERATIONS) for number, word in numbers.items()}


class Found(Contract):
    """An entry that the contract does not give, in words."""

    principal: str
    entry: str


class AccessReport(Contract):
    """``added``: what was missing and was added, or would be. ``surplus`` was left as it is: it is somebody else's, and
    only a person can know what for.
    """

    has_authorizer: bool
    rights: int
    added: tuple[Right, ...] = ()
    surplus: tuple[Found, ...] = ()


async def apply_access(
    client_settings: Mapping[str, Any], principals: Principals, *, dry_run: bool = False
) -> AccessReport:
    """Add every right of the contract that is missing; with ``dry_run`` only say which.

    ``client_settings`` as of ``PlatformSettings.kafka_client``. Raises :class:`BusUnavailable`, and :class:`Refused`
    when these settings' principal may not see the lists, or not add to them.
    """
    rights = principals.rights()
    async with _client(client_settings) as client:
        entries = await _entries(client)
        if entries is None:
            return AccessReport(has_authorizer=False, rights=len(rights))
        lacking = access_entries.missing(rights, entries)
        if lacking and not dry_run:
            for right in lacking:
                await _add(client, right)

            async def look() -> bool | None:
                return not access_entries.missing(rights, await _entries(client) or ()) or None

            await within_bound(look, "new rights")
        return AccessReport(
            has_authorizer=True,
            rights=len(rights),
            added=lacking,
            surplus=tuple(
                Found(principal=entry.principal, entry=str(entry))
                for entry in access_entries.surplus(rights, entries, principals.administrators)
            ),
        )


@asynccontextmanager
async def _client(client_settings: Mapping[str, Any]) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(**client_settings, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await client.bootstrap()
        yield client
    except (KafkaError, TimeoutError) as error:
        raise BusUnavailable(f"the bus did not answer: {type(error).__name__}") from None
    finally:
        await client.close()


async def _entries(client: AIOKafkaClient) -> tuple[Entry, ...] | None:
    """Every entry; None where there is no authorizer."""
    everything = DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY)
    try:
        answer = await client.send(client.get_random_node(), everything)
    except IncompatibleBrokerVersion:
        return None  # the embedded bus knows no such request
    error = for_code(answer.error_code)
    if error is SecurityDisabled:
        return None
    _require_rights(error, "see")
    if answer.error_code:
        raise error
    return tuple(
        Entry(
            principal=principal,
            resource=RESOURCES.get(resource, f"resource-{resource}"),
            name=name,
            operation=OPERATIONS.get(operation, f"operation-{operation}"),
            host=host,
            is_prefix=pattern == PREFIXED,
            is_denial=permission == DENY,
        )
        for resource, name, pattern, acls in answer.resources
        for principal, host, operation, permission in acls
    )


async def _add(client: AIOKafkaClient, right: Right) -> None:
    resource, operation = _NUMBERS[right.resource], _NUMBERS[right.operation]
    pattern = PREFIXED if right.is_prefix else LITERAL
    request = CreateAclsRequest(resource, right.name, pattern, right.principal, "*", operation, ALLOW)
    [(code, _)] = (await client.send(client.get_random_node(), request)).creation_responses
    _require_rights(for_code(code), "add to")
    if code:
        raise Refused("access-refused", f"refused: the bus does not add a right: {for_code(code).__name__}")


def _require_rights(error: type[KafkaError], what: str) -> None:
    if error is ClusterAuthorizationFailedError:
        why = f"refused: the bus does not let this principal {what} the access control lists"
        raise Refused("access-refused", f"{why}; run this as a super user of the brokers")
