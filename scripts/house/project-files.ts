/** Which files make up the project. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const notOurs = /^(node_modules|dist|\.git|\.cache)(\/|$)/;

/**
 * Paths relative to the project: what git tracks or would track, so that scratch files do not
 * count; without git, as in an unpacked archive, every file.
 */
export function projectFiles(): readonly string[] {
  return listed().filter((file) => file !== "" && existsSync(`${root}${file}`));
}

function listed(): readonly string[] {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z"];
  try {
    const stdio = ["ignore", "pipe", "ignore"] as const;
    return execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: [...stdio] }).split(
      "\0",
    );
  } catch {
    return readdirSync(root, { recursive: true, encoding: "utf8" }).filter(
      (file) => !notOurs.test(file),
    );
  }
}
