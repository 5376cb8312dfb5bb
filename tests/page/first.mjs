// The first question of somebody who has just opened the chat page: typed, sent, answered. Usage: node first.mjs URL
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.env.STIP_CHROMIUM ?? "/usr/bin/chromium",
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
const page = await browser.newPage();
await page.goto(process.argv[2] + "/");
await page.waitForFunction(() => document.getElementById("model").textContent.includes("tokens of context"));
await page.keyboard.type("What colour is the sky?");
await page.keyboard.press("Enter");
await page.waitForFunction(() => !document.getElementById("send").disabled && document.querySelector(".assistant"));
const answer = await page.textContent(".assistant");
await browser.close();
assert.equal(answer, "The sky is blue.");
