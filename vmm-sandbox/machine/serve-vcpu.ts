/** The inside of a vCPU's thread, whichever CPU it is. Protocol: vcpu-thread.ts. */
import type { MessagePort } from "node:worker_threads";
import type { Vcpu } from "./vcpu.ts";
import type { Command, Reply } from "./vcpu-thread.ts";

/** Says that the vCPU is ready, then obeys one command at a time; what is thrown is the reply. */
export function serveVcpu<Own = never>(
  port: MessagePort,
  obey: (command: Command<Own>) => unknown,
  ready?: unknown,
): void {
  const reply = (message: Reply) => port.postMessage(message);
  reply({ kind: "ready", ready });
  port.on("message", (command: Command<Own>) => {
    try {
      reply({ kind: "done", result: obey(command) });
    } catch (error) {
      reply({ kind: "failed", error });
    }
  });
}

/** The commands that every kind of CPU knows. */
export function obeyCommand(vcpu: Vcpu, command: Command): unknown {
  switch (command.kind) {
    case "run":
      return vcpu.run();
    case "get":
      return vcpu.getRegisters();
    case "set":
      return vcpu.setRegisters(command.registers);
    case "save":
      return vcpu.save();
    case "restore":
      return vcpu.restore(command.state);
    case "end":
      return vcpu[Symbol.dispose]();
    default:
      return command satisfies never;
  }
}
