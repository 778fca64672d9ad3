/**
 * `manyworlds compare` where there is a KVM with hardware behind it: in a Debian guest whose processor
 * is emulated. Its ratios mean something, its milliseconds are those of an emulator.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import {
  type Comparison,
  formatOperation,
  type RungResult,
  workloads,
  workSpread,
} from "../compare/index.ts";
import { guestKernels, runNested } from "./nested-guest.ts";
import type { Bench, BenchOptions, Report } from "./report.ts";

export const bench: Bench = { name: "vm-compare", title: "The rungs where KVM works", run };

const rungs = ["process", "container", "vm-kvm", "vm-kvm-cold", "qemu-kvm"];
const applets = ["sh", "true", "cat"];
const mark = "manyworlds-comparison:";
/** passt wants a device with an address and a way out, which this guest has not. */
const network = `modprobe dummy && busybox ip link add eth0 type dummy &&
busybox ip address add 10.79.0.2/24 dev eth0 && busybox ip link set eth0 up &&
busybox ip route add default via 10.79.0.1 && busybox ip link set lo up || exit`;

async function run({ quick }: BenchOptions): Promise<readonly Report[]> {
  const flags = [...(quick ? ["--quick"] : []), ...rungs.map((rung) => `--rung ${rung}`)];
  const compare = `./manyworlds compare --json --quiet ${flags.join(" ")} busybox -- true`;
  const found: Comparison[] = [];
  await runNested({
    stage,
    // the guest's root is an overlay, which cannot hold another one's upper directory
    command: `export HOME=/tmp MANYWORLDS_KERNEL=/project/kernels MANYWORLDS_ROOT=/dev/shm/manyworlds
${network}
./manyworlds import image.tar busybox || exit
${compare} > /tmp/result || exit
echo "${mark}$(tr -d '\\n' < /tmp/result)"`,
    mark,
    // SAFE: the same version of compare writes it.
    onResult: (text) => void found.push(JSON.parse(text) as Comparison),
  });
  const [comparison] = found;
  if (comparison === undefined) throw new Error("The comparison in the guest printed nothing");
  return [describeStart(comparison), describeWhole(comparison)];
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

const emulated = "in a machine whose processor is emulated";

function describeStart(comparison: Comparison): Report {
  const pick = ({ start }: RungResult) => start.firstInstruction;
  const notes = comparison.rungs.flatMap((rung) => [
    ...workOf(rung),
    ...networkOf(rung),
    ...memoryOf(rung),
  ]);
  return { ...tabulate(comparison, `Start to the first instruction, ${emulated}`, pick), notes };
}

function describeWhole(comparison: Comparison): Report {
  return tabulate(comparison, `The whole command, ${emulated}`, ({ start }) => start.whole);
}

function tabulate(
  { rungs: results }: Comparison,
  title: string,
  pick: (rung: RungResult) => readonly number[],
): Report {
  const measured = results.filter((rung) => pick(rung).length > 0);
  return {
    title,
    rounds: Math.min(...measured.map((rung) => pick(rung).length)),
    measured: {
      samples: measured.map((rung) => ({ name: rung.name, ms: pick(rung) })),
      left: results.flatMap(({ name, missing }) =>
        missing === undefined ? [] : [{ name, why: missing.reason }],
      ),
    },
    goals: [{ ours: "vm-kvm", peer: "qemu-kvm", atMost: 1 }],
  };
}

function workOf(rung: RungResult): readonly string[] {
  const each = workloads.flatMap(({ name }) => {
    const spread = workSpread(rung, name);
    return spread === undefined ? [] : [`${name} ${formatOperation(name, spread.median)}`];
  });
  return each.length === 0 ? [] : [`${rung.name}: ${each.join(", ")}`];
}

function networkOf({ name, network }: RungResult): readonly string[] {
  if (network === undefined) return [];
  const { way, missing } = network;
  return [`${name}: to its host by ${way}${missing === undefined ? "" : `: ${missing.reason}`}`];
}

function memoryOf({ name, memory }: RungResult): readonly string[] {
  return memory === undefined ? [] : [`${name}: ${Math.round(memory.pssKiB / 1024)} MiB`];
}
