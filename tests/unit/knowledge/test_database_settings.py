"""The URL of the database of indexes: no password and no vector goes over a network that others can read."""

from __future__ import annotations

import pytest

from tenancy.errors import Refused
from tenancy.knowledge.database.settings import DatabaseSettings
from tenancy.platform.settings import loaded


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://sano:hush@db.example/indexes?sslmode=verify-full",
        "postgres://sano@db.example:6432/indexes?sslrootcert=system&sslmode=verify-full",
        "postgresql://sano@127.0.0.1:5432/indexes",
        "postgresql://sano@[::1]/indexes?sslmode=disable",
    ],
)
def test_a_database_is_reached_by_tls_or_on_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANO_KNOWLEDGE_DATABASE_URL", url)
    held = loaded(DatabaseSettings).knowledge_database_url
    assert held is not None
    assert held.get_secret_value() == url
    assert "sano@" not in repr(held)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://sano:hush@db.example/indexes",
        "postgresql://sano:hush@db.example/indexes?sslmode=require",
        "postgresql://sano:hush@db.example/indexes?sslmode=verify-full&sslmode=disable",
        "postgresql:///indexes?host=db.example",
        "postgresql://sano:hush@127.0.0.1/indexes?host=db.example",
        "postgresql://sano:hush@127.0.0.1/indexes?hostaddr=192.0.2.1",
        "mysql://sano:hush@127.0.0.1/indexes",
        "host=127.0.0.1 password=hush",
        "postgresql://[hush/indexes",
    ],
)
def test_another_one_is_refused_in_a_line_that_does_not_repeat_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANO_KNOWLEDGE_DATABASE_URL", url)
    with pytest.raises(Refused, match="SANO_KNOWLEDGE_DATABASE_URL: give postgresql://") as refused:
        loaded(DatabaseSettings)
    assert "hush" not in str(refused.value)
