/**
 * `npm run test:guest-programs`: what the host has installed, from openssl to Java, runs in a guest of
 * the software CPU and must print what it prints on the host. Takes ten minutes and more.
 *
 *   --only TEXT   mocha's --grep
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { installPackages } from "../../scripts/apt-packages.ts";
import { busybox32 } from "./programs.ts";

const { values } = parseArgs({ options: { only: { type: "string" } } });
installPackages("guest-programs"); // a test without its program says so and is skipped
if (!existsSync(busybox32)) fetchBusybox32(dirname(busybox32));
const mocha = ["--no-config", "--node-option", "import=tsx", "test/guest-programs/all-programs.ts"];
const grep = values.only === undefined ? [] : ["--grep", values.only];
const { status } = spawnSync("node_modules/.bin/mocha", [...mocha, ...grep], { stdio: "inherit" });
process.exit(status ?? 1);

/** Debian's busybox of 32 bits, by apt's own client with an index of its own. */
function fetchBusybox32(into: string): void {
  const lists = join(into, "lists");
  const architectures = ["amd64", "i386"].map((name) => `APT::Architectures::=${name}`);
  const options = [...architectures, `Dir::State::lists=${lists}`].flatMap((each) => ["-o", each]);
  const unpack =
    "dpkg-deb --fsys-tarfile busybox-static_*_i386.deb | tar -xO ./bin/busybox > busybox" +
    " && chmod 755 busybox && rm -r lists busybox-static_*";
  try {
    execFileSync("mkdir", ["-p", join(lists, "partial")]);
    spawnSync("apt-get", [...options, "-qq", "update"]); // an index less is no failure
    execFileSync("apt-get", [...options, "-qq", "download", "busybox-static:i386"], { cwd: into });
    execFileSync("sh", ["-c", unpack], { cwd: into });
  } catch (error) {
    console.log(
      `Without Debian's 32-bit busybox: ${error instanceof Error ? error.message : error}`,
    );
  }
}
