"""Defines where the database of indexes is, which every process that fills, searches or drops one needs."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from schemas.base.addresses import is_loopback
from tenancy.errors import Refused
from tenancy.platform.settings import FROM_ENVIRONMENT


class DatabaseSettings(BaseSettings):
    """PostgreSQL with pgvector, for tenants whose policy says so. One for a whole installation."""

    model_config = FROM_ENVIRONMENT

    knowledge_database_url: SecretStr | None = Field(
        default=None,
        description="postgresql:// URL for the indexes of tenants whose policy says `knowledge_index: postgres`; with "
        "sslmode=verify-full, or of a loopback address",
    )

    @field_validator("knowledge_database_url")
    @classmethod
    def _is_private_way(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None and not _is_good(given.get_secret_value()):
            shape = "postgresql://user:password@host/database?sslmode=verify-full; a loopback address needs no sslmode"
            raise PydanticCustomError("address", "give {shape}", {"shape": shape})
        return given


def _is_good(url: str) -> bool:
    try:
        parts, host = urlsplit(url), urlsplit(url).hostname
    except ValueError:
        return False
    options = parse_qs(parts.query)
    if parts.scheme not in ("postgresql", "postgres") or not host or {"host", "hostaddr"} & options.keys():
        return False  # an option would name another host than the one that is looked at here
    return is_loopback(url) or options.get("sslmode") == ["verify-full"]


def no_database() -> Refused:
    """Refuses what needs the database where none is set."""
    why = "refused: an index in PostgreSQL needs its database; set SANO_KNOWLEDGE_DATABASE_URL"
    return Refused("no-knowledge-database", why)
