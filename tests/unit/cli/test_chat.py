"""``sano chat``: asked as the tenant, and only the answer is printed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tenancy.tokens import TokenVerifier
from tests.unit.cli.command import TENANT, UNUSED_PORT, Sano, error_line, shape
from tests.unit.operator_parts import Parts, publish_adapter


class _Inference(BaseHTTPRequestHandler):
    """Answers as the serving API does, with the caller's model and tenant in the text."""

    verifier: TokenVerifier

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tenant = self.verifier.tenant(self.headers["Authorization"].removeprefix("Bearer "))
        if body["model"] == "base":
            return self._send(404, {"error": {"message": "no such\nmodel"}}, "base")
        text = f"{tenant} {body['model'][:6]} {body['max_tokens']} {body['temperature']}"
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        return self._send(200, {"choices": [{"message": {"content": text}}], "usage": usage}, "d" * 64)

    def _send(self, status: int, body: dict[str, Any], adapter: str) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("X-Sano-Adapter", adapter)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def inference_url(parts: Parts) -> Iterator[str]:
    handler = type("Handler", (_Inference,), {"verifier": TokenVerifier(parts.keys.trust)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_chat_asks_as_the_tenant_and_prints_only_the_answer(sano: Sano, parts: Parts, inference_url: str) -> None:
    result = sano("chat", "--tenant", "t1", "--max-tokens", "9", "a question", inference_url=inference_url)
    assert (result.exit_code, result.stdout) == (0, "t1 active 9 0\n")
    assert f"answered by {'d' * 64}" in result.stderr
    digest = asyncio.run(publish_adapter(parts, TENANT))
    answer = shape(sano("chat", "--tenant", "t1", "--model", digest[:8], "q", "--json", inference_url=inference_url))
    assert answer == {
        "text": f"t1 {digest[:6]} 128 0",
        "adapter": "d" * 64,
        "prompt_tokens": 3,
        "completion_tokens": 4,
    }


def test_what_inference_refuses_is_said_in_one_line(sano: Sano, inference_url: str) -> None:
    refused = sano("chat", "--tenant", "t1", "--model", "base", "a question", inference_url=inference_url)
    line = error_line(refused, 1)
    assert "inference answered 404: no such model" in line
    assert "a question" not in line
    unreachable = sano("chat", "--tenant", "t1", "q", inference_url=f"http://{UNUSED_PORT}")
    assert "did not answer (ConnectError); try again" in error_line(unreachable, 1)


def test_without_the_private_key_it_says_what_cannot_be_done_and_why(sano: Sano, inference_url: str) -> None:
    for command in (["chat", "--tenant", "t1", "a question"], ["tenant", "token", "t1"]):
        refused = sano(*command, token_key=None, inference_url=inference_url)
        why = "refused: without a private key no token can be signed; set SANO_TOKEN_KEY"
        assert why in error_line(refused, 1)
