import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { useWorld, type World } from "./world.ts";

describe("images, end to end", function () {
  this.timeout(120_000);
  let world: World;
  useWorld((made) => {
    world = made;
  });

  function ok(...args: string[]): string {
    const { status, stdout, stderr } = world.mw(args);
    assert.equal(status, 0, `${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  it("pull prints the name on stdout, and its progress on stderr as asked", () => {
    const { stdout, stderr } = world.mw(["pull", "--progress", "json", world.image]);
    assert.equal(stdout, `${world.image}\n`);
    const events = stderr
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string; phase?: string });
    assert.ok(events.some(({ phase }) => phase === "downloading"));
    const quiet = world.mw(["pull", "-q", world.image]);
    assert.deepEqual([quiet.stdout, quiet.stderr], [`${world.image}\n`, ""]);
  });
  it("pull --all-tags brings every tag", () => {
    ok("tag", world.image, world.image.replace("latest", "second"));
    ok("push", "-q", world.image.replace("latest", "second"));
    const names = ok("pull", "-q", "--all-tags", world.image.replace(":latest", ""));
    assert.deepEqual(names.trim().split("\n").sort(), [
      world.image,
      world.image.replace("latest", "second"),
    ]);
  });
  it("images lists them in every format", () => {
    const table = ok("images");
    assert.match(table, /^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\n/);
    const [line] = ok("images", "--format", "jsonl").split("\n");
    const row = JSON.parse(line ?? "") as Record<string, string>;
    assert.equal(`${row["Repository"]}:${row["Tag"]}`, world.image);
    assert.equal((JSON.parse(ok("images", "--format", "json")) as unknown[]).length, 2);
    assert.equal(ok("images", "-q").trim().split("\n").length, 1);
    assert.match(
      ok("images", "--digests", "--no-trunc"),
      /sha256:[0-9a-f]{64} +sha256:[0-9a-f]{64}/,
    );
    assert.match(ok("images", "--format", "table {{.Tag}}\\t{{.Size}}"), /^TAG +SIZE\n/);
    assert.equal(ok("images", "--filter", "label=maker=test", "-q").trim().length, 12);
    assert.equal(ok("images", "--filter", "label=maker=other", "-q"), "");
    assert.equal(ok("images", "nowhere", "-q"), "");
  });
  it("inspect and history tell what the image says", () => {
    const [image] = JSON.parse(ok("inspect", world.image)) as [
      { Config: { Env: string[] }; RepoTags: string[]; Architecture: string },
    ];
    assert.ok(image.Config.Env.includes("FROM_IMAGE=yes"));
    assert.equal(image.Architecture, "amd64");
    assert.equal(ok("inspect", "-f", '{{index .Config.Labels "maker"}}', world.image), "test\n");
    assert.match(ok("history", "--no-trunc", world.image), /CMD echo +0B\n.*ADD tree \//s);
    const missing = world.mw(["inspect", "nope"]);
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /Cannot find image "nope"/);
  });
  it("save and load bring an image to another store, as docker's archive", () => {
    const archive = world.path("image.tar");
    ok("save", "-o", archive, world.image);
    const names = execFileSync("tar", ["tf", archive], { encoding: "utf8" });
    assert.match(names, /^manifest\.json$/m);
    assert.match(names, /^index\.json$/m);
    const root = world.path("loaded");
    const loaded = world.mw(["load", "-q", "-i", archive], { root });
    assert.match(loaded.stdout, /^Loaded image: .*busybox:latest\n/, loaded.stderr);
    assert.equal(
      world.mw(["run", "--rm", world.image, "echo", "works"], { root }).stdout,
      "works\n",
    );
    assert.equal(existsSync(`${archive}.partial`), false);
  });
  it("export and import make an image of a container", () => {
    ok("run", "--name", "changed", world.image, "sh", "-c", "echo mine > /file; rm /etc/group");
    const tar = world.path("rootfs.tar");
    ok("export", "-o", tar, "changed");
    const names = execFileSync("tar", ["tf", tar], { encoding: "utf8" });
    assert.match(names, /^(\.\/)?file$/m);
    assert.doesNotMatch(names, /etc\/group/);
    const id = ok(
      "import",
      "-c",
      'CMD ["cat", "/file"]',
      "-c",
      "ENV A=1",
      "-m",
      "note",
      tar,
      "made:1",
    );
    assert.match(id, /^sha256:[0-9a-f]{64}\n$/);
    assert.equal(ok("run", "--rm", "made:1"), "mine\n");
    assert.equal(ok("inspect", "-f", "{{.Comment}} {{.Config.Env}}", "made:1"), "note [A=1]\n");
  });
  it("rmi keeps what containers stand on, and rm frees it", () => {
    ok("rmi", world.image.replace("latest", "second"));
    const refused = world.mw(["rmi", world.image]);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /container ".*" stands on it/);
    assert.equal(ok("rm", "changed"), "changed\n");
    assert.match(ok("rmi", world.image), /^Untagged: .*\nDeleted: sha256:/s);
  });
  it("df adds up to what du says", () => {
    const rows = JSON.parse(ok("df", "--format", "json")) as { Type: string; Size: string }[];
    const total = rows.find(({ Type }) => Type === "Total");
    const bytes = Number(
      execFileSync("du", ["-s", "--block-size=1", world.root], { encoding: "utf8" }).split("\t")[0],
    );
    const shown = (bytes / (bytes >= 1e6 ? 1e6 : 1e3)).toPrecision(3).replace(/\.?0+$/, "");
    assert.equal(total?.Size, `${shown}${bytes >= 1e6 ? "MB" : "kB"}`);
  });
  it("prune asks, and removes only what nothing refers to", () => {
    assert.match(world.mw(["prune"]).stderr, /Cannot ask: standard input is not a terminal/);
    ok("prune", "-f");
    assert.equal(ok("run", "--rm", "made:1"), "mine\n");
    assert.match(ok("image", "prune", "-a", "-f"), /Untagged: made:1/);
    assert.equal(ok("images", "-q"), "");
  });
  it("hostile archives are refused by name of the entry", () => {
    const directory = world.path("hostile");
    mkdirSync(directory);
    writeFileSync(`${directory}/victim`, "x");
    const tar = world.path("hostile.tar");
    execFileSync("tar", [
      "-C",
      directory,
      "--transform",
      "s,victim,../../../escaped,",
      "-P",
      "-cf",
      tar,
      "victim",
    ]);
    const imported = world.mw(["import", tar, "hostile:1"]);
    const outcome = imported.status === 0 ? world.mw(["run", "--rm", "hostile:1", "x"]) : imported;
    assert.notEqual(outcome.status, 0);
    assert.equal(existsSync(world.path("escaped")), false);
    assert.equal(existsSync("/escaped"), false);
  });
  it("explain shows the calls, the rows and the configuration", () => {
    const bundle = world.path("bundle");
    mkdirSync(`${bundle}/rootfs`, { recursive: true });
    const config = ok("explain", "--format", "config", world.image, "true");
    assert.equal((JSON.parse(config) as { process: { args: string[] } }).process.args[0], "true");
    assert.match(config, /SCMP_ACT_ERRNO/);
    writeFileSync(`${bundle}/config.json`, config);
    assert.match(world.mw(["explain", "--bundle", bundle]).stderr, /root file system is missing/);
    const own = { ...(JSON.parse(config) as object), root: { path: "rootfs" } };
    writeFileSync(`${bundle}/config.json`, JSON.stringify(own));
    const text = ok("explain", world.image);
    assert.match(text, /^pivot_root\("\.", "\."\)/m);
    assert.match(text, /seccomp\(/);
    assert.match(ok("explain", "--bundle", bundle), /execve\(/);
    assert.ok(
      Array.isArray(
        (JSON.parse(ok("explain", "--format", "json", world.image)) as { rows: unknown[] }).rows,
      ),
    );
    assert.deepEqual(world.leftovers(), []);
  });
  it("login checks, keeps and forgets", () => {
    const server = world.registry.domain;
    const config = world.path("docker-config");
    mkdirSync(config);
    const env = { DOCKER_CONFIG: config };
    const login = world.mw(["login", "-u", "ann", "--password-stdin", server], {
      input: "secret\n",
      env,
    });
    assert.equal(login.stdout, "Login Succeeded\n", login.stderr);
    const file = `${config}/config.json`;
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.ok(readFileSync(file, "utf8").includes(Buffer.from("ann:secret").toString("base64")));
    assert.equal(world.mw(["logout", server], { env }).status, 0);
    assert.ok(!readFileSync(file, "utf8").includes(Buffer.from("ann:secret").toString("base64")));
    assert.match(world.mw(["login", server]).stderr, /standard input is not a terminal/);
  });
  it("version, info, doctor and completion answer", () => {
    assert.match(ok("version"), /^manyworlds version \d/);
    assert.match(ok("info", "--format", "{{.Driver}} {{.RootDir}}"), /^overlayfs /);
    const { findings } = JSON.parse(ok("doctor", "--format", "json")) as {
      findings: { name: string; usable: string; cause?: string; cure?: string }[];
    };
    for (const { name, usable, cause, cure } of findings) {
      assert.ok(usable === "yes" || (cause !== undefined && cure !== undefined), name);
    }
    assert.match(
      ok("__complete", "--", "run", ""),
      new RegExp(`^${world.image.replaceAll(".", "\\.")}\timage$`, "m"),
    );
  });
});
