/** `manyworlds vm classify`: why x86 could not be virtualised by trapping alone, counted in a file. */
import { classifyProgram } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatListing, formatValue } from "../output/format.ts";
import type { vmClassifyFlags } from "../table/vm.ts";

export const vmClassify: Handler<typeof vmClassifyFlags> = async ({ values, args }) => {
  const [path = ""] = args;
  const found = await classifyProgram(path);
  if (values.format === "json") {
    process.stdout.write(formatValue(found, "json"));
    return 0;
  }
  const rows = [
    ...Object.entries(found.sensitive).map(([name, Count]) => row("sensitive", name, Count)),
    ...Object.entries(found.privileged).map(([name, Count]) => row("privileged", name, Count)),
  ];
  const columns = [
    { header: "KIND", field: "Kind" },
    { header: "INSTRUCTION", field: "Instruction" },
    { header: "COUNT", field: "Count" },
  ] as const;
  process.stdout.write(formatListing({ rows, columns }, values.format));
  if (values.format === undefined || values.format === "table")
    process.stdout.write(
      `${found.instructions} instructions of ${found.bits} bits in ${found.codeBytes} bytes; ` +
        `${found.undecodedBytes} bytes are none\n`,
    );
  return 0;
};

function row(Kind: string, name: string, count: number) {
  return { Kind, Instruction: name, Count: String(count) };
}
