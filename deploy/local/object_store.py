"""Serves the embedded object store: moto's S3 and KMS in a process of its own, in memory.

``python -m deploy.local.object_store --port N``
"""

from __future__ import annotations

import io
import logging
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from moto.core import serialize
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from deploy.local import version_listing
from deploy.local.ports import LOOPBACK

REMEMBERED = 10_000
WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class OneAtATime:
    """Answers requests one after the other.

    moto checks a precondition and then writes, in threads and without a lock: of several ``If-None-Match: *`` for
    one key more than one can win (4 rounds in 150 with eager thread switching), which S3 rules out. A request's
    body is read before its turn, so a slow client holds up nobody.
    """

    def __init__(self, app: WsgiApp) -> None:
        self._app = app
        self._turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        if environ.get("wsgi.input_terminated"):
            content = body.read()
        else:
            content = body.read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(content)
        environ["wsgi.input_terminated"] = True
        with self._turn:
            return self._app(environ, start_response)


def serve(port: int) -> None:
    version_listing.install()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line per request
    dispatcher = DomainDispatcherApplication(create_backend_app)
    _remember(dispatcher)
    app = OneAtATime(dispatcher)
    make_server(LOOPBACK, port, app, threaded=True, request_handler=MotoRequestHandler).serve_forever()


def _remember(dispatcher: DomainDispatcherApplication) -> None:
    """What moto finds out anew, which is a third of its time: for each request, in the folders of its modules, what
    serves it; for each object of a listing, what time its text says.
    """
    for owner, name in ((dispatcher, "get_backend_for_host"), (serialize, "parse_to_aware_datetime")):
        setattr(owner, name, lru_cache(REMEMBERED)(getattr(owner, name)))


def main() -> None:
    parser = ArgumentParser(description="S3 and KMS in memory, on 127.0.0.1 only.")
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port)


if __name__ == "__main__":
    main()
