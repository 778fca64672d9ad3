/**
 * Installs node_modules when it is missing or does not match package-lock.json.
 *
 * Every npm script that a newcomer may start first runs this. It is plain JavaScript, the only
 * such file, because tsx, which loads the TypeScript ones, is among what it installs.
 */
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const [major, minor] = process.versions.node.split(".").map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`manyworlds needs Node 20.19 or newer; this is ${process.version}`);
  process.exit(1);
}
const stale = whatIsStale();
if (stale !== undefined) install(stale);

/** Compares what is installed with the lock file; npm records the former after each install. */
function whatIsStale() {
  const installedFile = `${root}node_modules/.package-lock.json`;
  if (!existsSync(installedFile)) return "node_modules is missing";
  const wanted = JSON.parse(readFileSync(`${root}package-lock.json`, "utf8")).packages;
  const installed = JSON.parse(readFileSync(installedFile, "utf8")).packages;
  for (const [path, { version, optional }] of Object.entries(wanted)) {
    if (path === "" || (optional && installed[path] === undefined)) continue;
    if (installed[path]?.version !== version) return `${path} should be version ${version}`;
  }
  return undefined;
}

function install(why) {
  if (lstatSync(`${root}node_modules`, { throwIfNoEntry: false })?.isSymbolicLink()) {
    console.error(`${why}, but node_modules is a link: run "npm ci" in the folder it leads to`);
    process.exit(1);
  }
  console.error(`==> npm ci (${why})`);
  const { status } = spawnSync("npm", ["ci"], { cwd: root, stdio: ["ignore", 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}
