/**
 * A state root of its own, a real registry on loopback, and an image of Debian's busybox in it,
 * made and pushed by our own code.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { openStore } from "../../../image/index.ts";
import { parseReference } from "../../../oci/index.ts";
import { digestOf } from "../../../registry-client/index.ts";
import { type DockerRegistry, startDockerRegistry } from "../../registry-client/docker-registry.ts";

const project = fileURLToPath(new URL("../../..", import.meta.url));
const built = process.env["MANYWORLDS_TEST_COMMAND"];
/** The command line: from its sources, with Bun as in the executable, or what is named. */
export const command: readonly [string, ...string[]] =
  built === undefined
    ? [join(project, "node_modules/.bin/bun"), join(project, "cli/main.ts")]
    : [built];
const [program, ...firstArgs] = command;
const BUSYBOX = "/bin/busybox";

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Why containers cannot be tested here; undefined when they can. */
export function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "containers of this suite need root";
  if (!existsSync(BUSYBOX)) return "busybox-static is not installed";
  if (!existsSync("/usr/bin/docker-registry")) return "docker-registry is not installed";
  return undefined;
}

export class World implements AsyncDisposable {
  readonly directory: string;
  readonly registry: DockerRegistry;
  readonly image: string;

  private constructor(directory: string, registry: DockerRegistry) {
    this.directory = directory;
    this.registry = registry;
    this.image = `${registry.domain}/busybox:latest`;
  }

  static async make(): Promise<World> {
    const directory = mkdtempSync(join(tmpdir(), "manyworlds-e2e-"));
    const world = new World(directory, await startDockerRegistry());
    await world.#pushBusybox();
    return world;
  }

  get root(): string {
    return join(this.directory, "root");
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  file(name: string, text: string): string {
    writeFileSync(this.path(name), text);
    return this.path(name);
  }

  /** Runs the command line as a user would. */
  mw(
    args: readonly string[],
    options: { input?: string; env?: Record<string, string>; root?: string } = {},
  ): Outcome {
    const { status, stdout, stderr } = spawnSync(program, [...firstArgs, ...args], {
      encoding: "utf8",
      input: options.input ?? "",
      env: this.env(options.env, options.root),
      timeout: 120_000,
    });
    return { status, stdout, stderr };
  }

  /** The same, running while the test goes on. */
  start(
    args: readonly string[],
    stdio: Parameters<typeof spawn>[2]["stdio"] = ["pipe", "pipe", "pipe"],
  ) {
    return spawn(program, [...firstArgs, ...args], { env: this.env(), stdio });
  }

  env(more: Record<string, string> = {}, root = this.root): Record<string, string> {
    const kernel = process.env["MANYWORLDS_KERNEL"];
    return {
      PATH: process.env["PATH"] ?? "",
      HOME: this.directory,
      MANYWORLDS_ROOT: root,
      ...(kernel !== undefined && { MANYWORLDS_KERNEL: kernel }),
      ...more,
    };
  }

  /** `run --rm FLAGS image sh -c SCRIPT`, which must succeed: what it printed. */
  inside(flags: string | readonly string[], script: string): string {
    const words =
      typeof flags === "string" ? flags.split(" ").filter((word) => word !== "") : flags;
    const { status, stdout, stderr } = this.mw([
      "run",
      "--rm",
      ...words,
      this.image,
      "sh",
      "-c",
      script,
    ]);
    if (status !== 0) throw new Error(`Expected success, got ${status}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Everything that a container that is gone must not leave. */
  leftovers(): string[] {
    const names = (path: string): string[] => (existsSync(path) ? readdirSync(path) : []);
    const mounts = readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .filter((line) => line.includes(this.directory));
    const cgroups = ["memory", "pids", "devices", "unified", ""]
      .flatMap((name) => names(`/sys/fs/cgroup/${name}/manyworlds`))
      .filter((name) => /^[0-9a-f]{64}$/.test(name) && this.#isOurs(name));
    return [
      ...names(join(this.root, "containers")),
      ...names(join(this.root, "running")),
      ...names(join(this.root, "container-names")),
      ...names(join(this.root, "run")),
      ...mounts,
      ...cgroups,
    ];
  }

  /** IDs of containers whose cgroups `leftovers` looks for. */
  readonly #seen = new Set<string>();

  /** Other suites may run containers at the same time: only those that we have seen count. */
  #isOurs(id: string): boolean {
    return this.#seen.has(id);
  }

  /** From now on a cgroup of this container counts as left over. */
  see(id: string): void {
    this.#seen.add(id);
  }

  async #pushBusybox(): Promise<void> {
    const tree = this.path("tree");
    for (const name of ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "home/web"]) {
      mkdirSync(join(tree, name), { recursive: true });
    }
    cpSync(BUSYBOX, join(tree, "bin/busybox"));
    for (const applet of execFileSync(BUSYBOX, ["--list"], { encoding: "utf8" }).split("\n")) {
      if (applet !== "" && applet !== "busybox") symlinkSync("busybox", join(tree, "bin", applet));
    }
    writeFileSync(
      join(tree, "etc/passwd"),
      "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n",
    );
    writeFileSync(join(tree, "etc/group"), "root:x:0:\nweb:x:1000:\naudio:x:29:web\nvideo:x:30:\n");
    const layer = execFileSync("tar", ["-C", tree, "--numeric-owner", "-c", "."], {
      maxBuffer: 1 << 28,
    });
    const config = {
      architecture: "amd64",
      os: "linux",
      created: "2026-01-02T03:04:05Z",
      config: {
        Env: ["PATH=/bin", "FROM_IMAGE=yes"],
        Cmd: ["echo", "default command"],
        Labels: { maker: "test" },
      },
      rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
      history: [
        { created: "2026-01-02T03:04:05Z", created_by: "ADD tree /" },
        { created_by: "CMD echo", empty_layer: true },
      ],
    };
    using store = openStore(this.path("making"));
    const layerBlob = await store.blobs.put(
      "application/vnd.oci.image.layer.v1.tar+gzip",
      gzipSync(layer),
    );
    const configBlob = await store.blobs.put(
      "application/vnd.oci.image.config.v1+json",
      Buffer.from(JSON.stringify(config)),
    );
    const type = "application/vnd.oci.image.manifest.v1+json";
    const manifest = { schemaVersion: 2, mediaType: type, config: configBlob, layers: [layerBlob] };
    const image = store.images.put(
      await store.blobs.put(type, Buffer.from(JSON.stringify(manifest))),
    );
    store.images.tag(image, parseReference(this.image));
    const { status, stderr } = this.mw(["push", this.image], { root: this.path("making") });
    if (status !== 0) throw new Error(`Cannot push the test image: ${stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** For a suite: a world before its tests, gone after them; skips them all where there can be none. */
export function useWorld(ready: (world: World) => void): void {
  let world: World | undefined;
  before(async function () {
    const reason = whyNot();
    if (reason !== undefined) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    world = await World.make();
    ready(world);
  });
  after(async () => world?.[Symbol.asyncDispose]());
}
