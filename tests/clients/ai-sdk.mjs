import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, streamText } from "ai";
import { assert, base, blue, scenario } from "./scenario.mjs";

const compatible = createOpenAICompatible({ name: "stip", baseURL: base, apiKey: "stip", includeUsage: true });
const openai = createOpenAI({ baseURL: base, apiKey: "stip" });
const prompt = "What colour is the sky?";

for (const [name, model] of [["openai-compatible", compatible.chatModel("stip")], ["openai", openai.chat("stip")]]) {
  await scenario(`ai sdk (${name}): generateText`, async () => {
    const r = await generateText({ model, prompt, temperature: 0, maxRetries: 0 });
    assert.equal(r.text, blue);
    assert.equal(r.finishReason, "stop");
  });
  await scenario(`ai sdk (${name}): streamText`, async () => {
    const r = streamText({ model, prompt, temperature: 0, maxRetries: 0 });
    let text = "";
    for await (const t of r.textStream) text += t;
    assert.equal(text, blue);
    assert.ok((await r.usage).totalTokens > 0);
  });
}

await scenario("ai sdk: embed", async () => {
  const model = compatible.embeddingModel?.("stip") ?? compatible.textEmbeddingModel("stip");
  const { embedding } = await embed({ model, value: "a lantern", maxRetries: 0 });
  assert.equal(embedding.length, 192);
});
