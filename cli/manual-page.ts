/** manyworlds(1) in mdoc(7), from the flag table. */
import { type Flag, standsAlone } from "./command.ts";
import { commands } from "./table/index.ts";

export function formatManualPage(): string {
  const verbs = commands.filter((command) => command.group !== "hidden");
  return [
    ".Dd $Mdocdate$",
    ".Dt MANYWORLDS 1",
    ".Os",
    ".Sh NAME",
    ".Nm manyworlds",
    ".Nd run OCI images in the isolation you ask for",
    ".Sh SYNOPSIS",
    ".Nm",
    ".Op Fl Fl root Ar dir",
    ".Ar command",
    ".Op Ar argument ...",
    ".Sh DESCRIPTION",
    "Commands and flags follow docker's. Each has its own",
    ".Fl Fl help .",
    ".Bl -tag -width Ds",
    ...verbs.flatMap((command) => [
      `.It Cm ${command.name} ${roff(command.usage)}`,
      `${roff(command.summary)}.`,
      ...formatFlags(command.flags),
    ]),
    ".El",
    ".Sh EXIT STATUS",
    "That of the command that ran; 125 when",
    ".Nm",
    "itself fails, 126 when the command cannot be run, 127 when it is not found,",
    "128+N when signal N killed it.",
    ".Sh ENVIRONMENT",
    ".Bl -tag -width Ds",
    ".It Ev MANYWORLDS_ROOT",
    "Where images and containers are kept.",
    ".It Ev NO_COLOR",
    "When set, nothing is coloured.",
    ".El",
    "",
  ].join("\n");
}

function formatFlags(flags: Readonly<Record<string, Flag>>): string[] {
  const rows = Object.entries(flags).filter(([, flag]) => flag.later === undefined);
  if (rows.length === 0) return [];
  return [
    ".Bl -tag -width Ds",
    ...rows.flatMap(([name, flag]) => {
      const short = flag.short === undefined ? "" : `Fl ${flag.short} , `;
      const value = manualValue(flag);
      const fallback = flag.fallback === undefined ? "" : ` (default ${flag.fallback})`;
      return [`.It ${short}Fl Fl ${name}${value}`, `${roff(flag.description + fallback)}.`];
    }),
    ".El",
  ];
}

/** The "=" of an optional value stands close to the flag: mdoc's Ns. */
function manualValue(flag: Flag): string {
  if (flag.kind === "switch") return "";
  return standsAlone(flag) ? ` Ns Oo Ns = Ns Ar ${flag.value} Oc` : ` Ar ${flag.value}`;
}

/** A backslash, or a leading dot or quote, would be read as a request. */
function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replace(/^[.']/, "\\&$&");
}
