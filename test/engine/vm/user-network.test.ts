/** `run --isolation vm --network passt`: what is outside can be reached, the host's loopback cannot. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { command } from "../../cli/end-to-end/world.ts";
import { CabledNamespaces } from "./cabled-namespaces.ts";
import { guestKernel } from "./guest-kernel.ts";
import { useMachineWorld } from "./machine-world.ts";

/** More than all buffers on the way hold: what does not fit at once has to wait, not to be lost. */
const LARGE_BYTES = 16_000_000;

describe("a machine's user network", function () {
  this.timeout(120_000);
  const world = useMachineWorld({
    otherReason: () => (existsSync("/usr/bin/passt") ? undefined : "passt is not installed"),
  });
  let cable: CabledNamespaces;

  before("make a host with a network of its own, and a server outside", async () => {
    const { image } = world.get();
    assert.equal(world.get().mw(["pull", image]).status, 0);
    cable = new CabledNamespaces({ prefix: "mwp", network: "10.78.0" });
    const files = world.get().path("www");
    mkdirSync(files);
    writeFileSync(`${files}/text`, "from outside\n");
    writeFileSync(`${files}/large`, new Uint8Array(LARGE_BYTES));
    for (const one of [cable.inner, cable.outer]) await cable.serve(one, files, 8080);
  });
  after(() => cable?.[Symbol.dispose]());

  it("leads out, not to the host's loopback, and passt ends with the machine", () => {
    const { inner } = cable;
    const { image } = world.get();
    const script = `ip -o -4 addr show eth0 | awk '{print $4}'; cat /etc/resolv.conf | head -1
      wget -q -O - http://10.78.0.1:8080/text
      timeout 20 wget -q -O - http://10.78.0.1:8080/large | wc -c
      timeout 3 wget -q -O - http://10.0.2.2:8080/text || echo no way in`;
    const flags = ["--isolation", "vm", "--cpu", "software", "--kernel", guestKernel()];
    const words = ["run", "--rm", ...flags, "--network", "passt", image, "sh", "-c", script];
    const enter = [`--net=/run/netns/${inner}`, "--", ...command];
    const { stdout, stderr } = spawnSync("nsenter", [...enter, ...words], {
      encoding: "utf8",
      env: world.get().env(),
      timeout: 100_000,
    });
    const seen = "10.0.2.15/24\nnameserver 10.0.2.3\nfrom outside\n16000000\nno way in\n";
    assert.equal(stdout, seen, stderr);
    const { stdout: left } = spawnSync("ip", ["netns", "pids", inner], { encoding: "utf8" });
    assert.equal(left.trim().split("\n").length, 1, "only the server is left");
  });

  it("is refused for a container", () => {
    const { image } = world.get();
    const { status, stderr } = world.get().mw(["run", "--network", "passt", image, "true"]);
    assert.equal(status, 125);
    assert.match(stderr, /Cannot use --network passt: it is for virtual machines/);
  });
});
