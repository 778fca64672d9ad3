/** Words that execute this program again: the executable, or the engine with our source. */
export function self(): readonly string[] {
  const { execPath, execArgv, argv } = process;
  const [, script = ""] = argv;
  return script.startsWith("/$bunfs/") ? [execPath] : [execPath, ...execArgv, script];
}
