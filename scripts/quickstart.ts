/**
 * `npm run quickstart`: the README's first command. Builds manyworlds, then pulls an image from a
 * registry and runs it, printing each command before it runs.
 *
 * With internet the image is Docker Hub's busybox. Without, it is made here: Debian's
 * busybox-static becomes an image, our own client pushes it to Debian's docker-registry on
 * loopback, and it is pulled back from there.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { installPackages } from "./apt-packages.ts";
import { startRegistry } from "./registry.ts";
import { heading, runVisibly, style } from "./terminal.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const manyworlds = "dist/manyworlds";

const hub = "https://registry-1.docker.io/v2/";
const hubLimitMs = 5_000;

/** What `busybox` means, as docker resolves it; the name under which later commands find it. */
const busybox = "busybox";

const greeting = [
  'echo "Hello from another world: $(uname -sm), host name $(hostname), process $$"',
  'echo "It sees $(ls /proc | grep -c "^[0-9]") processes and these files: $(ls / | tr "\\n" " ")"',
].join("; ");

async function main(): Promise<number> {
  const build = ["--import", "tsx", "scripts/build.ts", "executable"];
  if ((await runVisibly(process.execPath, build, { cwd: root })) !== 0) return 1;
  if (process.platform !== "linux") {
    console.error(style.red("Cannot run containers here: they need Linux"));
    return 1;
  }
  if (await answersFromHub()) {
    heading("Pulling busybox from Docker Hub and running it");
    if (show(["pull", busybox])) return show(runCommand(busybox)) ? end() : 1;
  }
  heading("Docker Hub does not serve us: making an image and a registry on loopback");
  return runFromLoopback();
}

async function runFromLoopback(): Promise<number> {
  const missing = installPackages("quickstart");
  if (missing.length > 0) {
    const names = missing.map((row) => row.name).join(" ");
    console.error(style.red(`Cannot go on without ${names}: install them and try again`));
    return 1;
  }
  await using registry = await startRegistry();
  const image = `${registry.host}/busybox:latest`;
  console.error(`docker-registry listens on ${registry.host}, process ${registry.pid}`);
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-quickstart-"));
  try {
    const archive = makeBusyboxArchive(directory);
    heading("Making an image of busybox-static and pushing it");
    if (!show(["import", "--change", "CMD sh", archive, image])) return 1;
    if (!show(["push", image]) || !show(["rmi", image])) return 1;
    heading("Pulling it back and running it");
    if (!show(["pull", image]) || !show(runCommand(image))) return 1;
    // The registry ends with this script; under this name the image stays usable.
    if (!show(["tag", image, busybox])) return 1;
  } finally {
    rmSync(directory, { recursive: true });
  }
  return end();
}

function runCommand(image: string): readonly string[] {
  return [
    "run",
    "--rm",
    "--hostname",
    "quickstart",
    "--network",
    "none",
    image,
    "sh",
    "-c",
    greeting,
  ];
}

/** Any answer will do: without credentials, Docker Hub says 401. */
async function answersFromHub(): Promise<boolean> {
  try {
    await fetch(hub, { method: "HEAD", signal: AbortSignal.timeout(hubLimitMs) });
    return true;
  } catch {
    return false;
  }
}

function makeBusyboxArchive(directory: string): string {
  const tree = join(directory, "root");
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp", "root"]) {
    mkdirSync(join(tree, name), { recursive: true });
  }
  copyFileSync("/bin/busybox", join(tree, "bin/busybox"));
  const { stdout } = spawnSync("/bin/busybox", ["--list"], { encoding: "utf8" });
  for (const applet of stdout.split("\n")) {
    if (applet !== "" && applet !== "busybox") symlinkSync("busybox", join(tree, "bin", applet));
  }
  const archive = join(directory, "root.tar");
  const options = ["--numeric-owner", "--owner=0", "--group=0", "--sort=name"];
  const { status } = spawnSync("tar", ["-C", tree, ...options, "-cf", archive, "."]);
  if (status !== 0) throw new Error(`Cannot make ${archive}: tar ended with ${status}`);
  return archive;
}

/** Runs manyworlds as a user would type it, on this terminal, and says what it runs. */
function show(args: readonly string[]): boolean {
  const typed = args.map((word) => (/^[\w./:=-]+$/.test(word) ? word : `'${word}'`)).join(" ");
  console.error(`${style.dim("$")} ${manyworlds} ${typed}`);
  const { status } = spawnSync(join(root, manyworlds), args, { stdio: "inherit" });
  if (status !== 0) console.error(style.red(`It ended with status ${status}`));
  return status === 0;
}

function end(): number {
  heading("Done. What to try next");
  console.error(`  ${manyworlds} run --rm -it ${busybox} sh              a shell in a container
  ${manyworlds} run --rm --memory 64m ${busybox} free  with limits, as docker takes them
  ${manyworlds} explain ${busybox}                      every system call that starts it
  ${manyworlds} doctor                               what this machine can do
  npm test                                        check everything, as CI does
  npm run bench                                   measure it beside runc, podman and docker`);
  return 0;
}

process.exitCode = await main();
