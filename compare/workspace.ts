/**
 * What all rungs of a comparison share: a folder of its own inside the state root (so that every
 * world writes to the same file system), the probe, and the image in the forms that peers take.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { defaultStateRoot, flattenImage, imageCatalogue } from "../engine/index.ts";
import { writeProbe } from "./probe.ts";
import { selfCommand } from "./self.ts";

/** Where worlds see the folder that holds the probe. */
export const INSIDE = "/.manyworlds-probe";

export interface ImageDefaults {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly workdir: string;
}

export class Workspace implements Disposable {
  readonly directory: string;
  readonly image: string;
  readonly imageId: string;
  readonly defaults: ImageDefaults;
  readonly root: string;
  /** Command that starts us again. */
  readonly self: readonly string[];
  #archive: string | undefined;
  #tree: Promise<string> | undefined;

  private constructor(root: string, image: string, imageId: string, defaults: ImageDefaults) {
    this.root = root;
    this.image = image;
    this.imageId = imageId;
    this.defaults = defaults;
    this.self = selfCommand();
    removeAbandoned(root);
    this.directory = mkdtempSync(join(root, `compare-${process.pid}-`));
    chmodSync(this.directory, 0o711);
    mkdirSync(this.probeFolder, { mode: 0o755 });
    writeProbe(this.probe);
  }

  /** The image must be here (engine's `pull`). */
  static async open(image: string, root: string | undefined): Promise<Workspace> {
    using catalogue = await imageCatalogue(root);
    const { Id, Config } = catalogue.inspect(image) as {
      readonly Id: string;
      readonly Config?: {
        readonly Entrypoint?: readonly string[];
        readonly Cmd?: readonly string[];
        readonly Env?: readonly string[];
        readonly WorkingDir?: string;
      };
    };
    return new Workspace(
      root === undefined ? defaultStateRoot(process.env) : resolve(root),
      image,
      Id,
      {
        entrypoint: Config?.Entrypoint ?? [],
        command: Config?.Cmd ?? [],
        env: Config?.Env ?? [],
        workdir: Config?.WorkingDir || "/",
      },
    );
  }

  get probeFolder(): string {
    return join(this.directory, "probe");
  }

  get probe(): string {
    return join(this.probeFolder, "probe");
  }

  /** A new folder for one rung. */
  folder(name: string, mode = 0o755): string {
    const path = join(this.directory, name);
    mkdirSync(path, { mode });
    return path;
  }

  /** The image as a docker archive without a name, so that whoever loads it overwrites none. */
  archive(): string {
    if (this.#archive === undefined) {
      const path = join(this.directory, "image.tar");
      const [file = "", ...words] = this.self;
      execFileSync(file, [...words, "--root", this.root, "save", "-o", path, this.imageId], {
        stdio: ["ignore", "ignore", "pipe"],
      });
      chmodSync(path, 0o644);
      this.#archive = path;
    }
    return this.#archive;
  }

  /** The image's layers as a plain directory, which those that run bundles share. */
  tree(): Promise<string> {
    this.#tree ??= this.#unpack();
    return this.#tree;
  }

  async #unpack(): Promise<string> {
    const path = this.folder("tree");
    await flattenImage(this.root, this.image, path);
    for (const name of ["proc", "sys", "dev", INSIDE.slice(1)]) {
      mkdirSync(join(path, name), { recursive: true });
    }
    return path;
  }

  [Symbol.dispose](): void {
    removeTree(this.directory);
  }
}

/** What a comparison left that was killed; with its hold file go the worlds that it held. */
function removeAbandoned(root: string): void {
  for (const name of readdirSync(root)) {
    const pid = /^compare-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeTree(join(root, name));
  }
}

function removeTree(directory: string): void {
  for (const target of mountsBelow(directory)) {
    execFileSync("umount", ["--lazy", target], { stdio: "ignore" });
  }
  rmSync(directory, { recursive: true, force: true });
}

/** What peers left mounted below a folder, deepest first. */
function mountsBelow(directory: string): readonly string[] {
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((target) => target.startsWith(`${directory}/`))
    .reverse();
}

/** While this file exists, probes that hold wait. */
export function makeHold(space: Workspace): { readonly release: () => void } {
  const path = join(space.probeFolder, "hold");
  writeFileSync(path, "");
  return { release: () => rmSync(path, { force: true }) };
}
