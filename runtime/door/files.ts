/** Names of files in a container's state directory; state.ts says what they are. */
export const stateFile = "state.json";
export const pidFile = "pid";
export const socketFile = "start.sock";
/** What a container said to the door instead of starting; for the executable to explain. */
export const startReportFile = "start.report";
/** The program of `exec`, as an executable. */
export const execFile = "exec";
