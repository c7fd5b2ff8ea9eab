"""Compiles one grammar after another and walks into it, each in a process that may be killed: ``python -m … MODEL``.

Some grammars compile in no time and then take minutes to say which token may come first; the engine asks that on the
loop that all tenants share. So the first tokens of an answer are drawn here, each within a bound.
A line of JSON comes in for each grammar, and one goes out. Each is tried in a copy of this process, which the kernel
bounds in seconds of a core and in memory. Whoever exceeds that ends the copy, and the next grammar has another at once:
to start Python and the compiler anew would take seconds. The process ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NoReturn, TextIO

from tenancy.platform.process_bounds import bound_memory, bound_processor

COMPILES, FAILS, ENDED = range(3)
"""How a copy exits. Whatever else it exits with, it was ended."""
CPU_SECONDS = 1
WALKED_TOKENS = 128
TOKEN_SECONDS = 0.02
"""Of a core, for what usually takes some hundred microseconds."""
ATTEMPTS = 3
"""Limits how often a step is timed: a busy neighbour slows it at times, a slow grammar each time."""
MEMORY_BYTES = 1024**3
"""Beyond what the libraries take: some grammars grow without end."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    compiler = _compiler(Path(sys.argv[1]))
    bound_memory(MEMORY_BYTES)
    print(json.dumps({"ready": True}), file=answers)
    serve(compiler, sys.stdin, answers)


def serve(compiler: Any, asked: TextIO, answers: TextIO) -> None:
    for line in asked:
        grammar = json.loads(line)
        # No thread runs here: the compiler has none, and torch is asked for nothing before the copy is made.
        copy = os.fork()
        if copy == 0:
            _try_and_exit(compiler, grammar["kind"], grammar["text"])
        code = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
        print(json.dumps({"compiles": code == COMPILES, "ended": code not in (COMPILES, FAILS)}), file=answers)


def _try_and_exit(compiler: Any, kind: str, text: str) -> NoReturn:
    code = ENDED
    try:
        bound_processor(CPU_SECONDS)
        code = COMPILES if is_walkable(compile_grammar(compiler, kind, text)) else FAILS
    except Exception:  # whatever a compiler says of a caller's grammar; its text may quote it
        code = FAILS
    finally:
        os._exit(code)


def compile_grammar(compiler: Any, kind: str, text: str) -> Any:
    """As vLLM's backend for xgrammar does it."""
    if kind == "json":
        return compiler.compile_json_schema(text, any_whitespace=False, separators=(",", ":"))
    return compiler.compile_regex(text)


def is_walkable(compiled: Any) -> bool:
    """Whether each of the first tokens is found soon enough: drawn from a seed of all that may come, and again with the
    last one repeated as long as it may be, which is the most that can be read in several ways.
    """
    return all(_walked(compiled, repeating) for repeating in (False, True))


def _walked(compiled: Any, repeating: bool) -> bool:
    import torch
    import xgrammar

    draw = Random(0)  # noqa: S311 - drawn for nobody
    matcher, last = xgrammar.GrammarMatcher(compiled), -1
    size = compiled.tokenizer_info.vocab_size
    mask = xgrammar.allocate_token_bitmask(1, size)
    ends = torch.tensor(compiled.tokenizer_info.stop_token_ids)
    for _ in range(WALKED_TOKENS):
        if not _is_soon(partial(matcher.fill_next_token_bitmask, mask, 0)):
            return False
        allowed = ((mask[0].unsqueeze(1) >> torch.arange(32)) & 1).flatten()[:size]
        is_over = bool(allowed[ends].any())
        allowed[ends] = 0
        tokens = allowed.nonzero().flatten()
        if not len(tokens):
            return is_over  # or there is no way on, and no end
        if not (repeating and last >= 0 and allowed[last]):
            last = int(tokens[draw.randrange(len(tokens))])
        if not (matcher.accept_token(last) and _is_soon(partial(_accept_again, matcher, last))):
            return False
    return True


def _accept_again(matcher: Any, token: int) -> None:
    matcher.rollback(1)
    matcher.accept_token(token)


def _is_soon(step: Callable[[], object]) -> bool:
    """Time the step until it stays within :data:`TOKEN_SECONDS`, and tell whether it did. It must be repeatable."""
    for _ in range(ATTEMPTS):
        began = time.process_time()
        step()
        if time.process_time() - began <= TOKEN_SECONDS:
            return True
    return False


def _compiler(model: Path) -> Any:
    import xgrammar
    from transformers import AutoTokenizer

    config = json.loads((model / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=int(config["vocab_size"]))
    # One thread, so that seconds of a core are those of the process; nothing of a grammar is kept.
    return xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)


if __name__ == "__main__":
    main()
