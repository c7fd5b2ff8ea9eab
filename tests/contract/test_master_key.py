"""Master keys: a key file, and KMS on a real API. Both bind a data key to its tenant."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from consumers.runtime.poison import REFUSED_US
from tenancy.errors import Refused, SealBroken, StoreUnavailable
from tenancy.storage.master_keys import KeyFileMasterKey, KmsMasterKey, MasterKey

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

NewMasterKey = Callable[[], MasterKey]
KMS_REFUSED = "kms-refused"


@pytest.fixture(params=["key-file", "kms"])
def new_master_key(request: pytest.FixtureRequest, tmp_path: Path) -> NewMasterKey:
    """Makes a master key, another one with every call."""
    if request.param == "kms":
        client: KMSClient = request.getfixturevalue("kms_key_client")
        return lambda: KmsMasterKey(client, client.create_key()["KeyMetadata"]["KeyId"])

    def from_file() -> KeyFileMasterKey:
        path = tmp_path / secrets.token_hex(4)
        path.write_bytes(base64.b64encode(secrets.token_bytes(32)) + b"\n")
        path.chmod(0o600)
        return KeyFileMasterKey.read(path)

    return from_file


def test_a_wrapped_key_opens_for_its_tenant(new_master_key: NewMasterKey) -> None:
    master, data_key = new_master_key(), secrets.token_bytes(32)
    wrapped = master.wrap("t1", data_key)
    assert data_key not in wrapped
    assert master.unwrap("t1", wrapped) == data_key
    assert master.wrap("t1", data_key) != wrapped, "wrapping twice must not show that it is the same key"


@pytest.mark.parametrize("other", ["t10", "t2", "T1", "t1 ", "x"])
def test_a_wrapped_key_does_not_open_for_another_tenant(new_master_key: NewMasterKey, other: str) -> None:
    master = new_master_key()
    with pytest.raises(SealBroken):
        master.unwrap(other, master.wrap("t1", secrets.token_bytes(32)))


def test_a_wrapped_key_does_not_open_under_another_master_key(new_master_key: NewMasterKey) -> None:
    """AWS says IncorrectKeyException, a broken seal; moto 5.2.5 says AccessDeniedException, which is refused too."""
    wrapped = new_master_key().wrap("t1", secrets.token_bytes(32))
    with pytest.raises(Refused):
        new_master_key().unwrap("t1", wrapped)


def test_changed_or_shortened_bytes_do_not_open(new_master_key: NewMasterKey) -> None:
    master = new_master_key()
    wrapped = master.wrap("t1", secrets.token_bytes(32))
    for spoiled in (wrapped[:-1], wrapped[:20], wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"x"):
        with pytest.raises(SealBroken):
            master.unwrap("t1", spoiled)


def test_a_key_says_which_it_is(new_master_key: NewMasterKey) -> None:
    assert new_master_key().key_id


def test_kms_that_is_out_of_reach_is_not_taken_for_a_broken_seal() -> None:
    class Away:
        def encrypt(self, **_: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="http://kms")

        decrypt = encrypt

    master = KmsMasterKey(Away(), "k")  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        master.wrap("t1", b"k" * 32)
    with pytest.raises(StoreUnavailable):
        master.unwrap("t1", b"wrapped")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InvalidCiphertextException", SealBroken),
        ("IncorrectKeyException", SealBroken),
        ("ThrottlingException", StoreUnavailable),
        ("KMSInternalException", StoreUnavailable),
        ("KeyUnavailableException", StoreUnavailable),
        ("DependencyTimeoutException", StoreUnavailable),
        ("AccessDeniedException", KMS_REFUSED),
        ("DisabledException", KMS_REFUSED),
        ("KMSInvalidStateException", KMS_REFUSED),
        ("NotFoundException", KMS_REFUSED),
        ("UnrecognizedClientException", KMS_REFUSED),
    ],
)
@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
def test_what_kms_answers_says_whose_fault_it_is(operation: str, code: str, kind: type[Exception] | str) -> None:
    """The bytes' own, an outage, or rights and the state of the key: for those no event may be judged."""

    class Answering:
        def decrypt(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": code, "Message": "canary-8841"}}, "Decrypt")

        encrypt = decrypt

    master = KmsMasterKey(Answering(), "k")  # type: ignore[arg-type]
    with pytest.raises((Refused, StoreUnavailable)) as raised:
        getattr(master, operation)("t1", b"k" * 32)
    if kind == KMS_REFUSED:
        assert isinstance(raised.value, Refused)
        assert raised.value.code == kind in REFUSED_US
    else:
        assert type(raised.value) is kind
    assert "canary" not in str(raised.value)
    assert raised.value.__suppress_context__, "the log of a traceback would print what KMS said"


def test_the_client_waits_a_bounded_time_and_tries_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    settings: Any = KmsMasterKey.connect("k", 7.0).client.meta.config
    assert (settings.connect_timeout, settings.read_timeout) == (7.0, 7.0)
    assert settings.retries["total_max_attempts"] == 3


# --- key files


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(base64.b64encode(bytes(32)))
    for mode in (0o644, 0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(Refused, match="chmod 600"):
            KeyFileMasterKey.read(path)


@pytest.mark.parametrize("content", [b"", b"not base64!", base64.b64encode(bytes(31)), base64.b64encode(bytes(33))])
def test_a_file_that_is_no_key_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Refused, match="32 bytes in base64") as refused:
        KeyFileMasterKey.read(path)
    assert not content or content.decode() not in str(refused.value)


def test_a_missing_key_file_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="SANO_MASTER_KEY_FILE"):
        KeyFileMasterKey.read(tmp_path / "none")
