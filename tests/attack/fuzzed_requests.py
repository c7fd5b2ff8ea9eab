"""Requests to the replica's routes, drawn from a seed and a number: the same pair is always the same request.

Two sources say which fields there are: our own table of allowed ones, with values at their bounds, and the schemas of
vLLM's request models, of which most are to be refused.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from inference.api.responses_asked import FIELDS
from inference.engine import field_checks
from inference.engine.config import EngineConfig, prepare_environment
from tests.attack.odd_values import odd, of_schema, raw, text, written
from tests.attack.wire import request

Auth = tuple[str, str]
Value = Callable[[Random, str], Any]

TOKENS_AT_MOST = 3
ROUTES = ("chat/completions", "completions")


def one_of(*values: Any) -> Value:
    return lambda rng, _: rng.choice(values)


def _messages(rng: Random, marker: str) -> Any:
    content: Any = rng.choice((marker, [{"type": "text", "text": marker}], "", [], [{"type": "image_url"}], 7))
    roles = ("system", "developer", "user", "assistant", "tool", "function", marker)
    message = {"role": rng.choice(roles), "content": content}
    if rng.random() < 0.3:
        name = rng.choice(("name", "tool_calls", "refusal", "reasoning", "audio", "prefix", marker))
        message[name] = odd(rng, marker)
    return [dict(message) for _ in range(rng.choice((1, 1, 2, 5, 60)))]


def _input(rng: Random, marker: str) -> Any:
    """Items of a response's input, in any order: messages, calls and their outputs."""
    call = {"type": "function_call", "call_id": "c1", "name": rng.choice(("f", marker)), "arguments": '{"a": 1}'}
    items = (
        {"role": rng.choice(("user", "assistant", "system", "tool", marker)), "content": marker},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": marker}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": marker}]},
        call,
        {**call, "arguments": rng.choice((marker, "{", 7, "[]"))},
        {"type": "function_call_output", "call_id": rng.choice(("c1", marker, 7)), "output": marker},
        {"type": rng.choice(("reasoning", "item_reference", marker)), "id": marker},
        odd(rng, marker),
    )
    return [rng.choice(items) for _ in range(rng.choice((1, 1, 2, 5, 60)))]


def _prompt(rng: Random, marker: str) -> Any:
    return rng.choice(
        (
            *(marker, [marker], [marker] * 8, [marker] * 9, [1, 2, 3], [[1, 2], [3]], [[]], [marker, [1]], [1, marker]),
            *([49_151], [49_152], [2**31 - 1], [-1], [1] * 600, marker * 400, "", [""], [True], [1.0], " "),
        )
    )


def _biases(rng: Random, marker: str) -> Any:
    tokens = ("0", "17", "49151", "49152", "2147483647", "-1", "1.0", "\u0661", marker)
    count = rng.choice((1, 3, 300, 301))
    return {rng.choice(tokens) if n < 3 else str(n): rng.choice((0, 1, -100, 100, 101, None)) for n in range(count)}


def _schema(rng: Random, marker: str) -> Any:
    """A JSON schema that is right, wrong, or hard on a compiler."""
    deep: dict[str, Any] = {}
    for _ in range(rng.choice((3, 11, 12, 40, 400))):
        deep = {"items": deep}
    return rng.choice(
        (
            {"type": "object", "properties": {marker: {"type": "integer"}}, "required": [marker]},
            {"type": "array", "items": {"enum": [marker, 1, None]}, "minItems": 2, "maxItems": 3},
            {"$ref": "#"},
            {"$ref": f"#/$defs/{marker}"},
            {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
            {"$ref": f"http://127.0.0.1/{marker}"},
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            {"type": "string", "maxLength": rng.choice((3, 100_000, 2**31, 2**70))},
            {"type": "array", "items": {"type": "string", "maxLength": 5_000}, "minItems": 5_000, "maxItems": 5_000},
            {
                "type": "string",
                "pattern": rng.choice(("((a|b|c){1,500}){1,500}", "(a+)+$", f"^{marker}$", "((", "(?=a)")),
            },
            {"type": "string", "pattern": "a" * rng.choice((512, 513))},
            {"type": "integer", "multipleOf": 3},
            {"anyOf": [{"const": f"{marker}{number}"} for number in range(rng.choice((2, 500, 3_000)))]},
            {"allOf": [{"type": "string"}, {"type": "integer"}]},
            {"type": marker},
            {"type": ["object", "null", marker]},
            {"properties": odd(rng, marker)},
            {"not": {}},
            {"enum": [raw("1e999"), "\ud800"]},
            deep,
            {},
            odd(rng, marker),
        )
    )


def _response_format(rng: Random, marker: str) -> Any:
    named = {
        "name": rng.choice(("n", marker, "", "a b")),
        "schema": _schema(rng, marker),
        "strict": rng.choice((True, 1)),
    }
    return rng.choice(
        (
            *({"type": "json_schema", "json_schema": named},) * 4,
            {"type": "json_object"},
            {"type": "text"},
            {"type": marker},
            {"type": "structural_tag", "format": {}},
            {"type": "json_schema", "json_schema": odd(rng, marker)},
        )
    )


def _structured(rng: Random, marker: str) -> Any:
    return rng.choice(
        (
            {"json": _schema(rng, marker)},
            {"json": marker},
            {
                "regex": rng.choice(
                    (marker, "a{1,9999999}", "(.*)*", "[^\\x00-\\uffff]", "\\p{L}+", "(?<=a)b", "((((a*)*)*)*)*")
                )
            },
            {"choice": rng.choice(([marker], ["a", "b"], [], [1], ["x" * 256] * 256, ['"', "\\", "\n"]))},
            {
                "grammar": rng.choice(
                    (f'root ::= "{marker}"', "root ::= root", "root ::= root root", 'start: "a"', "%%", marker)
                )
            },
            {"json_object": rng.choice((True, False, 1))},
            {"structural_tag": marker},
            {"regex": "a", "choice": ["a"]},
            odd(rng, marker),
        )
    )


def _tools(rng: Random, marker: str) -> Any:
    function = {"name": rng.choice(("f", marker, "", "f.g")), "parameters": _schema(rng, marker), "description": marker}
    tool = {"type": rng.choice(("function", "function", "custom")), "function": function}
    return rng.choice(
        ([tool], [tool], [tool] * 2, [], [{"type": "function", "function": odd(rng, marker)}], odd(rng, marker))
    )


def _tool_choice(rng: Random, marker: str) -> Any:
    named = {"type": "function", "function": {"name": rng.choice(("f", marker))}}
    return rng.choice(("auto", "none", "required", named, named, marker, {"type": "allowed_tools"}, odd(rng, marker)))


_WHOLE: Value = one_of(0, 1, 2, 3, -1, 2**31 - 1, 2**31, True, 1.0, "1", raw("1e999"))
_LOGPROBS: Value = one_of(0, 1, field_checks.MAX_LOGPROBS, field_checks.MAX_LOGPROBS + 1, -1, True, "1")
_FLAG: Value = one_of(True, False, 0, 1, "true", [])
_PENALTY: Value = one_of(-2, 0, 2, 2.0000001, -2.1, raw("NaN"), "0", True)

NEAR: Mapping[str, Value] = {
    "messages": _messages,
    "prompt": _prompt,
    "model": lambda rng, marker: rng.choice(("base", "active", "", marker, "a" * 64, "A" * 64, None, 7, ["base"])),
    "frequency_penalty": _PENALTY,
    "presence_penalty": _PENALTY,
    "logit_bias": _biases,
    "max_tokens": one_of(0, 1, 2, 3, -1, "2", 1.0, True, 2**31, raw("1" * 400)),
    "max_completion_tokens": one_of(0, 1, 2, 3, -1, "2", 2.5, 2**63),
    "n": one_of(0, 1, 2, 8, 9, -1, "1", True),
    "seed": one_of(0, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 1.5, "7"),
    "stop": lambda rng, marker: rng.choice(
        (marker, [marker] * 4, [marker] * 5, "", [""], "x" * 256, "x" * 257, "\ud800", [1])
    ),
    "stream": _FLAG,
    "stream_options": one_of(
        {"include_usage": True}, {"include_usage": 1}, {"continuous_usage_stats": True}, {"other": True}, {}, [], True
    ),
    "temperature": one_of(0, 0.7, 1e-9, 2, 2.1, -0.1, raw("NaN"), raw("1e999"), "1", True),
    "top_p": one_of(1, 0.5, 1e-6, 1e-7, 0, 1.1, "1"),
    "top_k": one_of(-1, 0, 1, 50, -2, 2**31 - 1, 2**31, 1.5),
    "min_p": one_of(0, 0.5, 1, 1.1, -0.1, "0"),
    "min_tokens": _WHOLE,
    "repetition_penalty": one_of(0.01, 1, 100, 101, 0, -1, raw("Infinity")),
    "ignore_eos": _FLAG,
    "echo": _FLAG,
    "logprobs": lambda rng, marker: rng.choice((_LOGPROBS, _FLAG))(rng, marker),
    "top_logprobs": _LOGPROBS,
    "stop_token_ids": one_of([], [0, 1], list(range(64)), list(range(65)), [-1], [49_152], [2**31], ["1"], [True], 7),
    "user": lambda rng, marker: rng.choice((marker, 7, {marker: marker})),
    "safety_identifier": lambda rng, marker: odd(rng, marker),
    "prompt_cache_key": lambda rng, marker: odd(rng, marker),
    "prompt_cache_retention": lambda rng, marker: odd(rng, marker),
    "metadata": lambda rng, marker: rng.choice(({marker: marker}, {}, marker, odd(rng, marker))),
    "store": one_of(True, False, "false", 0),
    "service_tier": lambda rng, marker: rng.choice(("auto", "priority", marker, 7)),
    "modalities": one_of(["text"], ["audio"], [], "text"),
    "reasoning_effort": lambda rng, marker: rng.choice(("none", "low", "xhigh", "max", marker, 7)),
    "parallel_tool_calls": _FLAG,
    "response_format": _response_format,
    "structured_outputs": _structured,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "cache_salt": lambda rng, marker: rng.choice((marker, "", 7)),
    "priority": one_of(0, -5, 2**31, "1"),
}
"""Values for each field that the server knows. A test sees to it that this is all of them."""

VLLM_ROUTES = (
    *(
        "/v1/embeddings",
        "/v1/embeddings/",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/tokenize",
        "/detokenize",
        "/pooling",
    ),
    *("/score", "/rerank", "/v1/score", "/v2/rerank", "/classify", "/invocations", "/ping", "/version", "/load"),
    *(
        "/v1/responses",
        "/v1/responses/resp_1",
        "/v1/messages",
        "/v1/audio/transcriptions",
        "/reset_prefix_cache",
        "/sleep",
        "/wake_up",
    ),
    *(
        "/collective_rpc",
        "/server_info",
        "/pause",
        "/resume",
        "/abort_requests",
        "/scale_elastic_ep",
        "/inference/v1/generate",
    ),
    *(
        "/start_profile",
        "/stop_profile",
        "/tokenizer_info",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/health",
        "/is_paused",
    ),
)
PATHS = (
    *("/v1/models", "/v1/models/base", "/v1/chat/completions/", "//v1/completions", "/v1/../v1/completions"),
    *("/v1/%63ompletions", "/V1/COMPLETIONS", "/v1/completions%00", "/v1/completions?model=base", "/health/live"),
    *(
        "/health/ready",
        "/metrics",
        "/metrics?name[]=x",
        "/",
        "*",
        "http://elsewhere/v1/models",
        "/%ff%fe",
        "/v1/completions#x",
    ),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get")


@dataclass(frozen=True)
class Sent:
    """What is written on a connection. ``kind`` is what is said of it where it fails, instead of its text."""

    kind: str
    method: str
    parts: tuple[bytes, ...]
    ends: bool = False


@dataclass(frozen=True)
class Requests:
    """Makes the request of a number. ``callers``: headers of honest tenants; ``digests``: everybody's adapters."""

    seed: int
    marker: str
    callers: tuple[Auth, ...]
    digests: tuple[str, ...]

    def make(self, number: int) -> Sent:
        rng = Random(f"{self.seed}/{number}")
        kinds: tuple[tuple[int, Callable[[Random], Sent]], ...] = (
            (36, self._fields),
            (6, self._embeddings),
            (6, self._responses),
            (4, self._feedback),
            (14, self._honest),
            (10, self._body),
            (8, self._authorization),
            (7, self._route),
            (5, self._headers),
            (4, self._framing),
        )
        weights, makers = zip(*kinds, strict=True)
        made: Sent = rng.choices(makers, weights)[0](rng)
        return made

    def _caller(self, rng: Random) -> Auth:
        return rng.choice(self.callers)

    def _valid(self, rng: Random) -> tuple[str, dict[str, Any]]:
        """A route, and a small body that it answers with 200."""
        route = rng.choice(ROUTES)
        asked: dict[str, Any] = (
            {"messages": [{"role": "user", "content": f"Say {self.marker}"}]}
            if route == ROUTES[0]
            else {"prompt": f"About {self.marker}"}
        )
        return route, {**asked, "max_tokens": rng.randint(1, TOKENS_AT_MOST)}

    def _honest(self, rng: Random) -> Sent:
        route, body = self._valid(rng)
        body |= rng.choice(
            ({}, {"stream": True}, {"temperature": 0}, {"n": 2}, {"model": "base"}, {"seed": 1, "top_k": 5})
        )
        return self._posted("honest", rng, route, written(body, rng))

    def _fields(self, rng: Random) -> Sent:
        route, body = self._valid(rng)
        properties, definitions = vllm_schema(route)
        if rng.random() < 0.15:  # what constrains an answer together, which by chance would be rare
            body["tools"], body["tool_choice"] = _tools(rng, self.marker), _tool_choice(rng, self.marker)
        for _ in range(rng.randint(1, 3)):
            source = rng.random()
            if source < 0.5:
                name = rng.choice(sorted(NEAR))
                body[name] = self._with_digests(name, rng)
            elif source < 0.75:
                name = rng.choice(sorted(properties))
                body[name] = of_schema(properties[name], rng, self.marker, definitions)
            elif source < 0.9:
                body[rng.choice(sorted(NEAR))] = odd(rng, self.marker)
            else:
                body[text(rng, self.marker)] = odd(rng, self.marker)
        if body.get("max_tokens", TOKENS_AT_MOST) is None or rng.random() < 0.1:
            body["max_tokens"] = 1  # or an answer goes on to the end of the context
        return self._posted("fields", rng, route, written(body, rng))

    def _embeddings(self, rng: Random) -> Sent:
        texts = rng.choice(
            (self.marker, [self.marker] * rng.choice((1, 2, 20, 256, 257)), "word " * 400, "", [], "\ud800")
        )
        body: dict[str, Any] = {"input": texts}
        for _ in range(rng.randint(0, 2)):
            name = rng.choice(
                ("input", "model", "encoding_format", "dimensions", "input_type", "user", "truncate", self.marker)
            )
            near: tuple[Any, ...] = (
                384,
                1,
                "base64",
                "float",
                "embedder",
                [[1, 2]],
                [1],
                [None],
                odd(rng, self.marker),
            )
            body[name] = rng.choice(near)
        return self._posted("embeddings", rng, "embeddings", written(body, rng))

    def _responses(self, rng: Random) -> Sent:
        """The chat's fields under their names at this route, and what is this route's own."""
        body: dict[str, Any] = {"input": self.marker, "max_output_tokens": rng.randint(1, TOKENS_AT_MOST)}
        own: dict[str, Value] = {
            **dict.fromkeys(FIELDS, odd),
            "input": _input,
            "instructions": one_of(self.marker, "", 7, "\ud800"),
            "text": lambda rng, marker: {"format": rng.choice((_response_format(rng, marker), odd(rng, marker)))},
            "tools": lambda rng, marker: [{"type": "function", "name": marker, "parameters": _schema(rng, marker)}],
            "reasoning": one_of({"effort": "low"}, {"effort": self.marker}, {"summary": "auto"}, []),
            "stream": one_of(True, True, False, 1),
            "max_output_tokens": one_of(1, 0, 2**31, "1"),
        }
        for name in rng.sample(sorted(own), rng.randint(0, 3)):
            body[name] = (own[name] if rng.random() < 0.8 else odd)(rng, self.marker)
        if body.get("max_output_tokens") in (None, [], {}):
            body["max_output_tokens"] = 1  # or an answer goes on to the end of the context
        return self._posted("responses", rng, "responses", written(body, rng))

    def _feedback(self, rng: Random) -> Sent:
        known = rng.choice(("chatcmpl-", "cmpl-", "resp_", "")) + rng.choice(("0" * 64, "g" * 64, self.marker))
        body: dict[str, Any] = {"answer_id": known, "rating": rng.choice(("up", "down"))}
        for _ in range(rng.randint(0, 2)):
            name = rng.choice(("answer_id", "rating", "code", "comment", self.marker))
            body[name] = rng.choice((self.marker, "style", None, odd(rng, self.marker)))
        return self._posted("feedback", rng, "feedback", written(body, rng))

    def _with_digests(self, name: str, rng: Random) -> Any:
        if name == "model" and rng.random() < 0.5:
            return rng.choice(self.digests)
        return NEAR[name](rng, self.marker)

    def _posted(self, kind: str, rng: Random, route: str, body: bytes, *headers: tuple[str, str]) -> Sent:
        return Sent(kind, "POST", (request("POST", f"/v1/{route}", [self._caller(rng), *headers], body),))

    def _body(self, rng: Random) -> Sent:
        route, fields = self._valid(rng)
        good = json.dumps(fields)
        marker = self.marker
        damaged: tuple[bytes, ...] = (
            good.encode()[: rng.randrange(len(good))],
            good.encode("utf-16"),
            good.encode("utf-16-le"),
            b"\xef\xbb\xbf" + good.encode(),
            good.encode().replace(marker.encode(), b"\xff\xfe" + marker.encode()),
            f"[{good}]".encode(),
            f'"{marker}"'.encode(),
            good.encode() + good.encode(),
            good.replace("{", f'{{"model": "{marker}", "model": "base", ', 1).encode(),
            b"[" * rng.choice((10, 5_000, 200_000)),
            b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
            f'{{"prompt": "{marker}", "n": {"9" * 5_000}}}'.encode(),
            b"\x1f\x8b\x08" + good.encode(),
            b"",
            b"null",
            rng.randbytes(rng.randint(1, 300)) + marker.encode(),
            good.replace('"', "'").encode(),
        )
        kinds = (("Content-Type", "application/xml"), ("Content-Encoding", "gzip"), ("Content-Type", f"text/{marker}"))
        headers = rng.sample(kinds, rng.randint(0, 2))
        return self._posted("body", rng, route, rng.choice(damaged), *headers)

    def _authorization(self, rng: Random) -> Sent:
        route, body = self._valid(rng)
        good = self._caller(rng)[1]
        head, claims, signature = good.removeprefix("Bearer ").split(".")
        forged = json.dumps({"sub": self.marker, "exp": rng.choice((2**40, 1e300, "soon", None))}).encode()
        values = (
            *("", "Bearer", "Bearer ", f"Bearer {self.marker}", f"Basic {self.marker}", good.lower(), f"{good}x"),
            *(f"Bearer {head}.{_base64(forged)}.{signature}", f"Bearer {head}.{claims}.", f"{good},{good}", good[7:]),
            *(f"Bearer {_base64(json.dumps({'alg': 'none'}).encode())}.{claims}.", f"Bearer {'a.' * 3_000}"),
            *(f"Bearer {_base64(b'[' * 20_000)}.{claims}.{signature}", f"Bearer {head}.{claims}.{signature[::-1]}"),
            f"bearer\t{good[7:]}",
            *(f"Bearer sano_{name}_{'0' * 16}_{'f' * 64}" for name in ("attack-one", "nobody", self.marker, "a" * 64)),
            *(f"Bearer sano_attack-one_{'0' * 16}_{'f' * length}" for length in (0, 63, 65, 9_000)),
            f"Bearer sano_{rng.randrange(10**9)}_{'0' * 16}_{'f' * 64}",
        )
        headers = [("Authorization", rng.choice(values))]
        if rng.random() < 0.2:
            headers.append(("Authorization", rng.choice(values)))
        return Sent("authorization", "POST", (request("POST", f"/v1/{route}", headers, json.dumps(body).encode()),))

    def _route(self, rng: Random) -> Sent:
        method = rng.choice(METHODS)
        path = rng.choice(
            (*PATHS, *VLLM_ROUTES, f"/{self.marker}", f"/v1/{self.marker}/{'x' * rng.choice((9, 9_000))}")
        )
        headers = [self._caller(rng)] if rng.random() < 0.7 else []
        _, body = self._valid(rng)
        return Sent("route", method, (request(method, path, headers, json.dumps(body).encode()),))

    def _headers(self, rng: Random) -> Sent:
        route, body = self._valid(rng)
        named = (
            (
                "Accept",
                rng.choice(("text/plain;version=x", "application/openmetrics-text;version=1e9", self.marker, "é")),
            ),
            ("Expect", "100-continue"),
            ("Upgrade", rng.choice(("websocket", "h2c"))),
            ("X-Request-Id", self.marker),
            ("traceparent", rng.choice((self.marker, f"00-{'0' * 32}-{'0' * 16}-01", f"00-{'a' * 32}-{'b' * 16}-01"))),
            ("tracestate", self.marker * 30),
            ("baggage", f"a={self.marker}"),
            ("X-Forwarded-For", self.marker),
            ("Cookie", self.marker * 40),
            ("Range", "bytes=0-1"),
            ("X-data-parallel-rank", rng.choice(("0", "7", self.marker))),
            (self.marker, self.marker),
            ("Host", self.marker),
            ("X-Session-ID", self.marker),
        )
        headers = rng.sample(named, rng.randint(1, 4))
        if rng.random() < 0.4:
            path = rng.choice(("/metrics", "/health/live", "/health/ready", "/v1/models"))
            return Sent("headers", "GET", (request("GET", path, [self._caller(rng), *headers]),))
        return self._posted("headers", rng, route, json.dumps(body).encode(), *headers)

    def _framing(self, rng: Random) -> Sent:
        """What is wrong with the message itself; some end early, so that the caller is gone before the answer."""
        route, fields = self._valid(rng)
        body = json.dumps(fields).encode()
        name, value = self._caller(rng)
        head = f"POST /v1/{route} HTTP/1.1\r\nHost: replica\r\n{name}: {value}\r\n"
        marker = self.marker.encode()
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        cut = rng.randrange(1, len(whole))
        chunked = f"{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        parts: tuple[tuple[bytes, ...], ...] = (
            (whole[:cut],),
            (whole[:cut], whole[cut:]),
            (whole, whole),
            (chunked, chunk, b"0\r\n\r\n"),
            (chunked, chunk, b"0\r\nX-Trailer: " + marker + b"\r\n\r\n"),
            (chunked, b"zz\r\n" + marker),
            (chunked, b"-1\r\n" + marker),
            (chunked, b"ffffffffffffffffff\r\n" + marker),
            (f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode(), chunk, b"0\r\n\r\n"),
            (f"{head}Content-Length: -1\r\n\r\n".encode(), body),
            (f"{head}Content-Length: {len(body)}\r\nContent-Length: 1\r\n\r\n".encode(), body),
            (head.encode() + b"X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",),
            (head.encode().replace(b"HTTP/1.1", rng.choice((b"HTTP/9.9", b"HTTP/1.0", b"HTTP/2", b""))) + b"\r\n",),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + marker,),
            (b"\x16\x03\x01\x02\x00\x01" + marker,),
            (rng.randbytes(200) + marker,),
        )
        return Sent("framing", "POST", rng.choice(parts), ends=True)


def _base64(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


@cache
def vllm_schema(route: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of vLLM's own model of a route's requests, and the schema's definitions."""
    prepare_environment(EngineConfig(base_model=Path(tempfile.gettempdir()), kv_cache_gib=0.5))
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    model = ChatCompletionRequest if route == ROUTES[0] else CompletionRequest
    schema: dict[str, Any] = model.model_json_schema()
    return schema["properties"], schema.get("$defs", {})
