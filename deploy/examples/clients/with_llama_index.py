"""Asks Sanolith through LlamaIndex: chat, stream, tools, an answer by a schema, errors. Prints a line of JSON for each.

Needs llama-index-llms-openai-like, and SANO_BASE_URL (https://inference.example/v1) and SANO_API_KEY in the
environment. A 429 and a 503 are tried again by themselves.
"""

import json
import os
from typing import Any, Literal

import openai
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

MODEL = os.environ.get("SANO_MODEL", "active")
ADDRESS = {"api_base": os.environ["SANO_BASE_URL"], "api_key": os.environ["SANO_API_KEY"]}
QUESTION = "How much of it may be given?"


class Dose(BaseModel):
    """A dose."""

    unit: Literal["mg", "ml"]
    count: Literal[1, 2, 3]


def dose(unit: Literal["mg", "ml"], count: Literal[1, 2, 3]) -> str:
    """Write down a dose."""
    return f"{count} {unit}"


def model(**settings: Any) -> OpenAILike:
    kinds = {"is_chat_model": True, "is_function_calling_model": True, "should_use_structured_outputs": True}
    # Its own bound is 60 seconds, after which it hangs up and asks once more.
    given = {"model": MODEL, "temperature": 0, "max_tokens": 128, "timeout": 300, **kinds, **ADDRESS, **settings}
    return OpenAILike(**given)


def say(did: str, **found: Any) -> None:
    print(json.dumps({"did": did, **found}), flush=True)


def tokens(usage: Any) -> dict[str, int]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


def main() -> None:
    llm = model()
    asked = ChatMessage(role="user", content=QUESTION)

    brief = model(max_tokens=24)
    answer = brief.chat([asked])
    say("chat", text=answer.message.content, usage=tokens(answer.raw.usage))

    pieces, usage = [], None
    for piece in brief.stream_chat([asked], stream_options={"include_usage": True}):
        pieces += [piece.delta] if piece.delta else []
        usage = piece.raw.usage or usage
    say("stream", text="".join(pieces), pieces=len(pieces), usage=tokens(usage))

    tool = FunctionTool.from_defaults(dose)
    called = llm.chat_with_tools([tool], chat_history=[asked], tool_required=True)
    [call] = llm.get_tool_calls_from_response(called)
    say("tools", name=call.tool_name, arguments=call.tool_kwargs)

    result = ChatMessage(
        role="tool", content=dose(**call.tool_kwargs), additional_kwargs={"tool_call_id": call.tool_id}
    )
    again = llm.chat_with_tools([tool], chat_history=[asked, called.message, result], tool_choice="none")
    calls = llm.get_tool_calls_from_response(again, error_on_no_tool_call=False)
    say("result", text=again.message.content, calls=len(calls))

    shaped = llm.structured_predict(Dose, PromptTemplate(QUESTION))
    say("schema", arguments=shaped.model_dump())

    wrong: dict[str, dict[str, Any]] = {
        "unauthorized": {"api_key": "unknown"},
        "not found": {"model": "f" * 64},
        "refused": {"additional_kwargs": {"top_p": 7}},
    }
    for did, settings in wrong.items():
        try:
            model(**settings).chat([asked])
        except openai.APIStatusError as error:
            say(did, status=error.status_code, error=type(error).__name__)


if __name__ == "__main__":
    main()
