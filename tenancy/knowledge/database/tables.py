"""Defines the tables of one tenant's index: a schema of its own, which no other tenant's question can name.

``head`` has one row: the digest of the set that the tables hold (null: they lack documents of it), whose vectors they
are, and what a ranking by words needs of all passages together. ``words`` says how many passages hold a term.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from psycopg.sql import SQL, Composed, Identifier, Literal

from tenancy.knowledge.database.connection import Cursor, Database
from tenancy.tenant_id import TenantId

PREFIX = "sano_"
INDEXED_DIMENSIONS = 4000
"""pgvector makes a graph of vectors of up to so many numbers; longer ones are all compared."""
DROP_SECONDS = 30.0

_TABLES = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.head (
    digest text, embedder text NOT NULL, is_built boolean NOT NULL, passages bigint NOT NULL, words float8 NOT NULL
);
CREATE TABLE {schema}.documents (
    id integer PRIMARY KEY, name text NOT NULL, version bigint NOT NULL, begins timestamptz, ends timestamptz,
    title bytea NOT NULL, passages integer NOT NULL, words bigint NOT NULL, UNIQUE (name, version)
);
CREATE TABLE {schema}.passages (
    id bigint PRIMARY KEY, document integer NOT NULL REFERENCES {schema}.documents ON DELETE CASCADE,
    vector halfvec({dimensions}), terms bigint[] NOT NULL, counts smallint[] NOT NULL, words integer NOT NULL,
    sealed bytea NOT NULL
);
ALTER TABLE {schema}.passages ALTER vector SET STORAGE EXTERNAL, ALTER sealed SET STORAGE EXTERNAL,
    ALTER terms SET STORAGE MAIN, ALTER counts SET STORAGE MAIN;
CREATE INDEX ON {schema}.passages (document);
CREATE TABLE {schema}.words (term bigint PRIMARY KEY, passages bigint NOT NULL);
INSERT INTO {schema}.head VALUES (NULL, {embedder}, false, 0, 0);
"""
_LISTS = "CREATE INDEX ON {schema}.passages USING gin (terms)"
_GRAPH = "CREATE INDEX ON {schema}.passages USING hnsw (vector halfvec_cosine_ops)"


@dataclass(frozen=True)
class Tables:
    """The tables of one tenant. Statements name the schema as ``{schema}`` and no other."""

    tenant: TenantId

    @property
    def schema(self) -> str:
        """Of a tenant's id its digest: an id may be as long as a name in PostgreSQL, which cuts off what is longer."""
        return PREFIX + hashlib.sha256(self.tenant.encode()).hexdigest()[:32]

    def sql(self, statement: str, **values: object) -> Composed:
        named = {name: value if isinstance(value, SQL) else Literal(value) for name, value in values.items()}
        return SQL(statement).format(schema=Identifier(self.schema), **named)

    async def lock(self, cursor: Cursor) -> None:
        """Wait until nobody else changes the tables, until the end of the transaction."""
        number = int.from_bytes(hashlib.sha256(self.schema.encode()).digest()[:8], "big", signed=True)
        await cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])

    async def exist(self, cursor: Cursor) -> bool:
        await cursor.execute("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)", [self.schema])
        [(found,)] = await cursor.fetchall()
        return bool(found)

    async def create(self, cursor: Cursor, embedder: str, dimensions: int) -> None:
        await cursor.execute(self.sql(_TABLES, embedder=embedder, dimensions=dimensions))

    async def index(self, cursor: Cursor, dimensions: int) -> None:
        """Index the passages that are there, which is several times as fast as one by one; later ones are added."""
        await cursor.execute("SELECT set_config('statement_timeout', '0', true)")
        await cursor.execute(self.sql(_LISTS))
        if dimensions <= INDEXED_DIMENSIONS:
            await cursor.execute(self.sql(_GRAPH))


async def dropped(database: Database, tenant: TenantId) -> None:
    """Drop the tenant's index. Whoever fills it holds the lock, and nobody does for a tenant that is fenced."""
    tables = Tables(tenant)
    async with database.transaction(DROP_SECONDS) as cursor:
        await tables.lock(cursor)
        await cursor.execute(tables.sql("DROP SCHEMA IF EXISTS {schema} CASCADE"))


async def schemas(database: Database) -> set[str]:
    """Those of all tenants that have an index, as :attr:`Tables.schema` names them."""
    async with database.transaction(DROP_SECONDS) as cursor:
        await cursor.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [PREFIX])
        return {name for (name,) in await cursor.fetchall()}


async def held(database: Database, tenant: TenantId) -> tuple[int, int] | None:
    """How many passages the tenant's index has, and the bytes of its tables; None where there is no index."""
    tables = Tables(tenant)
    async with database.transaction(DROP_SECONDS) as cursor:
        await tables.lock(cursor)
        if not await tables.exist(cursor):
            return None
        await cursor.execute(tables.sql("SELECT count(*) FROM {schema}.passages"))
        [(passages,)] = await cursor.fetchall()
        return int(passages), await _bytes(cursor, tables)


async def stored_bytes(database: Database, tenant: TenantId) -> int:
    """The bytes of the tenant's tables and indexes, 0 where there are none. It needs no right on them."""
    async with database.transaction(DROP_SECONDS) as cursor:
        return await _bytes(cursor, Tables(tenant))


async def _bytes(cursor: Cursor, tables: Tables) -> int:
    await cursor.execute(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'",
        [tables.schema],
    )
    [(size,)] = await cursor.fetchall()
    return int(size)
