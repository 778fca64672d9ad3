/**
 * Machines on KVM through what users have: an engine's verbs, a network namespace, `run`, the library.
 * The other suites of this folder say the same, in more detail, of the software CPU. In a nested guest a
 * machine takes seconds, so there are few.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../../../index.ts";
import { hasHardwareVirtualization } from "../../../vmm-sandbox/index.ts";
import { World, whyNot } from "../../cli/end-to-end/world.ts";
import { CabledNamespaces, ip } from "./cabled-namespaces.ts";
import { guestKernel, whyNoMachine } from "./guest-kernel.ts";
import { skipFor } from "./machine-world.ts";
import { OciMachines, processesWith } from "./oci-machine.ts";

const PORT = 8080;

function whyNoKvm(): string | undefined {
  if (hasHardwareVirtualization(readFileSync("/proc/cpuinfo", "utf8"))) return undefined;
  return "this processor shows neither vmx nor svm: run `npm run test:kvm`";
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let tries = 0; !isTrue(); tries++) {
    assert.ok(tries < 300, "it did not happen within 30 s");
    await sleep(100);
  }
}

describe("an engine's machines on KVM", () => {
  let machines: OciMachines;

  before(function () {
    skipFor(this, whyNot() ?? whyNoKvm() ?? whyNoMachine());
    machines = new OciMachines({ cpu: "kvm" });
  });
  after(() => machines?.[Symbol.dispose]());
  afterEach("nothing is left", () => {
    assert.deepEqual(processesWith(machines.state), []);
  });

  it("run: input, output, the bundle's root, status", () => {
    machines.configure("cat; uname -r; echo made > /tmp/made; echo problem >&2; exit 7");
    const { status, stdout, stderr } = machines.run(["run", "k1"], { input: "typed\n" });
    assert.match(stdout, /^typed\n6\.1\./, stderr);
    assert.match(stderr, /problem/);
    assert.equal(status, 7);
    assert.equal(readFileSync(`${machines.rootfs}/tmp/made`, "utf8"), "made\n");
  });

  it("create, start, exec, kill, delete", async () => {
    machines.configure('trap "exit 9" TERM; echo up; while :; do sleep 0.1; done');
    machines.create("k2");
    assert.equal(machines.status("k2"), "created");
    assert.equal(machines.verb("start", "k2").status, 0);
    await until(() => machines.output("k2") === "up\n");
    const { status, stdout, stderr } = machines.verb("exec", "k2", "sh", "-c", "echo $$; exit 3");
    assert.match(stdout, /^\d+\n$/, stderr);
    assert.equal(status, 3);
    assert.equal(machines.verb("kill", "k2", "TERM").status, 0);
    await until(() => machines.status("k2") === "stopped");
    assert.equal(machines.verb("delete", "k2").status, 0);
  });

  it("joins its engine's network namespace, and leaves no trace in it", async () => {
    const body = randomBytes(300_000);
    mkdirSync(machines.path("www"));
    writeFileSync(machines.path("www/body"), body);
    using cable = new CabledNamespaces({ prefix: "mwk", network: "10.79.0" });
    await cable.serve(cable.outer, machines.path("www"), PORT);
    machines.configure(`wget -q -O - http://10.79.0.1:${PORT}/body | sha256sum`, {
      network: `/run/netns/${cable.inner}`,
    });
    const { stdout, stderr } = machines.verb("run", "k3");
    const digest = createHash("sha256").update(body).digest("hex");
    assert.equal(stdout, `${digest}  -\n`, stderr);
    assert.doesNotMatch(ip("-n", cable.inner, "link"), /manyworlds/);
  });
});

describe("containers on KVM", () => {
  let world: World;

  before(async function () {
    skipFor(this, whyNot() ?? whyNoKvm() ?? whyNoMachine());
    world = await World.make();
  });
  after(async () => world?.[Symbol.asyncDispose]());

  it("the library runs one, with streams and status, cold and from the snapshot", async () => {
    process.env["MANYWORLDS_KERNEL"] ??= guestKernel();
    for (const line of ["first", "second"]) {
      await using container = await run({
        image: world.image,
        root: world.root,
        isolation: "vm",
        cpu: "kvm",
        interactive: true,
        command: ["sh", "-c", "cat; exit 5"],
      });
      const writer = container.stdin?.getWriter();
      await writer?.write(Buffer.from(`${line}\n`));
      await writer?.close();
      let output = "";
      for await (const bytes of container.stdout) output += Buffer.from(bytes).toString();
      assert.equal(output, `${line}\n`);
      assert.equal(await container.wait(), 5);
      assert.equal(container.vm?.cpu, "kvm");
    }
    assert.equal(readdirSync(`${world.root}/vm-snapshots`).length, 1);
    assert.deepEqual(readdirSync(`${world.root}/containers`), []);
  });
});
