/**
 * Texts and exit codes that engines match (checked against runc 1.1.5 and the sources of
 * containerd, Docker, Podman and CRI-O): one table, a container in a known state per group.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import type { Container } from "../container.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("engines, texts and exit codes");

type Situation = "none" | "created" | "running" | "paused" | "stopped";

interface Golden {
  readonly when: Situation;
  /** `@ID` stands for the container, `@BUNDLE` for its bundle. */
  readonly args: readonly string[];
  readonly status: number;
  /** The message of the one error line, without what comes before it; absent: nothing is said. */
  readonly error?: RegExp;
  readonly stdout?: RegExp;
}

// biome-ignore format: table
const goldens: readonly Golden[] = [
  { when: "none",    args: ["state", "@ID"],               status: 1, error: /^container does not exist$/ },
  { when: "none",    args: ["start", "@ID"],               status: 1, error: /^container does not exist$/ },
  { when: "none",    args: ["kill", "@ID", "9"],           status: 1, error: /^container does not exist$/ },
  { when: "none",    args: ["delete", "@ID"],              status: 1, error: /^container does not exist$/ },
  { when: "none",    args: ["delete", "--force", "@ID"],   status: 0 },
  { when: "none",    args: ["pause", "@ID"],               status: 1, error: /^container does not exist$/ },
  { when: "none",    args: ["resume", "@ID"],              status: 1, error: /^container does not exist$/ },
  { when: "none",    args: ["ps", "@ID"],                  status: 1, error: /^container does not exist$/ },
  { when: "none",    args: ["exec", "@ID", "true"],        status: 255, error: /^exec failed: container does not exist$/ },
  { when: "none",    args: ["list", "-q"],                status: 0, stdout: /^$/ },
  { when: "none",    args: ["list", "--format", "json"],  status: 0, stdout: /^(null|\[\])\s*$/ },

  { when: "created", args: ["create", "-b", "@BUNDLE", "@ID"], status: 1, error: /container with given ID already exists$/ },
  { when: "created", args: ["pause", "@ID"],               status: 0 },
  { when: "created", args: ["list", "-q"],                status: 0, stdout: /^@ID\n$/ },
  { when: "created", args: ["ps", "--format", "json", "@ID"], status: 0, stdout: /^\[@PID\]\s*$/ },
  { when: "created", args: ["kill", "@ID", "9"],           status: 0 },

  { when: "running", args: ["start", "@ID"],               status: 1, error: /^cannot start an already running container$/ },
  { when: "running", args: ["ps", "--format", "json", "@ID"], status: 0, stdout: /^\[@PID\]\s*$/ },
  { when: "running", args: ["ps", "@ID"],                  status: 0, stdout: /^UID\s+PID\s.*\n.*\b@PID\b.*sleep/ },
  { when: "running", args: ["exec", "@ID", "/bin/true"],   status: 0 },
  { when: "running", args: ["exec", "@ID", "/bin/sh", "-c", "exit 42"], status: 42 },
  { when: "running", args: ["exec", "@ID", "/bin/sh", "-c", "sleep 0.2; exit 43"], status: 43 },
  { when: "running", args: ["exec", "--env", "A=44", "@ID", "/bin/sh", "-c", "sleep 0.2; exit $A"], status: 44 },
  { when: "running", args: ["exec", "@ID", "/bin/sh", "-c", "kill -9 $$"], status: 137 },
  { when: "running", args: ["exec", "@ID", "/bin/nope"],   status: 255, error: /^exec failed: unable to start container process: exec: "\/bin\/nope": stat \/bin\/nope: no such file or directory$/ },
  { when: "running", args: ["exec", "@ID", "nope"],        status: 255, error: /^exec failed: unable to start container process: exec: "nope": executable file not found in \$PATH$/ },
  { when: "running", args: ["exec", "@ID", "/tmp"],        status: 255, error: /^exec failed: unable to start container process: exec: "\/tmp": permission denied$/ },
  { when: "running", args: ["exec", "@ID", "/etc/passwd"], status: 255, error: /^exec failed: unable to start container process: exec: "\/etc\/passwd": permission denied$/ },
  { when: "running", args: ["exec", "--cwd", "/nowhere", "@ID", "true"], status: 255, error: /^exec failed: .*(no such file or directory|does not exist)/ },
  { when: "running", args: ["resume", "@ID"],              status: 1, error: /^container not paused$/ },
  { when: "running", args: ["delete", "@ID"],              status: 1, error: /^cannot delete container "?@ID"? that is not stopped: running/ },
  { when: "running", args: ["delete", "--force", "@ID"],   status: 0 },
  { when: "running", args: ["delete", "-f", "@ID"],        status: 0 },
  { when: "running", args: ["kill", "--all", "@ID", "9"],  status: 0 },
  { when: "running", args: ["kill", "-a", "@ID", "KILL"],  status: 0 },
  { when: "running", args: ["kill", "@ID", "NOSUCH"],      status: 1, error: /unknown signal "NOSUCH"|invalid signal/ },
  { when: "running", args: ["list"],                      status: 0, stdout: /^ID +PID +STATUS +BUNDLE +CREATED +OWNER\n@ID +@PID +running +@BUNDLE +\d{4}-\d\d-\d\dT.*Z +root\s*\n$/ },

  { when: "paused",  args: ["kill", "@ID", "KILL"],        status: 0 },
  { when: "paused",  args: ["resume", "@ID"],              status: 0 },
  { when: "paused",  args: ["state", "@ID"],               status: 0, stdout: /"status": "paused"/ },
  { when: "paused",  args: ["exec", "@ID", "true"],        status: 255, error: /^exec failed: cannot exec in a paused container/ },
  { when: "paused",  args: ["start", "@ID"],               status: 1, error: /paused|already running/ },
  { when: "paused",  args: ["delete", "--force", "@ID"],   status: 0 },

  { when: "stopped", args: ["start", "@ID"],               status: 1, error: /^cannot start a container that has stopped$/ },
  { when: "stopped", args: ["kill", "@ID", "TERM"],        status: 1, error: /^container not running$/ },
  { when: "stopped", args: ["kill", "--all", "@ID", "9"],  status: 0 },
  { when: "stopped", args: ["pause", "@ID"],               status: 1, error: /^container not running$/ },
  { when: "stopped", args: ["resume", "@ID"],              status: 1, error: /^container not paused$/ },
  { when: "stopped", args: ["exec", "@ID", "true"],        status: 255, error: /^exec failed: cannot exec in a stopped container$/ },
  { when: "stopped", args: ["update", "--pids-limit", "10", "@ID"], status: 1, error: /^container not running$/ },
  { when: "stopped", args: ["ps", "--format", "json", "@ID"], status: 0, stdout: /^(null|\[\])\s*$/ },
  { when: "stopped", args: ["state", "@ID"],               status: 0, stdout: /"pid": 0,.*"status": "stopped"/s },
  { when: "stopped", args: ["delete", "@ID"],              status: 0 },
  { when: "stopped", args: ["delete", "--force", "@ID"],   status: 0 },
];

async function situation(t: Trial, when: Situation): Promise<Container> {
  if (when === "none") return t.container();
  const container = await t.create("", (config) => {
    config.process.args = when === "stopped" ? ["/bin/true"] : ["/bin/sleep", "100"];
  });
  if (when !== "created") await container.start();
  if (when === "stopped") await container.exited();
  if (when === "paused") await t.ok(["pause", container.id]);
  return container;
}

/** Puts the trial's own ID, pid and bundle where a pattern names them. */
function fill(pattern: RegExp, t: Trial, container: Container): RegExp {
  const pid = pattern.source.includes("@PID") ? String(container.pid) : "";
  const source = pattern.source
    .replaceAll("@ID", container.id)
    .replaceAll("@PID", pid)
    .replaceAll("@BUNDLE", t.bundle.replaceAll(/[.\\]/g, "\\$&"));
  return new RegExp(source, pattern.flags);
}

/** logrus text: time="…" level=error msg="…". */
export function parseErrorLine(stderr: string): string {
  const lines = stderr.trim().split("\n").filter(Boolean);
  assert.equal(lines.length, 1, `expected one line on stderr, got: ${stderr}`);
  const parsed = /^time="[^"]+" level=error msg="((?:[^"\\]|\\.)*)"$/.exec(lines[0] ?? "");
  assert.ok(parsed, `expected time="…" level=error msg="…", got: ${stderr}`);
  return JSON.parse(`"${parsed[1]}"`) as string;
}

function goldenRow({ when, args, status, error, stdout }: Golden): Row {
  const words = args
    .filter((arg) => !arg.startsWith("@"))
    .map((arg) => arg.replaceAll(/[^A-Za-z0-9]+/g, ""))
    .filter(Boolean);
  const id = `text-${when}-${words.join("-")}`.slice(0, 60);
  const claim = `${args.join(" ")} with container ${when}: status ${status}${error ? `, ${error.source}` : ""}`;
  return row("contract", id, claim, async (t) => {
    const container = await situation(t, when);
    const real = args.map((arg) =>
      arg === "@ID" ? container.id : arg === "@BUNDLE" ? t.bundle : arg,
    );
    const wanted = stdout && fill(stdout, t, container);
    const outcome = await t.verb(real);
    assert.equal(outcome.status, status, outcome.stderr);
    if (wanted) assert.match(outcome.stdout, wanted);
    if (error === undefined) assert.equal(outcome.stderr, "");
    else assert.match(parseErrorLine(outcome.stderr), fill(error, t, container));
  });
}

/** What engines look for in the error of a create that cannot start its program. */
// biome-ignore format: table
const createErrors: readonly (readonly [id: string, args: readonly string[], wanted: RegExp])[] = [
  ["not-in-path",    ["no-such-program"], /exec: "no-such-program": executable file not found in \$PATH$/],
  ["no-such-file",   ["/no/such"],        /exec: "\/no\/such": stat \/no\/such: no such file or directory$/],
  ["not-executable", ["/etc/passwd"],     /exec: "\/etc\/passwd": permission denied$/],
  ["a-folder",       ["/tmp"],            /exec: "\/tmp": (is a directory|permission denied)$/],
];

export const contractTextRows: readonly Row[] = [
  ...goldens.map(goldenRow),
  ...createErrors.map(([id, args, wanted]) =>
    row(
      "contract",
      `text-create-${id}`,
      `create of ${args[0]} says ${wanted.source}`,
      async (t) => {
        const { outcome } = await t.tryCreate("", (config) => {
          config.process.args = [...args];
        });
        assert.equal(outcome.status, 1);
        const message = parseErrorLine(outcome.stderr);
        assert.match(message, wanted);
        assert.match(message, /^\w[\w-]* create failed: unable to start container process: /);
      },
    ),
  ),
  row(
    "contract",
    "text-create-format-error",
    "a program of no known format fails with exec format error, at start or create",
    async (t) => {
      writeFileSync(`${t.rootfs}/garbage`, "\x00\x01garbage", { mode: 0o755 });
      const outcome = await t.run("", (config) => {
        config.process.args = ["/garbage"];
      });
      assert.notEqual(outcome.status, 0);
      assert.match(outcome.stderr, /exec format error/i);
    },
  ),
];
