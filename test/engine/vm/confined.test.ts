/** `run --isolation vm` keeps the machine in a confined process, and streams pass through it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { World, whyNot } from "../../cli/end-to-end/world.ts";

const kernel = fileURLToPath(new URL("../../../.cache/guest-kernel/current", import.meta.url));

describe("run in a machine", function () {
  this.timeout(120_000);
  let world: World;

  before(async function () {
    const reason = whyNot() ?? (existsSync(kernel) ? undefined : `no ${kernel}`);
    if (reason !== undefined) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    world = await World.make();
  });
  after(async () => world?.[Symbol.asyncDispose]());

  it("has a monitor that is sealed and has no capability, and ends with its container", async () => {
    const args = ["run", "--rm", "-i", "--isolation", "vm", "--cpu", "software", world.image];
    const run = world.start([...args, "sh", "-c", "cat; exit 9"]);
    run.stdin?.write("ready\n");
    const [first] = await once(run.stdout ?? run, "data");
    assert.equal(String(first), "ready\n");
    const monitors = childrenOf(run.pid ?? 0);
    assert.equal(monitors.length, 1);
    const status = readFileSync(`/proc/${monitors[0]}/status`, "utf8");
    assert.match(status, /^Seccomp:\t2$/m);
    assert.match(status, /^CapBnd:\t0{16}$/m);
    run.stdin?.end();
    const [code] = await once(run, "exit");
    assert.equal(code, 9);
    assert.ok(!existsSync(`/proc/${monitors[0]}`));
  });
});

/** Of all threads: any of them may have made a process. */
function childrenOf(pid: number): readonly string[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );
}
