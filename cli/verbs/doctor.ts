/** `manyworlds doctor`: a line for each capability, its cause and cure when it is missing. */
import { diagnose, type Finding, type Rung } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { paint, wantsColour } from "../output/color.ts";
import { wrap } from "../output/wrap.ts";
import type { doctorFlags } from "../table/other.ts";

export const doctor: Handler<typeof doctorFlags> = async ({ values }, { root, env }) => {
  const diagnosis = await diagnose(root);
  const fit = diagnosis.rungs.some((rung) => rung.usable);
  if (values.format === "json") {
    process.stdout.write(`${JSON.stringify(diagnosis, undefined, 2)}\n`);
    return fit ? 0 : 1;
  }
  const colour = wantsColour(env, process.stdout.isTTY === true);
  const columns = process.stdout.columns ?? Number.POSITIVE_INFINITY; // in no terminal nothing wraps
  process.stdout.write(formatDiagnosis(diagnosis.findings, diagnosis.rungs, colour, columns));
  return fit ? 0 : 1;
};

/** "part" and the gap behind it. */
const SIGN_COLUMNS = 6;
const MIN_COLUMNS = 30;

const signs = { yes: ["ok", "green"], partly: ["part", "yellow"], no: ["no", "red"] } as const;

export function formatDiagnosis(
  findings: readonly Finding[],
  rungs: readonly Rung[],
  colour: boolean,
  columns = Number.POSITIVE_INFINITY,
): string {
  const width = Math.max(...[...findings, ...rungs].map(({ name }) => name.length)) + 2;
  const indent = " ".repeat(SIGN_COLUMNS + width);
  const laid = (text: string): string =>
    wrap(text, Math.max(MIN_COLUMNS, columns - indent.length)).join(`\n${indent}`);
  const lines = findings.flatMap(({ name, usable, detail, cause, cure }) => {
    const [word, hue] = signs[usable];
    const head = `${paint(word.padEnd(4), hue, colour)}  ${name.padEnd(width)}`;
    const texts = [detail, cause, cure === undefined ? undefined : `cure: ${cure}`];
    const shown = texts.flatMap((text) => (text === undefined || text === "" ? [] : [text]));
    return shown.map((text, index) => `${index === 0 ? head : indent}${laid(text)}`);
  });
  const ladder = rungs.flatMap(({ name, usable, reason, chosenBy, why, expected, cure }) => {
    const [word, hue] = signs[usable ? "yes" : "no"];
    const head = `${paint(word.padEnd(4), hue, colour)}  ${name.padEnd(width)}`;
    const because = why === undefined ? "" : `: ${why}`;
    const texts = usable
      ? [expected, `chosen by ${chosenBy.join(", ")}${because}`]
      : [reason, ...(cure === undefined ? [] : [`cure: ${cure}`])];
    return texts.map((text, index) => `${index === 0 ? head : indent}${laid(text)}`);
  });
  return `${[...lines, "", "Isolation:", ...ladder].join("\n")}\n`;
}
