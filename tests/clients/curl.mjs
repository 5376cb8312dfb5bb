// The curl program, with the line that the start-up banner shows.
import { execFileSync } from "node:child_process";
import { assert, base, blue, scenario, sky } from "./scenario.mjs";

const curl = (...args) => execFileSync("curl", ["-sS", "--max-time", "60", ...args], { encoding: "utf8" });
const body = (extra) => JSON.stringify({ model: "stip", temperature: 0, messages: sky, ...extra });

await scenario("curl: chat", async () => {
  const r = JSON.parse(curl(`${base}/chat/completions`, "-H", "Content-Type: application/json", "-d", body({})));
  assert.equal(r.choices[0].message.content, blue);
});

await scenario("curl: chat, streamed", async () => {
  const events = curl("-N", `${base}/chat/completions`, "-H", "Content-Type: application/json", "-d", body({ stream: true })).trim().split("\n\n");
  assert.equal(events.at(-1), "data: [DONE]");
  const text = events.slice(0, -1).map((e) => JSON.parse(e.slice(6)).choices[0]?.delta?.content ?? "").join("");
  assert.equal(text, blue);
});
