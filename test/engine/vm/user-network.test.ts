/** `run --isolation vm --network passt`: what is outside can be reached, the host's loopback cannot. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { command, World, whyNot } from "../../cli/end-to-end/world.ts";
import { guestKernel, whyNoMachine } from "./guest-kernel.ts";

/** More than all buffers on the way hold: what does not fit at once has to wait, not to be lost. */
const LARGE_BYTES = 16_000_000;

describe("a machine's user network", function () {
  this.timeout(120_000);
  const [inner, outer] = [`mwp${process.pid}`, `mwp${process.pid}o`];
  const servers: ChildProcess[] = [];
  let world: World;

  before("make a host with a network of its own, and a server outside", async function () {
    const reason =
      whyNot() ??
      whyNoMachine() ??
      (existsSync("/usr/bin/passt") ? undefined : "passt is not installed");
    if (reason !== undefined) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    world = await World.make();
    assert.equal(world.mw(["pull", world.image]).status, 0);
    for (const one of [inner, outer]) ip("netns", "add", one);
    ip("link", "add", "eth0", "netns", inner, "type", "veth", "peer", "name", "o", "netns", outer);
    for (const [one, device, last] of [
      [inner, "eth0", 2],
      [outer, "o", 1],
    ] as const) {
      ip("-n", one, "link", "set", "lo", "up");
      ip("-n", one, "addr", "add", `10.78.0.${last}/24`, "dev", device);
      ip("-n", one, "link", "set", device, "up");
    }
    ip("-n", inner, "route", "add", "default", "via", "10.78.0.1");
    mkdirSync(world.path("www"));
    writeFileSync(world.path("www/text"), "from outside\n");
    writeFileSync(world.path("www/large"), new Uint8Array(LARGE_BYTES));
    for (const one of [inner, outer]) {
      const args = ["netns", "exec", one, "busybox", "httpd", "-f", "-p", "8080"];
      servers.push(spawn("ip", [...args, "-h", world.path("www")], { stdio: "ignore" }));
    }
    await sleep(500);
  });
  after(async () => {
    for (const server of servers) server.kill("SIGKILL");
    for (const one of [inner, outer]) if (existsSync(`/run/netns/${one}`)) ip("netns", "del", one);
    await world?.[Symbol.asyncDispose]();
  });

  it("leads out, not to the host's loopback, and passt ends with the machine", () => {
    const script = `ip -o -4 addr show eth0 | awk '{print $4}'; cat /etc/resolv.conf | head -1
      wget -q -O - http://10.78.0.1:8080/text
      timeout 20 wget -q -O - http://10.78.0.1:8080/large | wc -c
      timeout 3 wget -q -O - http://10.0.2.2:8080/text || echo no way in`;
    const flags = ["--isolation", "vm", "--cpu", "software", "--kernel", guestKernel()];
    const words = ["run", "--rm", ...flags, "--network", "passt", world.image, "sh", "-c", script];
    const enter = [`--net=/run/netns/${inner}`, "--", ...command];
    const { stdout, stderr } = spawnSync("nsenter", [...enter, ...words], {
      encoding: "utf8",
      env: world.env(),
      timeout: 100_000,
    });
    const seen = "10.0.2.15/24\nnameserver 10.0.2.3\nfrom outside\n16000000\nno way in\n";
    assert.equal(stdout, seen, stderr);
    const { stdout: left } = spawnSync("ip", ["netns", "pids", inner], { encoding: "utf8" });
    assert.equal(left.trim().split("\n").length, 1, "only the server is left");
  });

  it("is refused for a container", () => {
    const { status, stderr } = world.mw(["run", "--network", "passt", world.image, "true"]);
    assert.equal(status, 125);
    assert.match(stderr, /Cannot use --network passt: it is for virtual machines/);
  });
});

function ip(...args: readonly string[]): void {
  execFileSync("ip", args);
}
