/**
 * QEMU's user-mode tests (its tests/tcg) in a guest of the software CPU: each is compiled here and must
 * print in the guest what it prints on the host.
 *
 *   tsx tcg.ts FOLDER…
 *
 * Each folder holds C programs, with headers and assembler files beside them, and is a checkout made
 * elsewhere (i386, x86_64, multiarch). Programs are compiled for 64 and for 32 bits; where one does not
 * compile or does not end well on the host itself, that is said, and it does not count.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { guestMemoryBytes, ProgramGuest, runOnHost, whyNoGuest } from "./guest.ts";
import type { Program } from "./programs.ts";

/** What a program may need besides its own file, by its name. */
const companions: Readonly<Record<string, readonly string[]>> = {
  "test-i386": ["test-i386-code16.S", "test-i386-vm86.S"],
  float_convs: ["float_helpers.c"],
  float_madds: ["float_helpers.c"],
};
/**
 * Lines that say what no manual defines: 16-bit double shifts by more than 16 (SDM volume 2, SHLD), and
 * approximations, which are each maker's own.
 */
const undefinedLines: Readonly<Record<string, string>> = {
  "test-i386": "^sh[lr]dw .* C=[0-9a-f]*[13579bdf][1-9a-f] |^(rsqrt|rcp)[ps]s ",
};
const flags = ["-O2", "-w", "-fno-strict-aliasing", "-fno-pie", "-no-pie", "-mmmx", "-msse", "-I."];
const libraries = ["-lm", "-lpthread", "-lrt"];
const secondsEach = 120;
/** Kinds of differences that are shown. */
const maxShown = 12;

const folders = process.argv.slice(2);
const missing = whyNoGuest();
if (folders.length === 0)
  throw new Error("Cannot run QEMU's tests: expected folders of C programs");
if (missing !== undefined) throw new Error(`Cannot run QEMU's tests: ${missing}`);

// Not in /tmp, which the guest has a writable one of its own instead of.
const build = mkdtempSync("/var/tmp/tcg-");
let [passed, failed, notOurs] = [0, 0, 0];
try {
  const programs = folders.flatMap((folder) => compileAll(resolve(folder)));
  await using guest = await ProgramGuest.boot(guestMemoryBytes.all);
  for (const program of programs) await compare(guest, program);
} finally {
  rmSync(build, { recursive: true });
}
console.log(`passed ${passed}, failed ${failed}, not on this host ${notOurs}`);
process.exit(failed > 0 ? 1 : 0);

function compileAll(folder: string): Program[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".c"))
    .filter((file) => /\bmain\s*\(/.test(readFileSync(join(folder, file), "latin1")))
    .flatMap((file) => [64, 32].map((bits) => compile(folder, file, bits)))
    .filter((program) => program !== undefined);
}

function compile(folder: string, file: string, bits: number): Program | undefined {
  const name = basename(file, ".c");
  const out = join(build, `${name}-${bits}`);
  const files = [file, ...(companions[name] ?? [])];
  const args = [`-m${bits}`, ...flags, "-o", out, ...files, ...libraries];
  const { status, stderr } = spawnSync("gcc", args, { cwd: folder, encoding: "utf8" });
  if (status !== 0) {
    notOurs++;
    const why = /error: .*|undefined reference.*/.exec(stderr)?.[0] ?? stderr.split("\n")[0];
    console.log(`${name}, ${bits} bits: does not compile: ${why}`);
    return undefined;
  }
  const ignored = undefinedLines[name] ?? "^$";
  const script = `[ -w /tmp ] || { mount -t tmpfs none /tmp; ip link set lo up; }
    timeout ${secondsEach} setarch -R ${out} > all 2>&1; echo "status $?"
    grep -avE '${ignored}' all > out; wc -l < out; sha256sum < out`;
  return { name: `${name}, ${bits} bits`, needs: [], script };
}

async function compare(guest: ProgramGuest, program: Program): Promise<void> {
  const start = performance.now();
  const expected = runOnHost(program);
  const found = await guest.run(program);
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  const summary = summaryOf(expected.stdout);
  if (found.stdout === expected.stdout) {
    passed++;
    console.log(`${program.name}: equal (${summary}, ${seconds} s)`);
    return;
  }
  const again = runOnHost(program);
  if (again.stdout !== expected.stdout) {
    notOurs++;
    console.log(`${program.name}: prints something else each time`);
    return;
  }
  failed++;
  const whole: Program = { ...program, script: `${program.script}; cat out` };
  const difference = firstDifference(runOnHost(whole).stdout, (await guest.run(whole)).stdout);
  console.log(
    `${program.name}: host ${summary}, guest ${summaryOf(found.stdout)} ${found.stderr}${difference}`,
  );
}

/** "status 0, 748 lines" */
function summaryOf(stdout: string): string {
  const [status, lines] = stdout.split("\n");
  return `${status}, ${lines} lines`;
}

/** The first lines that differ, one of each kind by its first word. */
function firstDifference(host: string, guest: string): string {
  const [a, b] = [host.split("\n").slice(3), guest.split("\n").slice(3)];
  const kinds = new Map<string, string>();
  for (const [i, line] of a.entries()) {
    if (line === b[i]) continue;
    const kind = line.split(/\s/)[0] ?? "";
    if (!kinds.has(kind)) kinds.set(kind, `    line ${i + 1}: host  ${line}\n      guest: ${b[i]}`);
    if (a.length !== b.length) break; // all others differ
  }
  return `\n${[...kinds.values()].slice(0, maxShown).join("\n")}`;
}
