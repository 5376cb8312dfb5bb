// The chat page in a headless browser: a prompt is typed, the answer streams in, the server's side shows rows, the page is
// accessible, with the verdict of the developer's audit, which the gateway's grant must have. Usage: node page.mjs URL [SCREENSHOT.png];
// STIP_SHOTS names a folder for pictures of the whole page, light and dark. STIP_CHROMIUM names the browser (default /usr/bin/chromium).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [url, shot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.STIP_CHROMIUM ?? "/usr/bin/chromium",
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const failures = [];

// What the browser complains about fails a scenario, but for lines that it expects.
async function scenario(name, colorScheme, run, expected = []) {
  const context = await browser.newContext({ viewport: { width: 1060, height: 700 }, colorScheme });
  const page = await context.newPage();
  const loud = [];
  page.on("console", (m) => m.type() === "error" && loud.push(m.text()));
  page.on("pageerror", (e) => loud.push(String(e)));
  page.on("request", (r) => r.url().startsWith(url) || r.url().startsWith("data:") || loud.push("outside: " + r.url()));
  try {
    await page.goto(url + "/");
    await run(page);
    assert.deepEqual(loud.filter((l) => !expected.some((e) => l.includes(e))), []);
    console.log(`ok   ${name}`);
  } catch (e) {
    console.log(`FAIL ${name}: ${e.stack}`);
    failures.push(name);
  }
  await context.close();
}

const idle = (page) => page.waitForFunction(() => !document.getElementById("send").disabled && document.querySelector(".assistant"));

async function audited(page) {
  assert.ok(await page.isVisible("#audit"));
  assert.match(await page.textContent("#audited"), /^\d{4}-\d\d-\d\d$/);
  assert.ok((await page.locator("#verdict li").count()) > 0);
  assert.match(await page.textContent("#verdict"), /A server that knows nothing else recovers/);
}

async function picture(page, name) {
  if (!process.env.STIP_SHOTS) return;
  await page.setViewportSize({ width: 1060, height: 1500 });
  await page.screenshot({ path: `${process.env.STIP_SHOTS}/${name}.png` });
}

async function accessible(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), []);
}

// How many pixels of the picture are not its background.
const painted = (page) =>
  page.evaluate(() => {
    const c = document.getElementById("picture"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    let n = 0;
    for (let i = 3; i < d.length; i += 4) n += d[i] === 255 ? 1 : 0;
    return n / c.width;
  });

await scenario("a prompt is answered and the server's rows are shown", "light", async (page) => {
  await page.waitForFunction(() => document.getElementById("model").textContent.includes("tokens of context"));
  assert.equal(await page.evaluate(() => document.activeElement.id), "prompt", "typing begins at once");
  await page.keyboard.type("What colour is the sky?");
  await page.keyboard.press("Enter");
  await idle(page);
  assert.equal(await page.textContent(".assistant"), "The sky is blue.");
  const rows = Number((await page.textContent("#rows")).split(" ")[0]);
  assert.ok(rows >= 14, "prompt and answer, and perhaps guesses");
  assert.equal(await painted(page), rows, "as many lines as rows went up");
  for (const id of ["up", "down", "trips"]) assert.match(await page.textContent("#" + id), /^[1-9]/);
  await page.keyboard.type("Tell me a story about a fox and a lantern.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".assistant")[1]?.textContent.length > 20);
  await idle(page);
  assert.ok((await painted(page)) > 40);
  await audited(page);
  await accessible(page);
  if (shot) await page.screenshot({ path: shot });
  await picture(page, "light");
});

await scenario("dark, and accessible too", "dark", async (page) => {
  await page.keyboard.type("What is the opposite of hot?");
  await page.keyboard.press("Enter");
  await idle(page);
  await audited(page);
  await accessible(page);
  await picture(page, "dark");
});

await scenario("escape stops an answer, alt and n begin a new talk", "light", async (page) => {
  await page.waitForFunction(() => document.getElementById("model").textContent.includes("tokens of context"));
  await page.fill("#temperature", "2");
  // Slow enough to be caught: the gateway's events are held until Escape has been pressed.
  await page.route("**/v1/chat/completions", () => {});
  await page.focus("#prompt");
  await page.keyboard.type("Go on");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => !document.getElementById("stop").disabled);
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.getElementById("status").textContent === "Stopped.");
  await page.keyboard.press("Alt+n");
  assert.equal(await page.evaluate(() => document.querySelectorAll(".message").length), 0);
});

await scenario("an error is shown and the text is not lost", "light", async (page) => {
  await page.waitForFunction(() => document.getElementById("model").textContent.includes("tokens of context"));
  await page.fill("#prompt", "word ".repeat(900));
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("status").className === "bad");
  assert.match(await page.textContent("#status"), /the context holds 512/);
  assert.ok((await page.inputValue("#prompt")).length > 4000);
}, ["status of 400"]);

await browser.close();
process.exit(failures.length === 0 ? 0 : 1);
