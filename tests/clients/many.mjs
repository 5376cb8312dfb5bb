// Many clients that stream at once for a while: errors, tokens per second, time between tokens, memory of the processes.
// STIP_MEMORY_MB=128 bounds what the server keeps of earlier prompts, so that a flat curve can be seen.
// The ends of a text (token 1 or 2 in the models it is run with) are ruled out, so that every answer has its length.
// Usage: node many.mjs BASE_URL [CLIENTS=32] [SECONDS=600] [TOKENS=64]; needs nothing but node. Memory is read from /proc,
// of the three programs that scripts/with-gateway.sh started.
import { readdirSync, readFileSync } from "node:fs";

const [base, clients = 32, seconds = 600, tokens = 64] = [process.argv[2], ...process.argv.slice(3).map(Number)];
if (!base) {
  console.error("usage: node many.mjs http://127.0.0.1:PORT/v1 [CLIENTS] [SECONDS] [TOKENS]");
  process.exit(2);
}
const until = Date.now() + seconds * 1000;
const gaps = [], errors = new Map();
let answers = 0, received = 0;

const field = (pid, name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);

// Name and MB of the three programs that scripts/with-gateway.sh, our parent, has started through stip-bench.
function memory() {
  const found = {}, roles = [];
  for (const pid of readdirSync("/proc").filter((d) => /^\d+$/.test(d))) {
    try {
      const [program, command] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const parent = field(pid, "PPid");
      if (command === "serve" && field(parent, "PPid") === process.ppid) roles.push([program.split("/").at(-1), pid]);
    } catch {
      // it has ended meanwhile
    }
  }
  for (const [name, pid] of roles) found[name] = Math.round(field(pid, "VmRSS") / 102.4) / 10;
  return found;
}

async function one(i) {
  for (let n = 0; Date.now() < until; n++) {
    try {
      const r = await fetch(`${base}/chat/completions`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({
          model: "stip", stream: true, max_tokens: tokens, temperature: 1, seed: i * 1000 + n, logit_bias: { 1: -100, 2: -100 },
          messages: [{ role: "user", content: `Client ${i} asks for story number ${n}.` }],
        }),
      });
      if (r.status !== 200) throw new Error(`status ${r.status}`);
      let rest = "", ended = false, last = 0;
      const decoder = new TextDecoder();
      for await (const bytes of r.body) {
        rest += decoder.decode(bytes, { stream: true });
        const lines = rest.split("\n");
        rest = lines.pop();
        for (const line of lines.filter((l) => l.startsWith("data: "))) {
          if (line === "data: [DONE]") ended = true;
          else if (JSON.parse(line.slice(6)).error) throw new Error(JSON.parse(line.slice(6)).error.code);
          else {
            const now = performance.now();
            if (last) gaps.push(now - last);
            last = now;
          }
        }
      }
      if (!ended) throw new Error("the stream broke off");
      answers++;
      received += tokens;
    } catch (e) {
      const what = e.cause?.code ?? e.message;
      errors.set(what, (errors.get(what) ?? 0) + 1);
    }
  }
}

const curve = [];
const watch = setInterval(() => curve.push(memory()), Math.max(1000, (seconds * 1000) / 20));
const start = Date.now();
await Promise.all(Array.from({ length: clients }, (_, i) => one(i)));
clearInterval(watch);
curve.push(memory());
gaps.sort((a, b) => a - b);
const at = (p) => Math.round(gaps[Math.min(gaps.length - 1, Math.floor(gaps.length * p))] * 10) / 10;
const took = (Date.now() - start) / 1000;
console.log(JSON.stringify({
  clients, seconds: Math.round(took), answers, tokens: received, tok_s: Math.round(received / took),
  between_events_ms: { p50: at(0.5), p99: at(0.99) }, errors: Object.fromEntries(errors), memory_mb: curve,
}, null, 1));
process.exitCode = errors.size === 0 && answers > 0 ? 0 : 1;
