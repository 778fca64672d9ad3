/** What can go wrong for whoever calls the runtime, one class for each thing they can do about it. */

/** The container could not be made or entered; nothing of it is left. */
export class LaunchError extends Error {
  override readonly name = "LaunchError";
  /** What docker reports: 127 command not found, 126 not executable, 125 anything else. */
  readonly exitCode: 125 | 126 | 127;
  constructor(message: string, exitCode: 125 | 126 | 127 = 125, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** No container has this ID under this root. Engines look for the text "does not exist". */
export class NoContainerError extends Error {
  override readonly name = "NoContainerError";
  constructor() {
    super("container does not exist");
  }
}

/** The container is not in a state that allows it; engines look for the texts. */
export class StatusError extends Error {
  override readonly name = "StatusError";
}
