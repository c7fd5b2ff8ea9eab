"""Connects to the database of indexes. Errors quote nothing of what was asked or stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import IdleInTransactionSessionTimeout
from psycopg_pool import AsyncConnectionPool

from tenancy.errors import Outage, Transient
from tenancy.knowledge.database.settings import DatabaseSettings

CONNECTIONS = 8
"""Of one process: so many questions are searched for at once, and further ones wait."""
CONNECT_SECONDS = 3
WAIT_SECONDS = 3.0
"""For a connection, in which the pool tries again to make one."""
SETTINGS = {
    "hnsw.ef_search": "400",  # how far a search goes through the graph
    "hnsw.iterative_scan": "strict_order",  # it goes on where what it finds is filtered out
    "idle_in_transaction_session_timeout": "60s",  # of a process that hangs, or is cut off: it may hold a lock
}
"""Of each transaction."""

Cursor = AsyncCursor[tuple[Any, ...]]


class DatabaseFailed(Transient):
    """The database answered by an error."""


class DatabaseUnavailable(DatabaseFailed, Outage):
    """The database did not answer, or not in time."""


class Database:
    """A pool of connections, none of which is made before it is needed."""

    def __init__(self, url: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self._pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]](
            url,
            min_size=0,
            max_size=CONNECTIONS,
            open=False,
            timeout=wait_seconds,
            check=AsyncConnectionPool.check_connection,
            # Plans are made for the values that are asked with, and poolers that share connections are no obstacle.
            kwargs={"connect_timeout": CONNECT_SECONDS, "prepare_threshold": None},
        )

    async def __aenter__(self) -> Database:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, seconds: float, *, reading: bool = False) -> AsyncIterator[Cursor]:
        """One transaction, no statement of which takes longer than ``seconds`` (0: however long). ``reading``: all of
        it sees what was committed at its beginning.

        Raises :class:`DatabaseUnavailable`, and :class:`DatabaseFailed`.
        """
        try:
            async with self._pool.connection() as connection, connection.cursor() as cursor:
                if reading:
                    await cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                given = {**SETTINGS, "statement_timeout": f"{seconds * 1000:.0f}"}
                values = [part for pair in given.items() for part in pair]
                await cursor.execute(f"SELECT {', '.join(['set_config(%s, %s, true)'] * len(given))}", values)
                yield cursor
        except (psycopg.OperationalError, IdleInTransactionSessionTimeout) as error:
            raise DatabaseUnavailable(f"the database of indexes did not answer ({type(error).__name__})") from None
        except psycopg.Error as error:
            raise DatabaseFailed(f"the database of indexes answered by an error ({type(error).__name__})") from None

    async def version(self) -> tuple[str, str | None]:
        """The server's version and that of its extension pgvector, None where it is not created."""
        async with self.transaction(CONNECT_SECONDS) as cursor:
            await cursor.execute(
                "SELECT current_setting('server_version'), "
                "(SELECT extversion FROM pg_extension WHERE extname = 'vector')"
            )
            [found] = await cursor.fetchall()
            return str(found[0]), None if found[1] is None else str(found[1])


@asynccontextmanager
async def opened(settings: DatabaseSettings) -> AsyncIterator[Database | None]:
    """The installation's database; None where none is set."""
    url = settings.knowledge_database_url
    if url is None:
        yield None
        return
    async with Database(url.get_secret_value()) as database:
        yield database
