import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
import { prepareLinux } from "./boot-linux.ts";

const kernelFile = process.env["MANYWORLDS_GUEST_KERNEL"] ?? ".cache/guest-kernel/current/bzImage";
const busybox = "/bin/busybox";
const python = "/usr/lib/python3.11";

/** Each prints the same wherever it runs: arithmetic, text, floating point, cryptography. */
const programs: readonly {
  readonly command: readonly string[];
  readonly needs?: readonly string[];
}[] = [
  { command: ["/usr/bin/openssl", "dgst", "-sha512", busybox] },
  { command: ["/usr/bin/openssl", "prime", "1000003"] },
  {
    command: [
      "/usr/bin/perl",
      "-e",
      'my $s = 0; $s += sqrt($_) * sin($_) for 1 .. 2000; printf "%.12f %s\\n", $s, join ",", sort { $a <=> $b } map { $_ * 7919 % 1009 } 1 .. 20',
    ],
  },
  {
    command: [
      "/usr/bin/sqlite3",
      ":memory:",
      "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 500) insert into t select x, x * x % 97 from c; select b, count(*), sum(a), avg(a / 3.0) from t group by b order by 3 desc limit 5;",
    ],
  },
  {
    command: [
      "/usr/bin/python3",
      "-I",
      "-S",
      "-c",
      "print(sum(x ** 0.5 for x in range(1000)), 2 ** 200 % 1000003, 1e308 * 10, float('nan'), hash(12.5), [f'{v:.17g}' for v in (0.1, 1 / 3, 5e-324)])",
    ],
    needs: ["__init__.py", "aliases.py", "utf_8.py", "ascii.py"].map(
      (f) => `${python}/encodings/${f}`,
    ),
  },
];

/** A program and the libraries that its loader would find. */
function closure(program: string): readonly string[] {
  const listed = execFileSync("ldd", [program], { encoding: "utf8" });
  return [program, ...(listed.match(/\/\S+/g) ?? [])];
}

describe("programs of the host in a guest of the software CPU", function () {
  this.timeout(240_000);
  it("print what they print on the host", function () {
    const missing = [kernelFile, busybox].filter((file) => !existsSync(file));
    if (missing.length > 0) {
      console.log(`      needs ${missing.join(" and ")}`);
      this.skip();
    }
    const present = programs.filter(({ command, needs = [] }) =>
      [command[0] as string, ...needs].every((file) => existsSync(file)),
    );
    for (const { command } of programs.filter((p) => !present.includes(p)))
      console.log(`      without ${command[0]}: not installed as expected`);
    const expected = present.map(({ command: [program = "", ...args] }) =>
      execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    );
    const output = runInGuest(present);
    for (const [i, { command }] of present.entries()) {
      const [, own] = output.split(`<<${i}>>\n`);
      assert.equal(own, expected[i], command.join(" "));
    }
  });
});

function runInGuest(list: typeof programs): string {
  const files = new Set(
    list.flatMap(({ command, needs = [] }) => [...closure(command[0] as string), ...needs]),
  );
  const directories = new Set<string>();
  for (const file of files)
    for (let at = dirname(file); at !== "/"; at = dirname(at)) directories.add(at.slice(1));
  const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
  const lines = list.flatMap(({ command }, i) => [
    `/bin/busybox echo "<<${i}>>"`,
    `${command.map(quote).join(" ")} 2>/dev/null`,
    `/bin/busybox echo "<<${i}>>"`,
  ]);
  const init = `#!/bin/busybox sh\n/bin/busybox stty -onlcr\n${lines.join("\n")}\n/bin/busybox poweroff -f\n`;
  let output = "";
  const { machine, vcpu } = prepareLinux({
    kernel: readFileSync(kernelFile),
    initrd: encodeInitramfs([
      ...[...new Set([...directories, "bin", "dev"])]
        .sort()
        .map((path) => ({ path, type: "directory" as const })),
      { path: "dev/console", type: "character", major: 5, minor: 1 },
      { path: "dev/urandom", type: "character", major: 1, minor: 9 },
      { path: "dev/null", type: "character", major: 1, minor: 3 },
      ...[...files, busybox].map((file) => ({
        path: file.slice(1),
        type: "file" as const,
        data: readFileSync(realpathSync(file)),
        mode: 0o755,
      })),
      { path: "init", type: "file", data: new TextEncoder().encode(init), mode: 0o755 },
    ]),
    commandLine: "console=ttyS0 quiet panic=-1 reboot=k mitigations=off",
    ramBytes: 256 << 20,
    onOutput: (byte) => {
      output += String.fromCharCode(byte);
    },
  });
  assert.deepEqual(vcpu.run(), { reason: "kicked" }, output);
  assert.equal(machine.stopReason?.kind, "power-off", output);
  return output;
}
