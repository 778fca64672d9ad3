/** `manyworlds info`: this machine, and what is kept here. */
import { hostFacts } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatValue } from "../output/format.ts";
import { formatSize } from "../output/units.ts";
import type { infoFlags } from "../table/other.ts";

export const info: Handler<typeof infoFlags> = async ({ values }, { root }) => {
  const facts = await hostFacts(root);
  if (values.format !== undefined) {
    process.stdout.write(formatValue(facts, values.format));
    return 0;
  }
  const lines: readonly (readonly [string, string | number | boolean])[] = [
    ["Version", facts.ServerVersion],
    ["State root", facts.RootDir],
    ["Images", facts.Images],
    ["Containers", facts.Containers],
    [" Running", facts.ContainersRunning],
    [" Stopped", facts.ContainersStopped],
    ["Storage driver", facts.Driver],
    ["Cgroup version", facts.CgroupVersion],
    ["Rootless", facts.Rootless],
    ["Kernel version", facts.KernelVersion],
    ["Operating system", facts.OperatingSystem],
    ["Architecture", facts.Architecture],
    ["CPUs", facts.NCPU],
    ["Total memory", formatSize(facts.MemTotal)],
    ["Name", facts.Name],
  ];
  process.stdout.write(lines.map(([name, value]) => `${name}: ${value}\n`).join(""));
  return 0;
};
