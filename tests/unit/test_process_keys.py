"""Each process has the private keys that it signs with, and no others: in its settings, and in its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumers.adapters.settings import AdaptersSettings
from consumers.knowledge.settings import KnowledgeSettings
from consumers.ledger.settings import LedgerSettings
from consumers.purge.settings import PurgeSettings
from consumers.runtime.settings import ConsumerSettings
from consumers.training.settings import TrainingSettings
from deploy.local.services import SERVICES, Folders, Service, service_command, service_environment
from inference.settings import InferenceSettings
from producers.operations.trust_admin import ensure_keys
from producers.review_page.settings import ReviewPageSettings
from producers.settings import OperatorSettings
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_PUBLIC_FILE, SIGNS, TRUST_FILE, key_file
from tenancy.bootstrap import process_keys, signer
from tenancy.errors import Refused
from tenancy.platform.settings import PlatformSettings
from tests.unit.stack_parts import stack_of

SETTINGS: dict[str, type[PlatformSettings]] = {
    "operators": OperatorSettings,
    "curation": ConsumerSettings,
    "training": TrainingSettings,
    "adapters": AdaptersSettings,
    "export": ConsumerSettings,
    "knowledge": KnowledgeSettings,
    "purge": PurgeSettings,
    "ledger": LedgerSettings,
    "inference": InferenceSettings,
    "review": ReviewPageSettings,
}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / ".sano")
    ensure_keys(made.keys)
    return made


@pytest.mark.parametrize("who", SIGNS)
def test_a_process_can_be_told_of_the_keys_that_it_signs_with_and_of_no_others(who: str) -> None:
    fields = {name for name in SETTINGS[who].model_fields if name in {f"{purpose}_key" for purpose in Purpose}}
    assert fields == {f"{purpose}_key" for purpose in SIGNS[who]}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_environment_of_a_process_holds_its_own_keys_and_no_others(service: Service, folders: Folders) -> None:
    """Also where the shell that started the stack knows every key."""
    private = {str(path): path.read_text() for path in folders.keys.glob("*.pem") if ".pub" not in path.name}
    shell = {f"SANO_{p}_KEY".upper(): str(key_file(folders.keys, p, "operators")) for p in Purpose}
    shell["SANO_TRUST_ROOT_KEY"] = str(folders.keys / "root.pem")
    shared = service_environment(shell, stack_of(folders), embedded_store=False)
    environment = service_command(service, 8081, shared, folders).env
    named = {value for value in environment.values() if value in private}
    assert named == {str(key_file(folders.keys, purpose, service.name)) for purpose in SIGNS[service.name]}
    assert not [text for text in private.values() if text in "".join(environment.values())]


def test_a_replica_has_the_keys_for_receipts_and_its_own_events_and_can_sign_nothing_else(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference = next(service for service in SERVICES if service.name == "inference")
    environment = service_command(
        inference, 8081, service_environment({}, stack_of(folders), embedded_store=False), folders
    ).env
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = InferenceSettings()
    held = process_keys(settings, *SIGNS["inference"])
    assert set(held.signers) == {Purpose.RECEIPT, Purpose.EVENT}
    for purpose in set(Purpose) - set(SIGNS["inference"]):
        with pytest.raises(Refused, match="has no key for"):
            held.signer(purpose)
        with pytest.raises(Refused, match="without a private key"):
            signer(settings, purpose)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_key_in_the_place_of_another_ends_the_start_in_one_line(
    purpose: Purpose, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OperatorSettings, "model_config", {**OperatorSettings.model_config, "extra": "allow"})
    for other in set(Purpose) - {purpose}:
        wrong = str(key_file(folders.keys, other, "operators"))
        named: dict[str, Any] = {f"{purpose}_key": wrong, "trust_file": folders.keys / TRUST_FILE}
        named |= {"trust_root_file": folders.keys / ROOT_PUBLIC_FILE, "trust_seconds": 10.0}
        settings = OperatorSettings.model_construct(**named)
        with pytest.raises(Refused, match=f"SANO_{purpose.upper()}_KEY gives is a key for {other}s") as refused:
            signer(settings, purpose)
        assert "\n" not in str(refused.value)
