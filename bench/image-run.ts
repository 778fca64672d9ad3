/**
 * Whole `run` of /bin/true from an image that is already unpacked: manyworlds, podman, docker.
 */
import { execFileSync } from "node:child_process";
import { startRegistry } from "../scripts/registry.ts";
import { type Candidate, measure } from "./measure.ts";
import { openOurs } from "./ours.ts";
import { openDocker } from "./peers/docker.ts";
import { busyboxImage } from "./peers/images.ts";
import { pushLayout } from "./peers/oci-layout.ts";
import { openPodman } from "./peers/podman.ts";
import { type Bench, type BenchOptions, type Report, roundsOf } from "./report.ts";

export const bench: Bench = {
  name: "image-run",
  title: "manyworlds run --rm --network none busybox true",
  run: runBench,
};

async function runBench(options: BenchOptions): Promise<readonly Report[]> {
  await using registry = await startRegistry();
  const image = `${registry.host}/busybox:latest`;
  pushLayout(busyboxImage().layout, image);
  using ours = openOurs();
  using podman = openPodman();
  const left: { name: string; why: string }[] = [];
  const docker = await openDocker().catch((error: Error) => {
    left.push({ name: "docker", why: error.message });
    return undefined;
  });
  try {
    const candidates: Candidate[] = [];
    const add = (name: string, make: () => Candidate) => {
      try {
        candidates.push(make());
      } catch (error) {
        left.push({ name, why: error instanceof Error ? error.message : String(error) });
      }
    };
    const run = ["run", "--rm", "--network", "none"];
    add("manyworlds", () => {
      pull([...ours.command, "pull", "--quiet", image], ours.env);
      return {
        name: "manyworlds",
        command: [...ours.command, ...run, image, "true"],
        env: ours.env,
      };
    });
    add("podman", () => {
      pull([...podman.command, "pull", "--tls-verify=false", "--quiet", image], podman.env);
      const command = [...podman.command, ...run, ...podman.runFlags, image, "true"];
      return { name: "podman", command, env: podman.env };
    });
    if (docker !== undefined) {
      add("docker", () => {
        pull([...docker.command, "pull", "--quiet", image], process.env);
        return { name: "docker", command: [...docker.command, ...run, image, "true"] };
      });
    }
    const rounds = roundsOf(20, options);
    const measured = await measure(candidates, { rounds, warmups: 2 });
    return [
      {
        title: bench.title,
        rounds,
        measured: { ...measured, left: [...measured.left, ...left] },
        goals: [
          { ours: "manyworlds", peer: "podman", atMost: 0.3 },
          { ours: "manyworlds", peer: "docker", atMost: 0.15 },
        ],
      },
    ];
  } finally {
    await docker?.[Symbol.asyncDispose]();
  }
}

function pull([file = "", ...args]: readonly string[], env: NodeJS.ProcessEnv): void {
  execFileSync(file, args, { env, stdio: ["ignore", "ignore", "pipe"] });
}
