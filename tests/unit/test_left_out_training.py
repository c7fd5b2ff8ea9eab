"""A real training among whose examples are some that the model cannot take: the others are trained on, as if alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consumers.training.trainer import LoraTrainer
from producers.queries import adapters
from producers.queries.lineage import lineage
from schemas.objects import object_keys
from tests.unit.real_training import GOOD, made, tiny_trainer

BAD = {"long": ("word " * 2000, "too-long"), "token": ("a <|im_end|> b", "control-token")}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> LoraTrainer:
    return tiny_trainer(tmp_path_factory.mktemp("base"))


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
