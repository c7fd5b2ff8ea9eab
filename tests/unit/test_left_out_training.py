"""A real training among whose examples are some that the model cannot take: the others are trained on, as if alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.training.trainer import LoraTrainer
from consumers.training.worker import Worker
from producers.queries import adapters
from producers.queries.lineage import lineage
from schemas.bus import events
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.unit.tiny_training import BASE_NAME, THREE_STEPS, build_tiny_base, load_tokenizer
from tests.world.world import World

GOOD = tuple(f"e{number}" for number in range(4))
BAD = {"long": ("word " * 2000, "too-long"), "token": ("a <|im_end|> b", "control-token")}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> LoraTrainer:
    folder = tmp_path_factory.mktemp("base")
    return LoraTrainer(str(build_tiny_base(folder / "tiny", load_tokenizer()).path), BASE_NAME, folder)


class Real(World):
    """A world whose workers train for real."""

    real: LoraTrainer

    async def worker(self, tenant: TenantId) -> Worker:
        worker = await super().worker(tenant)
        worker.trainer = self.real
        return worker


async def made(scratch: Path, trainer: LoraTrainer, bad: dict[str, tuple[str, str]], **policy: Any) -> Any:
    """The world after a run on the good examples and the bad ones, and the tenant's run."""
    world = Real(scratch)
    world.real = trainer
    held = {"min_new_examples": 100, "min_training_examples": 2, "hyperparameters": THREE_STEPS, **policy}
    tenant = await world.onboard("t1", TenantPolicy.model_validate(held))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for name in GOOD:
        await world.publish(tenant, await world.approval(tenant, name))
    for name, (text, _) in bad.items():
        await world.publish(tenant, await world.approval(tenant, name, text=text))
    await world.settle()
    await world.publish(tenant, events.TrainingRequested(run_id="r1", trigger="operator"))
    await world.settle()
    return world, tenant, (await world.state(tenant)).runs["r1"]


async def test_examples_that_the_model_cannot_take_are_left_out_and_named(tmp_path: Path, trainer: LoraTrainer) -> None:
    world, tenant, run = await made(tmp_path, trainer, BAD)
    assert (run.status, run.attempts, run.reason_code) == ("completed", 1, None)
    found = await lineage(world.outside, tenant, run.adapter_digest, world.keys.trust)
    assert tuple(example.example_id for example in found.examples) == GOOD
    left_out = [(name, 1, code) for name, (_, code) in sorted(BAD.items())]
    assert [(each.example_id, each.version, each.code) for each in found.left_out] == left_out
    [view] = await adapters.runs(world.outside, tenant)
    assert view.left_out == found.left_out
    assert not any(text in json.dumps(view.model_dump(mode="json")) for text, _ in BAD.values())


async def test_what_is_left_out_has_no_part_in_the_weights(tmp_path: Path, trainer: LoraTrainer) -> None:
    weights = []
    for number, bad in enumerate((BAD, {})):
        world, tenant, run = await made(tmp_path / str(number), trainer, bad)
        store = await world.outside.store(tenant)
        weights.append(await store.get(object_keys.adapter(run.adapter_digest, object_keys.ADAPTER_WEIGHTS)))
    assert weights[0][0] == weights[1][0]
