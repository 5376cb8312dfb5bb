// scenario(name, function): runs it, prints one line; the process fails if one failed.
import assert from "node:assert/strict";

export { assert };
export const base = process.argv[2];
export const sky = [{ role: "user", content: "What colour is the sky?" }];
export const blue = "The sky is blue.";

export async function scenario(name, run) {
  try {
    await run();
    console.log(`ok   ${name}`);
  } catch (e) {
    console.log(`FAIL ${name}: ${e?.stack ?? e}`);
    process.exitCode = 1;
  }
}
