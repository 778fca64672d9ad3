/**
 * `npm run build`: the executable, the library and its types, from one source into dist/.
 *
 * ```
 * dist/manyworlds        one file: Bun, our code as bytecode, the worker entry points
 * dist/manyworlds-oci    the door (runtime/door): runc's command line, in front of the executable
 * dist/manyworlds-vm     the executable by another name: the same, each container in a machine
 * dist/lib/index.js      the library for Node ≥ 20.19 (and Bun), run-time dependencies outside
 * dist/types/index.d.ts  its types
 * ```
 *
 * Nothing is downloaded. docs/decisions/010-one-executable.md has the measurements behind the flags.
 *
 * A worker is a file NAME-worker.ts. In the executable it is an entry point under its path from the
 * project's root (`new Worker("./image/unpack/unpack-worker.ts")`), in the library a file beside
 * index.js (`new URL("./unpack-worker.js", import.meta.url)`), so names must be unique.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BuildFailure, build, type Plugin } from "esbuild";
import { doorExecutable } from "../runtime/door/door.ts";
import { bunExecutable } from "./bun.ts";
import { projectFiles } from "./house/project-files.ts";
import { runVisibly, step } from "./terminal.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

/** How the executable is compiled. `bench/build-flags.ts` measures the alternatives. */
export const executableFlags: readonly string[] = [
  "--compile",
  "--target=bun",
  "--minify",
  // Parsed code at start-up, and a chunk per lazy import, so that only what runs is read.
  "--format=esm",
  "--bytecode",
  "--splitting",
  // Most commands end before compiled code has paid for its compiling: tier up ten times later.
  "--compile-jit-policy=10",
  // The executable runs in folders that belong to others: what lies there must not configure it.
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
  "--no-compile-autoload-tsconfig",
  "--no-compile-autoload-package-json",
  // Node's driver and HTTP client; on Bun, bun:ffi and fetch take their place.
  "--external=koffi",
  "--external=undici",
];

export function workerEntries(): readonly string[] {
  return projectFiles().filter((file) => /-worker\.ts$/.test(file));
}

/**
 * The way to the OCI verbs as one file, with constants in place of their names: Bun's bundler
 * leaves a thousand variables to be linked at each start, which takes longer than most verbs.
 * Everything else of the command line stays outside, and comes from its sources.
 */
export async function bundleEntry(): Promise<string> {
  const folder = ".cache/build";
  await build({
    absWorkingDir: root,
    entryPoints: ["cli/main.ts"],
    outdir: folder,
    bundle: true,
    splitting: true,
    minify: true,
    format: "esm",
    platform: "node",
    target: "esnext",
    external: ["bun:*", "koffi", "undici"],
    plugins: [onlyWhatIsUsed],
    legalComments: "none",
    logLevel: "warning",
  });
  return `${folder}/main.js`;
}

/** Importing a module of ours does nothing but define things, so what nobody uses can go. */
const onlyWhatIsUsed: Plugin = {
  name: "only-what-is-used",
  setup({ onResolve }) {
    onResolve({ filter: /^\.{1,2}\// }, ({ path, importer, resolveDir }) =>
      importer === join(root, "cli/main.ts") && path === "./command-line.ts"
        ? { path: "../../cli/command-line.ts", external: true }
        : { path: join(resolveDir, path), sideEffects: false },
    );
  },
};

async function buildExecutable(): Promise<number> {
  const outfile = join(dist, "manyworlds");
  const entries = [await bundleEntry(), ...workerEntries()];
  const args = ["build", ...executableFlags, ...entries, "--outfile", outfile];
  const status = await runVisibly(bunExecutable(), args, { cwd: root });
  if (status !== 0) return status;
  writeInOnePiece(outfile);
  return 0;
}

/**
 * A start maps some hundred parts of the file. Where the kernel keeps it in large folios, as it does
 * after one large write, each costs a fraction: a sixth less processor time for a whole `run`.
 */
function writeInOnePiece(file: string): void {
  writeFileSync(`${file}.new`, readFileSync(file), { mode: 0o755 });
  renameSync(`${file}.new`, file);
}

/** Written beside and renamed: engines may be executing the one before. */
async function buildDoor(): Promise<number> {
  const door = join(dist, "manyworlds-oci");
  writeFileSync(`${door}.new`, doorExecutable(), { mode: 0o755 });
  renameSync(`${door}.new`, door);
  const machines = join(dist, "manyworlds-vm");
  rmSync(machines, { force: true });
  symlinkSync("manyworlds", machines);
  return 0;
}

async function buildLibrary(): Promise<number> {
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    dependencies: Readonly<Record<string, string>>;
  };
  const result = await build({
    absWorkingDir: root,
    entryPoints: ["index.ts", ...workerEntries()].map((file) => ({
      in: file,
      out: basename(file, ".ts"),
    })),
    outdir: join(dist, "lib"),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20.19",
    external: [...Object.keys(dependencies), "bun:*"],
    sourcemap: false,
    legalComments: "none",
    logLevel: "warning",
  }).catch((error: BuildFailure) => error); // esbuild has printed what is wrong.
  return result.errors.length === 0 ? 0 : 1;
}

async function buildTypes(): Promise<number> {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const args = [tsc, "-p", "scripts/types.tsconfig.json"];
  const status = await runVisibly(process.execPath, args, { cwd: root });
  const folder = join(dist, "types");
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".d.ts")) continue;
    // tsc leaves ".ts" in declarations, which compilers before 5.0 do not resolve.
    const text = readFileSync(join(folder, name), "utf8");
    const rewritten = text.replaceAll(/(from |import\()"(\.[^"]*)\.ts"/g, '$1"$2.js"');
    if (rewritten !== text) writeFileSync(join(folder, name), rewritten);
  }
  return status;
}

async function main(only: readonly string[]): Promise<number> {
  mkdirSync(dist, { recursive: true });
  const parts: readonly (readonly [string, string, () => Promise<number>])[] = [
    ["executable", "dist/manyworlds", buildExecutable],
    ["door", "dist/manyworlds-oci", buildDoor],
    ["library", "dist/lib", buildLibrary],
    ["types", "dist/types", buildTypes],
  ];
  for (const [name, path, run] of parts) {
    if (only.length > 0 && !only.includes(name)) continue;
    if (name !== "executable" && name !== "door")
      rmSync(join(root, path), { recursive: true, force: true });
    if (!(await step(`Building ${path}`, run))) return 1;
  }
  return existsSync(join(dist, "manyworlds")) || only.length > 0 ? 0 : 1;
}

if (process.argv[1]?.endsWith("build.ts")) process.exitCode = await main(process.argv.slice(2));
