// The chat page: the conversation on the left is this machine's, the picture on the right is what left it.
"use strict";

const el = (id) => document.getElementById(id);
const log = el("log"), prompt = el("prompt"), status = el("status"), picture = el("picture");
const ROWS = 96; // lines of the picture
let info = null, talk = [], running = null;
let view = { id: null, seen: 0, columns: 0, lines: [] };

function say(text, bad) {
  status.textContent = text;
  status.className = bad ? "bad" : "";
}

function headers() {
  const key = el("key").value;
  return { "Content-Type": "application/json", ...(key ? { Authorization: "Bearer " + key } : {}) };
}

// The gateway's own words for what went wrong.
async function failure(response) {
  if (response.status === 401) el("key-row").hidden = false;
  try {
    return (await response.json()).error.message;
  } catch {
    return "HTTP status " + response.status;
  }
}

function add(role, text) {
  const p = document.createElement("p");
  p.className = "message " + role;
  p.textContent = text;
  log.append(p);
  log.scrollTop = log.scrollHeight;
  return p;
}

/* ---------------------------------------------------------------- the picture */

function colour(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function draw() {
  if (view.columns === 0) return;
  picture.width = view.columns;
  picture.height = ROWS;
  const context = picture.getContext("2d"), image = context.createImageData(view.columns, ROWS);
  const zero = colour("--zero"), minus = colour("--negative"), plus = colour("--positive");
  view.lines.forEach((line, y) => {
    const top = ROWS - view.lines.length + y;
    for (let x = 0; x < view.columns; x++) {
      const v = (line[x] - 128) / 127, end = v < 0 ? minus : plus, part = Math.min(1, Math.abs(v) * 1.6);
      const at = 4 * (top * view.columns + x);
      for (let c = 0; c < 3; c++) image.data[at + c] = zero[c] + (end[c] - zero[c]) * part;
      image.data[at + 3] = 255;
    }
  });
  context.putImageData(image, 0, 0);
}

const count = (n) => n.toLocaleString("en");

function show(t) {
  const bytes = Uint8Array.from(atob(t.image), (c) => c.charCodeAt(0));
  view.columns = t.columns;
  for (let at = 0; at + t.columns <= bytes.length; at += t.columns) view.lines.push(bytes.subarray(at, at + t.columns));
  view.lines = view.lines.slice(-ROWS);
  view.seen = t.rows;
  el("rows").textContent = `${count(t.rows)} × ${count(t.width)}`;
  el("up").textContent = count(t.bytes_up);
  el("down").textContent = count(t.bytes_down);
  el("trips").textContent = count(t.round_trips);
  el("speed").textContent = t.tokens_per_second.toFixed(1);
  el("times").textContent = `${t.server_ms.toFixed(0)}, ${t.user_ms.toFixed(0)} ms`;
  picture.setAttribute("aria-label", `${t.rows} rows of ${t.width} permuted numbers were sent to the server`);
  draw();
}

async function look() {
  if (view.id === null) return;
  const response = await fetch(`/stip/trace?id=${encodeURIComponent(view.id)}&after=${view.seen}`, { headers: headers() });
  if (response.ok) show(await response.json());
}

/* ---------------------------------------------------------------- an answer */

// Calls take with each event of the stream; false if it did not end with [DONE].
async function events(response, take) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return false;
    rest += value;
    for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
      const line = rest.slice(0, end);
      if (line === "data: [DONE]") return true;
      if (line.startsWith("data: ")) take(JSON.parse(line.slice(6)));
    }
  }
}

async function answer(text) {
  const shared = { model: info.model, temperature: Number(el("temperature").value), stream: true, stip: { trace: true } };
  const body = info.chat ? { ...shared, messages: [...talk, { role: "user", content: text }] } : { ...shared, prompt: text };
  add("user", text);
  const said = add("assistant", "");
  let reply = "", reason = null;
  running = new AbortController();
  el("send").disabled = true;
  el("stop").disabled = false;
  say(info.profile === "engine" ? "The engine is computing on tokens in a secret order …" : "The server is computing on permuted numbers …");
  view = { id: null, seen: 0, columns: view.columns, lines: [] };
  let looking = false;
  const timer = setInterval(async () => {
    if (looking) return;
    looking = true;
    await look().catch(() => {});
    looking = false;
  }, 120);
  try {
    const response = await fetch(info.chat ? "/v1/chat/completions" : "/v1/completions",
      { method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal });
    if (!response.ok) throw new Error(await failure(response));
    const whole = await events(response, (event) => {
      if (event.error) throw new Error(event.error.message);
      view.id ??= event.id;
      const choice = event.choices[0];
      reply += choice?.delta?.content ?? choice?.text ?? "";
      reason = choice?.finish_reason ?? reason;
      said.textContent = reply;
      log.scrollTop = log.scrollHeight;
    });
    if (!whole) throw new Error("the answer ended too early");
    say(reason === "length" ? "The answer was cut at its longest length." : "");
    talk.push({ role: "user", content: text }, { role: "assistant", content: reply });
  } catch (e) {
    if (e.name === "AbortError") {
      say("Stopped.");
      talk.push({ role: "user", content: text }, { role: "assistant", content: reply });
    } else {
      say(e.message, true);
      if (reply === "") {
        said.remove();
        prompt.value = text;
      }
    }
  }
  clearInterval(timer);
  while (looking) await new Promise((go) => setTimeout(go, 10));
  await look().catch(() => {});
  running = null;
  el("send").disabled = false;
  el("stop").disabled = true;
  prompt.focus();
}

/* ---------------------------------------------------------------- keys and buttons */

async function send() {
  const text = prompt.value.trim();
  if (text === "" || running !== null) return;
  if (info === null && !(await start())) return;
  prompt.value = "";
  await answer(text);
}

function reset() {
  running?.abort();
  talk = [];
  log.replaceChildren();
  say("A new talk: the last one is forgotten.");
  prompt.focus();
}

async function start() {
  try {
    const response = await fetch("/stip/info", { headers: headers() });
    if (!response.ok) throw new Error(await failure(response));
    info = await response.json();
  } catch (e) {
    say(e.message, true);
    return false;
  }
  el("model").textContent = `${info.architecture}, ${info.context} tokens of context, server ${info.server}, head on the ${info.head}`;
  el("profile").textContent = info.profile;
  const engine = info.profile === "engine";
  for (const id of ["picture", "caption", "figures", "limits"]) el(id).hidden = engine;
  for (const id of ["engine-saw", "engine-limits"]) el(id).hidden = !engine;
  el("audit").hidden = !info.audit;
  el("audited").textContent = info.audit?.created.slice(0, 10) ?? ""; // the day
  el("verdict").replaceChildren(...(info.audit?.verdict ?? []).map((sentence) => {
    const li = document.createElement("li");
    li.textContent = sentence;
    return li;
  }));
  el("package").textContent = `Package ${info.package.slice(0, 16)}, stip ${info.version}.`;
  say(info.chat ? "" : "This model has no turns set: it continues your text.");
  return true;
}

el("form").addEventListener("submit", (e) => {
  e.preventDefault();
  send();
});
prompt.addEventListener("keydown", (e) => {
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
    e.preventDefault();
    send();
  }
});
document.addEventListener("keydown", (e) => {
  if (e.key === "Escape") running?.abort();
  if (e.altKey && e.key.toLowerCase() === "n") {
    e.preventDefault();
    reset();
  }
});
el("stop").addEventListener("click", () => running?.abort());
el("new").addEventListener("click", reset);
el("key").addEventListener("change", start);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
start();
