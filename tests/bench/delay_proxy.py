"""A store's requests, each delayed as on the way to a region's bucket: ``python -m tests.bench.delay_proxy``.

Connections are served side by side, and so are the requests on them: each waits by itself before it goes on to the
store. ``GET /bench/requests`` is answered by the proxy itself, with how many requests it has passed on.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Callable
from functools import partial

LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
ASKED = b"GET /bench/requests "
HEAD_BYTES = 2**20
BACKLOG = 1024  # a client may open all its connections in one moment


class Proxy:
    def __init__(self, upstream: tuple[str, int], seconds: float) -> None:
        self.upstream = upstream
        self.seconds = seconds
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_store: asyncio.StreamWriter | None = None
        answers: asyncio.Task[None] | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(ASKED):
                    body = str(self.requests).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    await writer.drain()
                    continue
                if to_store is None:
                    from_store, to_store = await asyncio.open_connection(*self.upstream, limit=HEAD_BYTES)
                    answers = asyncio.create_task(_passed_on(from_store, writer))
                self.requests += 1
                await asyncio.sleep(self.seconds)
                to_store.write(head)
                found = LENGTH.search(head)
                if found and int(found[1]):
                    to_store.write(await reader.readexactly(int(found[1])))
                await to_store.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if answers is not None:
                answers.cancel()
            for open_one in (to_store, writer):
                if open_one is not None:
                    open_one.close()


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers go back as they come, those of ``Expect: 100-continue`` too."""
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def run(port: int, upstream: tuple[str, int], seconds: float, ready: Callable[[], None] = lambda: None) -> None:
    proxy = Proxy(upstream, seconds)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=HEAD_BYTES, backlog=BACKLOG)
    ready()
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="delays each request to an object store on 127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream-port", type=int, required=True)
    parser.add_argument("--milliseconds", type=float, required=True)
    given = parser.parse_args()
    work = partial(run, given.port, ("127.0.0.1", given.upstream_port), given.milliseconds / 1000)
    asyncio.run(work())


if __name__ == "__main__":
    main()
