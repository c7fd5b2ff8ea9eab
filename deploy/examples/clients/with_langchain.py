"""Asks Sanolith through LangChain: chat, stream, tools, an answer by a schema, vectors, errors.

Prints a line of JSON for each. By /v1/chat/completions, or with SANO_ROUTE=responses by /v1/responses.

Needs langchain-openai, and SANO_BASE_URL (https://inference.example/v1) and SANO_API_KEY in the environment.
A 429 and a 503 are tried again by themselves, after the seconds that Retry-After says.
"""

import json
import os
from typing import Any, Literal

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

MODEL = os.environ.get("SANO_MODEL", "active")
ADDRESS = {"base_url": os.environ["SANO_BASE_URL"], "api_key": os.environ["SANO_API_KEY"]}
ROUTE = {"use_responses_api": os.environ.get("SANO_ROUTE") == "responses"}
QUESTION = HumanMessage("How much of it may be given?")


class Dose(BaseModel):
    """A dose."""

    unit: Literal["mg", "ml"]
    count: Literal[1, 2, 3]


def dose(unit: Literal["mg", "ml"], count: Literal[1, 2, 3]) -> str:
    """Write down a dose."""
    return f"{count} {unit}"


def model(**settings: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": MODEL, "temperature": 0, "max_tokens": 128, **ADDRESS, **ROUTE, **settings})


def say(did: str, **found: Any) -> None:
    print(json.dumps({"did": did, **found}), flush=True)


def main() -> None:
    chat, brief = model(), model(max_tokens=24, stream_usage=True)

    answer = brief.invoke([QUESTION])
    say("chat", text=answer.text, usage=answer.usage_metadata)

    pieces = list(brief.stream([QUESTION]))
    texts = [str(piece.text) for piece in pieces if piece.text]
    [usage] = [piece.usage_metadata for piece in pieces if piece.usage_metadata]
    say("stream", text="".join(texts), pieces=len(texts), usage=usage)

    asked = chat.bind_tools([dose], tool_choice="dose", parallel_tool_calls=False).invoke([QUESTION])
    [call] = asked.tool_calls
    say("tools", name=call["name"], arguments=call["args"])

    result = ToolMessage(dose(**call["args"]), tool_call_id=call["id"])
    again = chat.bind_tools([dose], tool_choice="none").invoke([QUESTION, asked, result])
    say("result", text=again.text, calls=len(again.tool_calls))

    shaped = chat.with_structured_output(Dose, method="json_schema").invoke([QUESTION])
    say("schema", arguments=shaped.model_dump())

    # Without the check it sends texts, and no tokens of a model that is not the one here.
    embedder = OpenAIEmbeddings(model="embedder", check_embedding_ctx_length=False, **ADDRESS)
    say("vectors", lengths=[len(vector) for vector in embedder.embed_documents(["a dose", "a car park"])])

    wrong: dict[str, dict[str, Any]] = {
        "unauthorized": {"api_key": "unknown"},
        "not found": {"model": "f" * 64},
        "refused": {"temperature": 7},
    }
    for did, settings in wrong.items():
        try:
            model(**settings).invoke([QUESTION])
        except openai.APIStatusError as error:
            say(did, status=error.status_code, error=type(error).__name__)


if __name__ == "__main__":
    main()
