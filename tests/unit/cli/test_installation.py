"""What the command says of the installation it is used with, and what it loads to say it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.unit.cli.command import UNUSED_PORT, Sano


def test_the_doctor_says_what_is_wrong_and_what_to_do(sano: Sano) -> None:
    result = sano("doctor", "--json")
    assert result.exit_code == 1
    checks = {check["part"]: check for check in json.loads(result.stdout)}
    assert list(checks) == ["settings", "object store", "master key", "signing keys", "bus", "inference"]
    assert [part for part, check in checks.items() if check["ok"]] == ["settings", "signing keys"]
    assert "SANO_KAFKA_BOOTSTRAP_SERVERS" in checks["bus"]["remedy"]


class _Health(BaseHTTPRequestHandler):
    """A replica's health routes."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return None


def test_the_doctor_asks_the_port_of_the_health_routes_and_not_the_api(sano: Sano) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        result = sano("doctor", "--json", inference_health_url=url, inference_url=f"http://{UNUSED_PORT}")
    finally:
        server.shutdown()
        server.server_close()
    asked = next(check for check in json.loads(result.stdout) if check["part"] == "inference")
    assert (asked["ok"], asked["detail"]) == (True, f"{url} is ready")


def test_status_of_a_folder_without_a_stack_says_how_to_start_one(sano: Sano) -> None:
    result = sano("status")
    assert (result.exit_code, result.stdout) == (1, "the local stack is not up; run `sano up`\n")
    assert json.loads(sano("status", "--json").stdout) == {"up": False, "processes": []}
    assert sano("down").stdout == "nothing was running\n"


def test_the_command_starts_without_the_parts_that_only_some_commands_need() -> None:
    heavy = ("boto3", "aiokafka", "pydantic", "httpx", "cryptography", "rich", "torch", "faststream")
    code = f"import sys, producers.cli.main; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
