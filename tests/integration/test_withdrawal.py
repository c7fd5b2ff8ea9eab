"""A withdrawal after training, on real Kafka, the real consumers and a real training: from the event to the receipt.

One of the tenant's examples is too long for the model all the while.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.commands.onboarding import onboard
from producers.queries import adapters, withdrawals
from schemas.bus import events
from schemas.objects import object_keys
from schemas.objects.training import TrainingSet
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import trust
from tenancy.evidence.verification import verify_file
from tenancy.tenant_id import TenantId
from tests.fixtures.history import approvals
from tests.fixtures.platform import Platform, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TENANT = TenantId("withdrawn-from")
ONE_STEP = Hyperparameters(r=8, max_steps=1, per_device_train_batch_size=2, heldout_fraction=0.0)
POLICY = TenantPolicy(min_new_examples=4, min_training_examples=2, hyperparameters=ONE_STEP, on_withdrawal="retrain")


async def test_the_adapter_is_replaced_by_one_without_the_example_and_erased(
    platform: Platform, tmp_path: Path
) -> None:
    async with platform.tenancy() as tenancy:
        await onboard(tenancy, TENANT, POLICY)
        await tenancy.outbox.publish(TENANT, events.ConsentGranted(consent_id="c-1", version=1))
        too_long = await approvals(tenancy, TENANT, 1, start=9, words=500)
        for approval in (*await approvals(tenancy, TENANT, 3), *too_long):
            await tenancy.outbox.publish(TENANT, approval)

        async def active() -> str | None:
            return (await tenancy.states.read(TENANT)).state.active_adapter

        old = await eventually(active, "the first adapter is active")
        withdrawn = events.ExampleWithdrawn(example_id="example-1", reason_code="patient-request")
        # Twice, as after a redelivery: it is one withdrawal.
        await tenancy.outbox.publish(TENANT, withdrawn)
        await tenancy.outbox.publish(TENANT, withdrawn)

        async def closed() -> withdrawals.WithdrawalView | None:
            views = (await withdrawals.withdrawals(tenancy, TENANT)).views
            return next((view for view in views if view.step == "closed"), None)

        view = await eventually(closed, "the withdrawal is closed")
        assert len((await withdrawals.withdrawals(tenancy, TENANT)).views) == 1
        assert (view.of, view.outcome, view.affected) == ("example example-1", "retired", (old,))
        state = (await tenancy.states.read(TENANT)).state
        new = state.active_adapter
        assert new is not None and new != old and view.replacement == new
        store = await tenancy.store(TENANT)
        used, _ = await store.get_record(object_keys.training_set(state.adapters[new].training_set_id), TrainingSet)
        assert {entry.example_id for entry in used.entries} == {"example-0", "example-2"}
        runs = await adapters.runs(tenancy, TENANT)
        assert [run.adapter_digest for run in runs] == [old, new]
        for run in runs:
            assert [(each.example_id, each.code) for each in run.left_out] == [("example-9", "too-long")]
        prefix = object_keys.tenant_area(TENANT, "adapters", old)
        left = [version.key.removeprefix(prefix) async for version in tenancy.objects.versions(prefix)]
        assert left == [object_keys.ADAPTER_MANIFEST], "every version of its weights is gone"
        receipt = tmp_path / "receipt.json"
        receipt.write_bytes(await withdrawals.withdrawal_receipt(tenancy, TENANT, view.withdrawal_id))
        verdict = verify_file(receipt, trust(platform.settings))
        assert (verdict.facts["outcome"], verdict.facts["adapters"]) == ("retired", old)
