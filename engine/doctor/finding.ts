/** What a check found out about this machine. */

export interface Finding {
  readonly name: string;
  /** "yes": usable; "no": not; "partly": usable with a limit that matters. */
  readonly usable: "yes" | "partly" | "no";
  /** What was found: versions, names, numbers. */
  readonly detail: string;
  /** The exact cause, when something is missing. */
  readonly cause?: string;
  /** One line that a person can do or type. */
  readonly cure?: string;
}

export function usable(name: string, detail: string): Finding {
  return { name, usable: "yes", detail };
}

export function partly(name: string, detail: string, cause: string, cure: string): Finding {
  return { name, usable: "partly", detail, cause, cure };
}

export function unusable(name: string, cause: string, cure: string): Finding {
  return { name, usable: "no", detail: "", cause, cure };
}
