/** Starts a confined process that would live for ever, says which, and dies (confine.test.ts). */
import { startConfined } from "../../../vmm-sandbox/confine/index.ts";

const { pid } = startConfined({
  executable: process.execPath,
  args: ["bun", "-e", "setInterval(() => {}, 1000)"],
  env: [],
  stdio: [0, 2, 2],
});
process.stdout.write(`${pid}\n`);
process.kill(process.pid, "SIGKILL");
