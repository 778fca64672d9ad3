/**
 * Fifty containers at once, a hundred one after another, and what they leave behind: nothing.
 */
import { execFileSync } from "node:child_process";
import { startRegistry } from "../scripts/registry.ts";
import { newSince, takeStock } from "./leftovers.ts";
import { type Measured, measure, measureTogether } from "./measure.ts";
import { openOurs } from "./ours.ts";
import { busyboxImage } from "./peers/images.ts";
import { pushLayout } from "./peers/oci-layout.ts";
import { openPodman } from "./peers/podman.ts";
import { type Bench, type BenchOptions, type Report, roundsOf } from "./report.ts";

export const bench: Bench = { name: "many", title: "Many containers", run };

const together = 50;
const oneByOne = 100;

async function run(options: BenchOptions): Promise<readonly Report[]> {
  const rounds = roundsOf(3, options);
  await using registry = await startRegistry();
  const image = `${registry.host}/busybox:latest`;
  pushLayout(busyboxImage().layout, image);
  using ours = openOurs();
  using podman = openPodman();
  const flags = ["run", "--rm", "--network", "none"];
  const candidates = [
    {
      name: "manyworlds",
      pull: [...ours.command, ...flags, image, "true"], // The first run pulls.
      command: [...ours.command, ...flags, image, "true"],
      env: ours.env,
    },
    {
      name: "podman",
      pull: [...podman.command, "pull", "--tls-verify=false", "--quiet", image],
      command: [...podman.command, ...flags, ...podman.runFlags, image, "true"],
      env: podman.env,
    },
  ];
  for (const { pull, env } of candidates) {
    const [file = "", ...args] = pull;
    execFileSync(file, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  }
  const before = takeStock(ours.root);
  const atOnce = await measureAtOnce(candidates, rounds);
  const [first] = candidates;
  const sequence = await measure(first === undefined ? [] : [first], {
    rounds: oneByOne,
    warmups: 0,
  });
  const left = newSince(before, takeStock(ours.root));
  return [
    {
      title: `${together} containers at once, until the last has ended`,
      rounds,
      measured: atOnce,
      goals: [{ ours: "manyworlds", peer: "podman", atMost: 0.3 }],
    },
    {
      title: `${oneByOne} containers one after another`,
      rounds: oneByOne,
      measured: sequence,
      goals: [],
      notes: [
        `together: ${Math.round(sumOf(sequence.samples[0]?.ms ?? []))} ms`,
        left.length === 0 ? "leftovers: none" : `leftovers: ${left.slice(0, 10).join(", ")}`,
      ],
    },
  ];
}

async function measureAtOnce(
  candidates: readonly {
    readonly name: string;
    readonly command: readonly string[];
    readonly env: NodeJS.ProcessEnv;
  }[],
  rounds: number,
): Promise<Measured> {
  const samples = candidates.map(({ name }) => ({ name, ms: [] as number[] }));
  const left: { name: string; why: string }[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [index, { name, command, env }] of candidates.entries()) {
      const { ms, failed, firstError } = await measureTogether(together, () => command, env);
      samples[index]?.ms.push(ms);
      if (failed > 0) left.push({ name, why: `${failed} of ${together} failed: ${firstError}` });
    }
  }
  return { samples, left };
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
