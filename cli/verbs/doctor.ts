/** `manyworlds doctor`: a line for each capability, its cause and cure when it is missing. */
import { diagnose, type Finding, type Rung } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { paint, wantsColour } from "../output/color.ts";
import type { doctorFlags } from "../table/other.ts";

export const doctor: Handler<typeof doctorFlags> = async ({ values }, { root, env }) => {
  const diagnosis = await diagnose(root);
  const fit = diagnosis.rungs.some((rung) => rung.usable);
  if (values.format === "json") {
    process.stdout.write(`${JSON.stringify(diagnosis, undefined, 2)}\n`);
    return fit ? 0 : 1;
  }
  const colour = wantsColour(env, process.stdout.isTTY === true);
  process.stdout.write(formatDiagnosis(diagnosis.findings, diagnosis.rungs, colour));
  return fit ? 0 : 1;
};

const signs = { yes: ["ok", "green"], partly: ["part", "yellow"], no: ["no", "red"] } as const;

export function formatDiagnosis(
  findings: readonly Finding[],
  rungs: readonly Rung[],
  colour: boolean,
): string {
  const width = Math.max(...[...findings, ...rungs].map(({ name }) => name.length)) + 2;
  const indent = " ".repeat(6 + width);
  const lines = findings.flatMap(({ name, usable, detail, cause, cure }) => {
    const [word, hue] = signs[usable];
    const head = `${paint(word.padEnd(4), hue, colour)}  ${name.padEnd(width)}`;
    const texts = [detail, cause, cure === undefined ? undefined : `cure: ${cure}`];
    const shown = texts.filter((text) => text !== undefined && text !== "");
    return shown.map((text, index) => `${index === 0 ? head : indent}${text}`);
  });
  const ladder = rungs.flatMap(({ name, usable, reason, chosenBy, expected, cure }) => {
    const [word, hue] = signs[usable ? "yes" : "no"];
    const head = `${paint(word.padEnd(4), hue, colour)}  ${name.padEnd(width)}`;
    if (!usable) return [head + reason, ...(cure === undefined ? [] : [`${indent}cure: ${cure}`])];
    return [head + expected, `${indent}chosen by ${chosenBy.join(", ")}`];
  });
  return `${[...lines, "", "Isolation:", ...ladder].join("\n")}\n`;
}
