/**
 * Whether and how to colour. NO_COLOR (no-color.org) beats everything, then FORCE_COLOR and
 * CLICOLOR_FORCE (bixense.com/clicolors), then whether the stream is a terminal that is not dumb.
 */
type Env = Readonly<Record<string, string | undefined>>;

const codes = { red: 31, green: 32, yellow: 33, cyan: 36, dim: 2, bold: 1 } as const;

export function wantsColour(env: Env, isTerminal: boolean): boolean {
  if ((env["NO_COLOR"] ?? "") !== "") return false;
  const forced = env["FORCE_COLOR"] ?? env["CLICOLOR_FORCE"];
  if (forced !== undefined && forced !== "") return forced !== "0" && forced !== "false";
  if (env["CLICOLOR"] === "0" || env["TERM"] === "dumb") return false;
  return isTerminal;
}

export function paint(text: string, colour: keyof typeof codes, enabled: boolean): string {
  return enabled ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text;
}
