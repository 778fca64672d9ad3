/** A machine in its engine's network namespace: veth, addresses, routes, MTU, and what is cleaned up. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CabledNamespaces, ip } from "./cabled-namespaces.ts";
import { whyNoMachine } from "./guest-kernel.ts";
import { skipFor } from "./machine-world.ts";
import { OciMachines } from "./oci-machine.ts";

const PORT = 8080;

describe("network of a machine for the OCI runtime", function () {
  this.timeout(120_000);
  const body = randomBytes(1_500_000);
  let machines: OciMachines;
  let cable: CabledNamespaces;
  let inner: string;

  before("make two namespaces with a cable between them, and a server", async function () {
    skipFor(this, whyNot());
    machines = new OciMachines();
    cable = new CabledNamespaces({
      prefix: "mwt",
      network: "10.77.0",
      network6: "fd77",
      mtu: 1400,
    });
    inner = cable.inner;
    mkdirSync(machines.path("www"));
    writeFileSync(machines.path("www/body"), body);
    await cable.serve(cable.outer, machines.path("www"), PORT);
  });
  after(() => {
    cable?.[Symbol.dispose]();
    machines?.[Symbol.dispose]();
  });

  it("has its address, routes and MTU, reaches servers, and leaves no trace", () => {
    machines.configure(
      `ip -o addr show eth0 | awk '{print $4}' | grep -v fe80; ip route | grep default
       cat /sys/class/net/eth0/mtu /sys/class/net/eth0/address
       wget -q -O - http://10.77.0.1:${PORT}/body | sha256sum
       wget -q -O - http://[fd77::1]:${PORT}/body | sha256sum`,
      { network: `/run/netns/${inner}` },
    );
    const { stdout, stderr } = machines.verb("run", "n1");
    const digest = `${createHash("sha256").update(body).digest("hex")}  -`;
    const mac = ip("-n", inner, "link", "show", "eth0").match(/ether (\S+)/)?.[1];
    assert.deepEqual(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.trim()),
      ["10.77.0.2/24", "fd77::2/64", "default via 10.77.0.1 dev eth0", "1400", mac, digest, digest],
      stderr,
    );
    assert.doesNotMatch(ip("-n", inner, "link"), /manyworlds/);
    assert.doesNotMatch(tc("qdisc", "show", "dev", "eth0"), /ingress/);
  });

  it("starts from a snapshot that another network's machine has made", () => {
    const folder = machines.path("root/vm-snapshots");
    const [name = "", ...others] = readdirSync(folder);
    assert.deepEqual(others, []);
    const { mtimeMs: made } = statSync(join(folder, name));
    const mac = "02:11:22:33:44:55";
    ip("-n", inner, "link", "set", "eth0", "address", mac);
    ip("-n", inner, "addr", "add", "10.77.0.9/24", "dev", "eth0");
    machines.configure(
      `cat /sys/class/net/eth0/address; ip -o -4 addr show eth0 | awk '{print $4}'
       wget -q -O - http://10.77.0.1:${PORT}/body | wc -c`,
      { network: `/run/netns/${inner}` },
    );
    const { stdout, stderr } = machines.verb("run", "n5");
    assert.equal(stdout, `${mac}\n10.77.0.2/24\n10.77.0.9/24\n${body.length}\n`, stderr);
    assert.deepEqual(readdirSync(folder), [name], "the same one");
    assert.ok(statSync(join(folder, name)).mtimeMs > made, "it was used");
  });

  it("refuses a namespace that another machine has, and takes over from one that was killed", async () => {
    machines.configure("sleep 1000", { network: `/run/netns/${inner}` });
    const pid = machines.create("n2");
    assert.equal(machines.verb("start", "n2").status, 0);
    const second = machines.verb("run", "n3");
    assert.match(second.stderr, /another one is connected to it/);
    process.kill(pid, "SIGKILL");
    for (let tries = 0; machines.status("n2") !== "stopped" && tries < 50; tries++)
      await sleep(100);
    machines.verb("delete", "n2");
    assert.match(tc("qdisc", "show", "dev", "eth0"), /ingress/);
    machines.configure(`wget -q -O - http://10.77.0.1:${PORT}/body | wc -c`, {
      network: `/run/netns/${inner}`,
    });
    assert.equal(machines.verb("run", "n4").stdout, `${body.length}\n`);
  });

  it("a pod has its sandbox as a plain container, and one machine in its network", () => {
    const role = (name: string) => ({ "io.kubernetes.cri.container-type": name });
    const network = `/run/netns/${inner}`;
    machines.configure("uname -r; sleep 1000", { network, annotations: role("sandbox") });
    const podOf = machines.create("pod");
    assert.equal(machines.verb("start", "pod").status, 0);
    const process = { env: ["PATH=/bin", "HOSTNAME=pod-name"] };
    machines.configure(`uname -r; hostname; wget -q -O - http://10.77.0.1:${PORT}/body | wc -c`, {
      network,
      podOf,
      process,
      annotations: role("container"),
    });
    const { stdout, stderr } = machines.verb("run", "member");
    const [guest, ...rest] = stdout.trim().split("\n");
    assert.deepEqual(rest, ["pod-name", String(body.length)], stderr);
    const host = readFileSync("/proc/sys/kernel/osrelease", "utf8");
    assert.equal(machines.output("pod"), host);
    assert.notEqual(guest, host.trim());
    machines.verb("delete", "--force", "pod");
  });

  function tc(...args: readonly string[]): string {
    return execFileSync("tc", ["-n", inner, ...args], { encoding: "utf8" });
  }
});

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "network namespaces need root";
  if (!existsSync("/usr/sbin/tc") && !existsSync("/sbin/tc")) return "iproute2 is not installed";
  return whyNoMachine();
}
