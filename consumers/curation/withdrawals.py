"""Opens withdrawals: writes the note from which ``consumers.adapters`` retires adapters.

The note is the last effect but the erasing of texts, after record and swap, and that order is what a receipt stands on.
A worker that may have read the example as eligible read the state before the record was written. After the swap it can
publish no more without looking at the records again, since ``eligibility_version`` is not what it was and never will
be. So whatever can still be published with the example was published before the swap, and the reconciler, which reads
the state after it found the note, sees it. With the swap before the record, a worker that froze its set in between
would take the example for one that the swap left eligible.
"""

from __future__ import annotations

from datetime import timedelta

from schemas.bus.envelope import Event
from schemas.bus.events import ConsentRevoked, ExampleWithdrawn
from schemas.objects import object_keys
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.platform.tracing import current_trace
from tenancy.state.open_work import announce
from tenancy.state.tenant_work import TenantWork
from tenancy.storage.tenant_store import TenantStore


async def is_noted(store: TenantStore, event: Event) -> bool:
    """Whether an earlier delivery of the event got as far as the note.

    Open is asked first: a withdrawal that is closed in between is closed before it stops being open.
    """
    is_open = await store.exists(object_keys.open_withdrawal(event.id))
    return is_open or await store.exists(object_keys.closed_withdrawal(event.id))


async def note(work: TenantWork, event: Event[ExampleWithdrawn | ConsentRevoked]) -> None:
    """Note the withdrawal, with the deadline that the policy of this moment promises.

    A late repetition after it was closed opens it again, which comes to the same end. Whoever withdrew may have a clock
    that is ahead: a withdrawal from the future would move its deadline there.
    """
    data = event.data
    withdrawn_at = min(event.time, work.outbox.clock())
    record = WithdrawalRecord(
        withdrawal_id=event.id,
        example_id=data.example_id if isinstance(data, ExampleWithdrawn) else None,
        consent_id=data.consent_id if isinstance(data, ConsentRevoked) else None,
        withdrawn_at=withdrawn_at,
        deadline=withdrawn_at + timedelta(days=work.state.policy.retrain_within_days),
        traceparent=current_trace(),
    )
    await announce(work.store.objects, "withdrawals", work.tenant)
    await work.store.put_if_absent(object_keys.open_withdrawal(event.id), record)
