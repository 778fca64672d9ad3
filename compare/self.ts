/** How to start this program again: compiled into one file, or from its sources. */

/** Words before a verb. */
export function selfCommand(): readonly string[] {
  const script = process.argv[1] ?? "";
  if (isCompiled()) return [process.execPath];
  return [process.execPath, ...process.execArgv, script];
}

/** From the sources, every start transpiles them: what it costs is not what users pay. */
export function isCompiled(): boolean {
  return (process.argv[1] ?? "").startsWith("/$bunfs/");
}
