/**
 * Pull and unpack an image of several real layers from a registry on loopback, each time into an
 * empty store: manyworlds, podman, skopeo followed by umoci. Then each once more for its peak
 * memory.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { startRegistry } from "../scripts/registry.ts";
import { folderNote, makeFolder } from "./folder.ts";
import { type Candidate, measure } from "./measure.ts";
import { openOurs } from "./ours.ts";
import { debianImage } from "./peers/images.ts";
import { pushLayout } from "./peers/oci-layout.ts";
import { openPodman } from "./peers/podman.ts";
import { type Bench, type BenchOptions, type Report, roundsOf } from "./report.ts";

export const bench: Bench = {
  name: "pull",
  title: "Pull and unpack an image of four Debian layers",
  run,
};

const maxMemoryMiB = 200;

async function run(options: BenchOptions): Promise<readonly Report[]> {
  const rounds = roundsOf(5, options);
  const { layout, files, bytes } = debianImage();
  await using registry = await startRegistry();
  const image = `${registry.host}/debian:latest`;
  pushLayout(layout, image);
  using ours = openOurs();
  using podman = openPodman();
  const directory = makeFolder("pull");
  try {
    const candidates = [
      {
        name: "manyworlds pull",
        command: [...ours.command, "pull", "--quiet", image],
        env: ours.env,
        prepare: () => empty(ours.root),
      },
      {
        name: "podman pull",
        command: [...podman.command, "pull", "--quiet", "--tls-verify=false", image],
        env: podman.env,
        prepare: () => podman.removeImages(),
      },
      skopeoAndUmoci(image, directory),
    ];
    const measured = await measure(candidates, { rounds, warmups: options.quick ? 0 : 1 });
    const able = candidates.filter(
      ({ name }) => !measured.left.some((candidate) => candidate.name === name),
    );
    const memory: string[] = [];
    for (const candidate of able) memory.push(await peakMemory(candidate));
    return [
      {
        title: bench.title,
        rounds,
        measured,
        goals: [
          { ours: "manyworlds pull", peer: "podman pull", atMost: 1 },
          { ours: "manyworlds pull", peer: "skopeo copy + umoci unpack", atMost: 1 },
        ],
        notes: [
          `image: ${files} entries, ${Math.round(bytes / 2 ** 20)} MiB unpacked`,
          folderNote(),
          ...memory,
          `goal for ours: at most ${maxMemoryMiB} MiB`,
        ],
      },
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function skopeoAndUmoci(image: string, directory: string): Candidate {
  const script = [
    `skopeo copy --quiet --src-tls-verify=false docker://${image} oci:${directory}/oci:latest`,
    `umoci unpack --image ${directory}/oci:latest ${directory}/bundle`,
  ].join(" && ");
  return {
    name: "skopeo copy + umoci unpack",
    command: ["/bin/sh", "-c", script],
    prepare: () => empty(directory),
  };
}

async function peakMemory({ name, command, env, prepare }: Candidate): Promise<string> {
  await prepare?.();
  const wrapper = fileURLToPath(new URL("peak-memory.ts", import.meta.url));
  const args = ["--import", "tsx", wrapper, ...command];
  const run = spawnSync(process.execPath, args, { env: env ?? process.env, encoding: "utf8" });
  if (run.status !== 0) return `peak memory, ${name}: not measured: ${run.stderr.trim()}`;
  return `peak memory of the largest process, ${name}: ${Math.round(Number(run.stdout) / 1024)} MiB`;
}

function empty(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
}
