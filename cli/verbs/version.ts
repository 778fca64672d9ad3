/** `manyworlds version`. */

import { VERSION } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatValue } from "../output/format.ts";
import type { versionFlags } from "../table/other.ts";

export const version: Handler<typeof versionFlags> = ({ values }) => {
  const facts = {
    Version: VERSION,
    OciRuntimeSpec: "1.3.0",
    Os: process.platform,
    Arch: process.arch === "x64" ? "amd64" : process.arch,
    Engine: process.versions["bun"] === undefined ? "node" : "bun",
    EngineVersion: process.versions["bun"] ?? process.versions.node,
  };
  const { format } = values;
  process.stdout.write(
    format === undefined ? `manyworlds version ${VERSION}\n` : formatValue(facts, format),
  );
  return 0;
};
