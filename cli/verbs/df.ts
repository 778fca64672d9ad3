/** `manyworlds df`: what the disk is used for; the total is what `du` says of the state root. */
import { storeOperations } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatListing } from "../output/format.ts";
import { formatTable } from "../output/table.ts";
import { formatSize, shortId } from "../output/units.ts";
import type { dfFlags } from "../table/image.ts";

export const df: Handler<typeof dfFlags> = async ({ values }, { root }) => {
  const operations = await storeOperations();
  const usage = operations.diskUsage(root);
  const { images, containersById, runningContainers } = usage;
  const used = images.filter(({ containers }) => containers > 0).length;
  const unused = images.filter(({ containers }) => containers === 0);
  const free = unused.reduce((sum, { uniqueBytes }) => sum + uniqueBytes, 0);
  const row = (
    Type: string,
    total: string,
    active: string,
    bytes: number,
    reclaimable: string,
  ) => ({
    Type,
    TotalCount: total,
    Active: active,
    Size: formatSize(bytes),
    Reclaimable: reclaimable,
  });
  const ids = Object.keys(containersById);
  const rows = [
    row(
      "Images",
      String(images.length),
      String(used),
      usage.blobs + usage.layers,
      formatSize(free),
    ),
    row("Containers", String(ids.length), String(runningContainers), usage.containers, "-"),
    row("VM snapshots", "-", "-", usage.machines, formatSize(usage.machines)),
    row("Unfinished", "-", "-", usage.unfinished, formatSize(usage.unfinished)),
    row("Records", "-", "-", usage.records, "0B"),
    row("Total", "-", "-", usage.total, "-"),
  ];
  const columns = [
    { header: "TYPE", field: "Type" },
    { header: "TOTAL", field: "TotalCount" },
    { header: "ACTIVE", field: "Active" },
    { header: "SIZE", field: "Size" },
    { header: "RECLAIMABLE", field: "Reclaimable" },
  ] as const;
  process.stdout.write(formatListing({ rows, columns }, values.format));
  if (!values.verbose || values.format !== undefined) return 0;
  const details = images.map(({ image, sizeBytes, sharedBytes, uniqueBytes, containers }) => [
    image.tags[0] ?? "<none>",
    shortId(image.id),
    formatSize(sizeBytes),
    formatSize(sharedBytes),
    formatSize(uniqueBytes),
    String(containers),
  ]);
  const headers = ["IMAGE", "IMAGE ID", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"];
  process.stdout.write(`\n${formatTable(headers, details)}`);
  return 0;
};
