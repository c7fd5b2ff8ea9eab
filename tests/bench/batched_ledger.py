"""The peer of ``ledger_events``: the batched loop, entering what it reads in the tenants' audit logs.

For each tenant of a batch it reads state, key and the log's head side by side, puts the claims of all entries side by
side, then one object with all entries, hash-chained and in canonical form as ours are, then the head. It confirms
nothing, finds no repetition, goes on after no lost race, and signs nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from datetime import UTC, datetime
from typing import Any

import rfc8785
from botocore.exceptions import ClientError

from schemas.evidence.audit import body_sha256, genesis
from tenancy.audit.pseudonyms import Pseudonyms
from tests.bench.batched_loop import Approval, Attributes, Loop, main


class LedgerLoop(Loop):
    consumer = "ledger"

    async def handle(self, tenant: str, approvals: list[Approval]) -> list[tuple[Attributes, dict[str, Any]]]:
        log = f"audit/{tenant}"
        (state, _), (key, _), (head, etag) = await asyncio.gather(
            self.get(f"registry/{tenant}/state.json"), self.get(f"registry/{tenant}/key.json"), self._head(tenant)
        )
        if json.loads(state)["status"] != "active":
            raise RuntimeError("the benchmark's tenants are active")
        data_key = self.master.unwrap(tenant, base64.b64decode(json.loads(key)["wrapped_data_key"]))
        names, position, lines = Pseudonyms.derived(data_key), head["seq"] + 1, []
        tags = [secrets.token_hex(16) for _ in approvals]
        await asyncio.gather(
            *(
                self.put(
                    f"{log}/claims/{approval.event['ce_id']}",
                    json.dumps({"tag": tag, "position": position}).encode(),
                    IfNoneMatch="*",
                )
                for approval, tag in zip(approvals, tags, strict=True)
            )
        )
        for approval, tag in zip(approvals, tags, strict=True):
            head["seq"] += 1
            lines.append(rfc8785.dumps(_entry(tenant, approval, tag, head, names)))
            head["entry_sha256"] = body_sha256(lines[-1])
        await self.put(f"{log}/entries/{position:012d}", b"\n".join(lines), IfNoneMatch="*")
        head["moved_at"] = datetime.now(UTC).isoformat()
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        await self.put(f"{log}/head.json", json.dumps(head).encode(), **condition)
        return []

    async def _head(self, tenant: str) -> tuple[dict[str, Any], str]:
        try:
            body, etag = await self.get(f"audit/{tenant}/head.json")
        except ClientError:
            return {"seq": 0, "entry_sha256": genesis(tenant), "checkpoint": None}, ""
        return json.loads(body), etag


def _entry(tenant: str, approval: Approval, tag: str, head: dict[str, Any], names: Pseudonyms) -> dict[str, Any]:
    data, event = approval.data, approval.event
    return {
        "format": "sanolith.audit.v1",
        "tenant": tenant,
        "seq": head["seq"],
        "previous": head["entry_sha256"],
        "tag": tag,
        "kind": "example.approved",
        "time": event["ce_time"],
        "recorded_at": datetime.now(UTC).isoformat(),
        "recorded_while": "active",
        "actor": {"role": "reviewer", "id": names.of("reviewer", data["reviewer_id"])},
        "facts": {
            "version": data["version"],
            "example": names.of("example", data["example_id"]),
            "consent": names.of("consent", data["consent_id"]),
            "commitment": data["content"]["commitment"],
        },
    }


if __name__ == "__main__":
    main(LedgerLoop)
