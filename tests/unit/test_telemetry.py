"""What a process has not exported when it ends is exported then, and for no longer than a bound."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy.local.ports import LOOPBACK
from tenancy.service import telemetry
from tenancy.service.telemetry import configure_telemetry

BOUND_SECONDS = 30.0


class Collector(ThreadingHTTPServer):
    """Takes whatever comes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Taking)
        self.paths: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_address[1]}"


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.may_answer.wait(BOUND_SECONDS)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.may_answer.set()
        made.shutdown()


def test_the_last_spans_and_metrics_are_exported_at_the_end(collector: Collector) -> None:
    made = configure_telemetry("test", collector.url)
    with made.span("last", None, {}):
        made.events.add(1, {"type": "t", "outcome": "EFFECT"})
    assert collector.paths == []
    made.flush()
    assert sorted(collector.paths) == ["/v1/metrics", "/v1/traces"]


def test_a_collector_that_does_not_answer_holds_up_no_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 0.1)
    collector.may_answer.clear()
    made = configure_telemetry("test", collector.url)
    with made.span("last", None, {}):
        pass
    ending = threading.Thread(target=made.flush, daemon=True)
    ending.start()
    ending.join(BOUND_SECONDS / 3)
    assert not ending.is_alive(), "the exporter itself would go on for longer"
