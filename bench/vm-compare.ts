/**
 * `manyworlds compare` where there is a KVM with hardware behind it: in a Debian guest whose processor
 * is emulated. Its ratios mean something, its milliseconds are those of an emulator.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { formatComparison } from "../cli/verbs/compare-tables.ts";
import type { Comparison } from "../compare/index.ts";
import { guestKernels, runNested } from "./nested-guest.ts";
import type { Bench, BenchOptions, Report } from "./report.ts";

export const bench: Bench = { name: "vm-compare", title: "The rungs where KVM works", run };

const rungs = ["process", "container", "vm-kvm", "qemu-kvm"];
const applets = ["sh", "true", "cat"];
const mark = "manyworlds-comparison:";

async function run({ quick }: BenchOptions): Promise<readonly Report[]> {
  const flags = [...(quick ? ["--quick"] : []), ...rungs.map((rung) => `--rung ${rung}`)];
  const compare = `./manyworlds compare --json --quiet ${flags.join(" ")} busybox -- true`;
  const found: Comparison[] = [];
  await runNested({
    stage,
    command: `export HOME=/tmp MANYWORLDS_KERNEL=/project/kernels
./manyworlds import image.tar busybox || exit
${compare} > /tmp/result || exit
echo "${mark}$(tr -d '\\n' < /tmp/result)"`,
    mark,
    // SAFE: the same version of compare writes it.
    onResult: (text) => void found.push(JSON.parse(text) as Comparison),
  });
  const [comparison] = found;
  if (comparison === undefined) throw new Error("The comparison in the guest printed nothing");
  console.log(formatComparison(comparison, process.stdout.isTTY === true));
  return [describe(comparison)];
}

function stage(folder: string): void {
  copyFileSync("dist/manyworlds", join(folder, "manyworlds"));
  cpSync(guestKernels, join(folder, "kernels"), { recursive: true, dereference: true });
  const tree = join(folder, "tree");
  for (const name of ["bin", "tmp", "proc", "sys", "dev", "etc"])
    mkdirSync(join(tree, name), { recursive: true });
  copyFileSync("/bin/busybox", join(tree, "bin/busybox"));
  for (const applet of applets) symlinkSync("busybox", join(tree, "bin", applet));
  execFileSync("tar", ["-C", tree, "-cf", join(folder, "image.tar"), "."]);
}

function describe({ rungs: results }: Comparison): Report {
  const measured = results.filter(({ start }) => start.firstInstruction.length > 0);
  return {
    title: "Start to the first instruction, in a machine whose processor is emulated",
    rounds: Math.min(...measured.map(({ start }) => start.firstInstruction.length)),
    measured: {
      samples: measured.map(({ name, start }) => ({ name, ms: start.firstInstruction })),
      left: results.flatMap(({ name, missing }) =>
        missing === undefined ? [] : [{ name, why: missing.reason }],
      ),
    },
    goals: [{ ours: "vm-kvm", peer: "qemu-kvm", atMost: 1 }],
  };
}
