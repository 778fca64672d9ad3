import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { World, whyNot } from "./world.ts";

const NOBODY = 65534;
const project = fileURLToPath(new URL("../../..", import.meta.url));

describe("manyworlds as an ordinary user", function () {
  this.timeout(120_000);
  let world: World;

  function mw(...args: string[]): SpawnSyncReturns<string> {
    const home = world.path("home");
    return spawnSync(`${project}/node_modules/.bin/bun`, [`${project}/cli/main.ts`, ...args], {
      encoding: "utf8",
      uid: NOBODY,
      gid: NOBODY,
      cwd: home,
      // an empty list of supplementary groups comes with the change of user
      env: { PATH: process.env["PATH"] ?? "", HOME: home, USER: "nobody" },
    });
  }

  before(async function () {
    const reason = whyNot();
    if (reason === undefined) {
      world = await World.make();
      chmodSync(world.directory, 0o711);
      mkdirSync(world.path("home"));
      chownSync(world.path("home"), NOBODY, NOBODY);
    }
    const blocked =
      reason ??
      (mw("version").status === 0 ? undefined : "an ordinary user cannot read these sources");
    const namespaces =
      spawnSync("unshare", ["-U", "true"], { uid: NOBODY, gid: NOBODY }).status === 0;
    const why = blocked ?? (namespaces ? undefined : "user namespaces are not allowed here");
    if (why === undefined) return;
    console.log(`      skipped: ${why}`);
    this.skip();
  });
  after(async () => world?.[Symbol.asyncDispose]());

  it("pulls and runs, as root of its own namespace", () => {
    const { stdout, stderr, status } = mw(
      "run",
      "--rm",
      world.image,
      "sh",
      "-c",
      "id -u; touch /x && echo written; cat /proc/self/uid_map; ls /sys/class/net",
    );
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^0\nwritten\n +0 +65534 +1\nlo\n$/);
  });
  it("passes exit statuses on, and shares the host's network when asked", () => {
    assert.equal(mw("run", "--rm", world.image, "sh", "-c", "exit 9").status, 9);
    assert.equal(mw("run", "--rm", world.image, "nope").status, 127);
    const { stdout } = mw("run", "--rm", "--network", "host", world.image, "ls", "/sys/class/net");
    assert.ok(stdout.includes("lo"), stdout);
  });
  it("runs in the background, is entered, and ends as it says", () => {
    const script = "echo hi; sleep 1000";
    const { stdout, stderr } = mw("run", "-d", "--name", "back", world.image, "sh", "-c", script);
    assert.match(stdout, /^[0-9a-f]{64}\n$/, stderr);
    assert.equal(mw("exec", "back", "id", "-u").stdout, "0\n");
    assert.equal(mw("logs", "back").stdout, "hi\n");
    assert.equal(mw("kill", "back").status, 0);
    assert.equal(mw("wait", "back").stdout, "137\n");
    assert.match(mw("ps", "-a", "--format", "{{.Status}}").stdout, /^Exited \(137\)/);
    assert.equal(mw("rm", "back").status, 0);
  });

  it("refuses what it cannot do", () => {
    assert.match(mw("run", "--rm", "-m", "64m", world.image).stderr, /Cannot limit memory/);
    assert.match(mw("run", "--rm", "-u", "web", world.image).stderr, /only root exists inside/);
  });
  it("keeps its things in the XDG directory, and leaves none of a container's", () => {
    assert.equal(mw("ps", "-aq").stdout, "");
    assert.match(
      mw("info", "--format", "{{.RootDir}}").stdout,
      /home\/\.local\/share\/manyworlds\n$/,
    );
    assert.equal(mw("rmi", world.image).status, 0);
  });
});
