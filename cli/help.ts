/** The help, laid out as docker's: usage, what it does, other names, options in columns. */
import { type Command, type Flag, valueText } from "./command.ts";
import { wrap } from "./output/wrap.ts";
import { commands, groups, membersOf } from "./table/index.ts";

const program = "manyworlds";
const MIN_WIDTH = 60; // below this, columns of one word would be all that is left

/** `manyworlds --help`. */
export function formatProgramHelp(): string {
  const sections = (
    [
      ["Common Commands:", "common"],
      ["Image Commands:", "image"],
      ["Commands:", "other"],
    ] as const
  ).map(([title, group]) => {
    const rows = commands.filter((row) => row.group === group);
    return formatRows(
      title,
      rows.map((row) => [row.name, row.summary] as const),
    );
  });
  return [
    `Usage:  ${program} [--root DIR] COMMAND`,
    "Run OCI images in the isolation you ask for",
    ...sections,
    formatRows("Management Commands:", Object.entries(groups)),
    formatRows("Global Options:", [
      ["    --root DIR", "Keep images and containers here (MANYWORLDS_ROOT)"],
      ["-D, --debug", "Show where an error comes from"],
      ["-v, --version", "Show the version"],
    ]),
    `Run '${program} COMMAND --help' for more on a command.`,
    "",
  ]
    .join("\n\n")
    .replace(/\n\n$/, "\n");
}

/** `manyworlds image --help`. */
export function formatGroupHelp(group: string): string {
  const rows = membersOf(group)
    .filter(({ word }) => word !== "list" && word !== "remove")
    .map(({ word, command }) => [word, command.summary] as const)
    .sort(([a], [b]) => a.localeCompare(b));
  return [
    `Usage:  ${program} ${group} COMMAND`,
    groups[group] ?? "",
    formatRows("Commands:", rows),
    `Run '${program} ${group} COMMAND --help' for more on a command.\n`,
  ].join("\n\n");
}

/** `manyworlds run --help`. */
export function formatCommandHelp(command: Command, width = 80): string {
  const parts = [`Usage:  ${program} ${command.name} ${command.usage}`.trimEnd(), command.summary];
  if (command.aliases !== undefined) {
    const names = [command.name, ...command.aliases].map((name) => `${program} ${name}`);
    parts.push(`Aliases:\n  ${names.join(", ")}`);
  }
  const options = formatOptions(command, Math.max(width, MIN_WIDTH));
  if (options !== "") parts.push(`Options:\n${options}`);
  if (command.notes !== undefined) {
    const lines = command.notes.flatMap((note) => wrap(note, Math.max(width, MIN_WIDTH)));
    parts.push(lines.join("\n"));
  }
  return `${parts.join("\n\n")}\n`;
}

/** "-m, --memory bytes". */
export function formatFlagName(name: string, flag: Flag): string {
  const short = flag.short === undefined ? "    " : `-${flag.short}, `;
  return `${short}--${name}${valueText(flag)}`;
}

function formatOptions(command: Command, width: number): string {
  const rows = Object.entries(command.flags)
    .filter(([, flag]) => flag.later === undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, flag]) => [formatFlagName(name, flag), describe(flag)] as const);
  const column = Math.max(0, ...rows.map(([left]) => left.length)) + 3;
  return rows
    .map(([left, right]) => {
      const lines = wrap(right, Math.max(24, width - column - 2));
      return `  ${left.padEnd(column)}${lines.join(`\n${" ".repeat(column + 2)}`)}`;
    })
    .join("\n");
}

function describe(flag: Flag): string {
  return flag.fallback === undefined
    ? flag.description
    : `${flag.description} (default ${flag.fallback})`;
}

function formatRows(title: string, rows: readonly (readonly [string, string])[]): string {
  const column = Math.max(...rows.map(([left]) => left.length)) + 3;
  return [title, ...rows.map(([left, right]) => `  ${left.padEnd(column)}${right}`)].join("\n");
}
