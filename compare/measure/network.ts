/** The way from a world to this machine: round trips and streams over TCP. */
import type { HostServers } from "../host-server.ts";
import { type Work, workArguments, workloads } from "../probe.ts";
import type { OpenRung } from "../rungs/rung.ts";
import { keepWork, type WorkRecord } from "./work.ts";

const names = workloads.filter(({ group }) => group === "host").map(({ name }) => name);

export async function takeNetwork(
  rung: OpenRung,
  servers: HostServers,
  eachMs: number,
  record: WorkRecord,
  timeoutMs: number,
): Promise<void> {
  const { outward } = rung;
  const { words } = await servers.at(outward.to);
  const work: Work = { names, eachMs };
  keepWork(outward.probe([...workArguments(work, rung), ...words]), record, timeoutMs);
}
