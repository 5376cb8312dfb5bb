import OpenAI from "openai";
import { assert, base, blue, scenario, sky } from "./scenario.mjs";

const client = new OpenAI({ baseURL: base, apiKey: "stip", maxRetries: 0 });
const greedy = { model: "stip", temperature: 0 };

await scenario("openai: models", async () => {
  const page = await client.models.list();
  assert.equal(page.data[0].id, "stip");
  assert.equal((await client.models.retrieve("stip")).owned_by, "stip");
});

await scenario("openai: chat", async () => {
  const r = await client.chat.completions.create({ ...greedy, messages: sky });
  assert.equal(r.choices[0].message.content, blue);
  assert.equal(r.choices[0].finish_reason, "stop");
  assert.ok(r.usage.total_tokens === r.usage.prompt_tokens + r.usage.completion_tokens && r.usage.completion_tokens > 0);
});

await scenario("openai: chat, streamed with usage", async () => {
  let text = "", usage = null, finish = null;
  for await (const c of await client.chat.completions.create({ ...greedy, messages: sky, stream: true, stream_options: { include_usage: true } })) {
    text += c.choices[0]?.delta?.content ?? "";
    finish = c.choices[0]?.finish_reason ?? finish;
    usage = c.usage ?? usage;
  }
  assert.equal(text, blue);
  assert.equal(finish, "stop");
  assert.equal(usage.completion_tokens, 5);
});

await scenario("openai: .stream() helper", async () => {
  const stream = client.chat.completions.stream({ ...greedy, messages: sky });
  let deltas = "";
  stream.on("content", (d) => (deltas += d));
  assert.equal((await stream.finalChatCompletion()).choices[0].message.content, blue);
  assert.equal(deltas, blue);
});

await scenario("openai: completions", async () => {
  const r = await client.completions.create({ ...greedy, prompt: "Once upon a time", max_tokens: 8 });
  assert.equal(r.choices[0].finish_reason, "length");
  assert.equal(r.usage.completion_tokens, 8);
});

await scenario("openai: completions, streamed, several prompts", async () => {
  const texts = ["", ""];
  for await (const c of await client.completions.create({ ...greedy, prompt: ["Once upon a time", "Lily found a"], max_tokens: 8, stream: true }))
    texts[c.choices[0].index] += c.choices[0].text;
  const whole = await client.completions.create({ ...greedy, prompt: ["Once upon a time", "Lily found a"], max_tokens: 8 });
  assert.deepEqual(texts, whole.choices.map((c) => c.text));
});

await scenario("openai: embeddings (base64 unasked)", async () => {
  const r = await client.embeddings.create({ model: "stip", input: ["a fox", "a lantern"] });
  const plain = await client.embeddings.create({ model: "stip", input: "a lantern", encoding_format: "float" });
  assert.equal(r.data.length, 2);
  assert.equal(r.data[1].embedding.length, 192);
  r.data[1].embedding.forEach((v, i) => assert.ok(Math.abs(v - plain.data[0].embedding[i]) < 1e-6));
});

await scenario("openai: logprobs", async () => {
  const r = await client.chat.completions.create({ ...greedy, messages: sky, logprobs: true, top_logprobs: 2 });
  const content = r.choices[0].logprobs.content;
  assert.equal(content.map((t) => t.token).join(""), blue);
  assert.ok(content.every((t) => t.top_logprobs.length === 2 && t.logprob <= 0 && Buffer.from(t.bytes).toString() === t.token));
});

await scenario("openai: stop, seed", async () => {
  const ask = () => client.completions.create({ model: "stip", prompt: "Once upon a time", max_tokens: 24, seed: 11 });
  const [a, b] = [await ask(), await ask()];
  assert.equal(a.choices[0].text, b.choices[0].text);
  const cut = await client.chat.completions.create({ ...greedy, messages: sky, stop: [" blue"] });
  assert.equal(cut.choices[0].message.content, "The sky is");
});

await scenario("openai: errors are BadRequestError and NotFoundError with our words", async () => {
  await assert.rejects(client.chat.completions.create({ ...greedy, messages: sky, n: 2 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "n");
  await assert.rejects(client.chat.completions.create({ model: "gpt-4", messages: sky }), (e) => e instanceof OpenAI.NotFoundError && /serves 'stip'/.test(e.message));
});

await scenario("openai: abort in the middle, then the next request", async () => {
  const stream = await client.completions.create({ ...greedy, prompt: "Once upon a time", max_tokens: 400, stream: true });
  for await (const _ of stream) break;
  stream.controller.abort();
  assert.equal((await client.chat.completions.create({ ...greedy, messages: sky })).choices[0].message.content, blue);
});
