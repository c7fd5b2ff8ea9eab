"""Asks Sanolith through LiteLLM: chat, stream, tools, an answer by a schema, vectors, errors.

Prints a line of JSON for each.

Needs litellm, and SANO_BASE_URL (https://inference.example/v1) and SANO_API_KEY in the environment.
A 429 and a 503 are tried again by themselves, after the seconds that Retry-After says.
"""

import json
import os
from typing import Any, Literal

import litellm
import openai
from pydantic import BaseModel

# `openai/` says how LiteLLM speaks; what follows is the model.
MODEL = "openai/" + os.environ.get("SANO_MODEL", "active")
ADDRESS = {"api_base": os.environ["SANO_BASE_URL"], "api_key": os.environ["SANO_API_KEY"]}
QUESTION = {"role": "user", "content": "How much of it may be given?"}


class Dose(BaseModel):
    """A dose."""

    unit: Literal["mg", "ml"]
    count: Literal[1, 2, 3]


TOOL = {
    "type": "function",
    "function": {"name": "dose", "description": "Write down a dose.", "parameters": Dose.model_json_schema()},
}


def ask(**fields: Any) -> Any:
    given = {"model": MODEL, "messages": [QUESTION], "temperature": 0, "max_tokens": 128, **ADDRESS, **fields}
    return litellm.completion(**given)


def say(did: str, **found: Any) -> None:
    print(json.dumps({"did": did, **found}), flush=True)


def tokens(usage: Any) -> dict[str, int]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


def main() -> None:
    answer = ask(max_tokens=24)
    say("chat", text=answer.choices[0].message.content, usage=tokens(answer.usage))

    pieces = list(ask(max_tokens=24, stream=True, stream_options={"include_usage": True}))
    texts = [choice.delta.content for piece in pieces for choice in piece.choices if choice.delta.content]
    [usage] = [piece.usage for piece in pieces if getattr(piece, "usage", None)]
    say("stream", text="".join(texts), pieces=len(texts), usage=tokens(usage))

    choice = {"type": "function", "function": {"name": "dose"}}
    asked = ask(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False).choices[0].message
    [call] = asked.tool_calls
    say("tools", name=call.function.name, arguments=json.loads(call.function.arguments))

    result = {"role": "tool", "tool_call_id": call.id, "content": "2 mg"}
    again = ask(messages=[QUESTION, asked, result], tools=[TOOL], tool_choice="none").choices[0].message
    say("result", text=again.content, calls=len(again.tool_calls or []))

    shaped = ask(response_format=Dose).choices[0].message
    say("schema", arguments=json.loads(shaped.content))

    found = litellm.embedding(model="openai/embedder", input=["a dose", "a car park"], **ADDRESS).data
    say("vectors", lengths=[len(row["embedding"]) for row in found])

    wrong: dict[str, dict[str, Any]] = {
        "unauthorized": {"api_key": "unknown"},
        "not found": {"model": "openai/" + "f" * 64},
        "refused": {"temperature": 7},
    }
    for did, fields in wrong.items():
        try:
            ask(**fields)
        except openai.APIStatusError as error:  # LiteLLM's own errors are kinds of these
            say(did, status=error.status_code, error=type(error).__name__)


if __name__ == "__main__":
    main()
