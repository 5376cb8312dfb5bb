// Runs every npm client script against one gateway and says which scenarios passed. Usage: node run.mjs BASE_URL
import { spawnSync } from "node:child_process";

const base = process.argv[2];
if (!base) {
  console.error("usage: node run.mjs http://127.0.0.1:PORT/v1");
  process.exit(2);
}
let failed = 0;
for (const script of ["openai.mjs", "langchain.mjs", "ai-sdk.mjs"]) {
  const run = spawnSync(process.execPath, [new URL(script, import.meta.url).pathname, base], { stdio: "inherit", timeout: 120000 });
  if (run.status !== 0) failed++;
}
process.exit(failed === 0 ? 0 : 1);
