/**
 * What it costs to start the executable at all: the floor below every command. Guards against a
 * heavy import on the start-up path.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { measure } from "./measure.ts";
import { executable, ociExecutable } from "./ours.ts";
import { type Bench, type BenchOptions, type Report, roundsOf } from "./report.ts";

export const bench: Bench = { name: "start-up", title: "Starting the executable", run };

async function run(options: BenchOptions): Promise<readonly Report[]> {
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-bench-"));
  try {
    const empty = join(directory, "empty.js");
    writeFileSync(empty, "0\n");
    const rounds = roundsOf(40, options);
    const measured = await measure(
      [
        { name: "floor: busybox true", command: ["/bin/busybox", "true"] },
        { name: "manyworlds version", command: [executable, "version"] },
        { name: "manyworlds run --help", command: [executable, "run", "--help"] },
        { name: "manyworlds-oci --version", command: [ociExecutable, "--version"] },
        { name: "runc --version", command: ["runc", "--version"] },
        { name: "crun --version", command: ["crun", "--version"] },
        { name: "podman --version", command: ["podman", "--version"] },
        { name: "docker --version", command: ["docker", "--version"] },
        { name: "node empty.js", command: [process.execPath, empty] },
      ],
      { rounds, warmups: 3 },
    );
    const atMost = Number.POSITIVE_INFINITY;
    return [
      {
        title: bench.title,
        rounds,
        measured,
        goals: [
          { ours: "manyworlds-oci --version", peer: "runc --version", atMost },
          { ours: "manyworlds version", peer: "node empty.js", atMost: 0.25 },
        ],
      },
    ];
  } finally {
    rmSync(directory, { recursive: true });
  }
}
