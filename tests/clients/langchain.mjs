import { ChatOpenAI, OpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { assert, base, blue, scenario } from "./scenario.mjs";

const configuration = { baseURL: base };
const chat = new ChatOpenAI({ model: "stip", temperature: 0, apiKey: "stip", maxRetries: 0, configuration });

await scenario("langchain: invoke", async () => {
  const r = await chat.invoke("What colour is the sky?");
  assert.equal(r.content, blue);
  assert.ok(r.usage_metadata.total_tokens > 0);
});

await scenario("langchain: stream", async () => {
  let text = "";
  for await (const c of await chat.stream("What colour is the sky?")) text += c.content;
  assert.equal(text, blue);
});

await scenario("langchain: stop", async () => {
  assert.equal((await chat.invoke("What colour is the sky?", { stop: [" blue"] })).content, "The sky is");
});

await scenario("langchain: embeddings", async () => {
  const e = new OpenAIEmbeddings({ model: "stip", apiKey: "stip", maxRetries: 0, configuration });
  const [a, b] = await e.embedDocuments(["a fox", "a lantern"]);
  assert.equal(a.length, 192);
  assert.ok(Math.abs(a.reduce((s, v) => s + v * v, 0) - 1) < 1e-4);
  assert.notDeepEqual(a, b);
});

await scenario("langchain: completions", async () => {
  const llm = new OpenAI({ model: "stip", temperature: 0, maxTokens: 8, apiKey: "stip", maxRetries: 0, configuration });
  assert.ok((await llm.invoke("Once upon a time")).length > 0);
});
