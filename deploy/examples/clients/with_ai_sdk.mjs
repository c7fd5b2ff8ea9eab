// Asks Sanolith through Vercel's AI SDK: chat, stream, tools, an answer by a schema, vectors, errors. Prints a line of
// JSON for each. By /v1/chat/completions, or with SANO_ROUTE=responses by /v1/responses.
//
// Needs the packages of package.json, Node.js 22, and SANO_BASE_URL (https://inference.example/v1) and SANO_API_KEY in
// the environment. A 429 and a 503 are tried again by themselves, after the seconds that Retry-After says.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, streamText, tool } from "ai";
import { z } from "zod";

const MODEL = process.env.SANO_MODEL ?? "active";
const QUESTION = "How much of it may be given?";
const settings = { temperature: 0, maxOutputTokens: 128 };

const Dose = z.object({ unit: z.enum(["mg", "ml"]), count: z.number().int().min(1).max(3) });

function sanolith(apiKey = process.env.SANO_API_KEY) {
  const address = { name: "sanolith", baseURL: process.env.SANO_BASE_URL, apiKey };
  if (process.env.SANO_ROUTE === "responses") return createOpenAI(address);
  return createOpenAICompatible({
    ...address,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
}

function say(did, found) {
  console.log(JSON.stringify({ did, ...found }));
}

function tokens(usage) {
  return { input_tokens: usage.inputTokens, output_tokens: usage.outputTokens };
}

const model = sanolith()(MODEL);

const answer = await generateText({ model, prompt: QUESTION, ...settings, maxOutputTokens: 24 });
say("chat", { text: answer.text, usage: tokens(answer.usage) });

const stream = streamText({ model, prompt: QUESTION, ...settings, maxOutputTokens: 24 });
const texts = [];
for await (const text of stream.textStream) texts.push(text);
say("stream", { text: texts.join(""), pieces: texts.length, usage: tokens(await stream.usage) });

const tools = { dose: tool({ description: "Write down a dose.", inputSchema: Dose }) };
const asked = await generateText({
  model,
  prompt: QUESTION,
  tools,
  toolChoice: { type: "tool", toolName: "dose" },
  ...settings,
});
const [call] = asked.toolCalls;
say("tools", { name: call.toolName, arguments: call.input });

const result = {
  type: "tool-result",
  toolCallId: call.toolCallId,
  toolName: call.toolName,
  output: { type: "text", value: `${call.input.count} ${call.input.unit}` },
};
const again = await generateText({
  model,
  messages: [{ role: "user", content: QUESTION }, ...asked.response.messages, { role: "tool", content: [result] }],
  tools,
  toolChoice: "none",
  ...settings,
});
say("result", { text: again.text, calls: again.toolCalls.length });

const shaped = await generateText({ model, prompt: QUESTION, output: Output.object({ schema: Dose }), ...settings });
say("schema", { arguments: shaped.output });

const asVector = { model: sanolith().embeddingModel("embedder"), values: ["a dose", "a car park"] };
const { embeddings } = await embedMany(asVector);
say("vectors", { lengths: embeddings.map((vector) => vector.length) });

const wrong = {
  unauthorized: { model: sanolith("unknown")(MODEL) },
  "not found": { model: sanolith()("f".repeat(64)) },
  refused: { temperature: 7 },
};
for (const [did, changed] of Object.entries(wrong)) {
  try {
    await generateText({ model, prompt: QUESTION, ...settings, ...changed });
  } catch (error) {
    if (!APICallError.isInstance(error)) throw error;
    say(did, { status: error.statusCode, error: error.name });
  }
}
