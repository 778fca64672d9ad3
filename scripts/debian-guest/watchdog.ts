/**
 * Asks a guest that has fallen silent where it hangs: its kernel, by SysRq over the serial console,
 * and its processors, through QEMU's monitor.
 *
 * ```
 * monitor socket   "info registers -a"; "chardev-send-break console" makes the next byte a SysRq
 * console socket   that byte; the answers come in the console's log
 * ```
 */
import { connect, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";

/** SysRq keys: processors' stacks, blocked tasks, timers, all tasks. sysrq.rst */
const sysrqKeys = ["l", "w", "q", "t"];
/** What a serial console of an emulated machine takes to print its answer. */
const answerMs = 4000;

export interface GuestSockets {
  readonly monitor: string;
  readonly console: string;
}

/** Options of QEMU for the console (also logged to `log`) and the monitor. */
export function watchedConsole(sockets: GuestSockets, log: string): readonly string[] {
  const socket = (path: string) => `socket,path=${path},server=on,wait=off`;
  return [
    ...["-chardev", `${socket(sockets.console)},id=console,logfile=${log}`],
    ...["-serial", "chardev:console", "-monitor", `unix:${sockets.monitor},server=on,wait=off`],
  ];
}

/** Resolves with what the processors are at; what the kernel says is then in the console's log. */
export async function interrogateGuest(sockets: GuestSockets): Promise<string> {
  const monitor = await open(sockets.monitor);
  const console = await open(sockets.console);
  let answer = "";
  monitor.on("data", (bytes: Buffer) => {
    answer += bytes.toString("latin1");
  });
  // Twice: whether the processors move tells a loop from a halt.
  for (let i = 0; i < 2; i++) {
    monitor.write("info registers -a\n");
    await setTimeout(1000);
  }
  for (const key of sysrqKeys) {
    monitor.write("chardev-send-break console\n");
    await setTimeout(200);
    console.write(key);
    await setTimeout(answerMs);
  }
  monitor.destroy();
  console.destroy();
  return answer.replaceAll("\r", "");
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket.off("error", reject)));
    socket.once("error", reject);
    socket.resume();
  });
}
