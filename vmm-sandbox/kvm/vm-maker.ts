/**
 * KVM_CREATE_VM on a thread of its own. It sleeps while the host's kernel patches its code, waits for its
 * other processors or starts a thread (up to tens of milliseconds), in which a kernel can be planned and
 * copied: nothing of that needs the VM.
 */
import { errnoName, Fd, FUTEX_WAIT, FUTEX_WAKE, SyscallError, syscall } from "../../linux/index.ts";
import { RowThread } from "../host/row-thread.ts";
import { kvmIoctls } from "./abi.ts";

export class VmMaker {
  readonly #thread: RowThread;

  constructor(system: Fd) {
    this.#thread = new RowThread({
      rows: [
        {
          call: "ioctl",
          args: [system.number, kvmIoctls.KVM_CREATE_VM, 0],
          as: "vm",
          onError: "made",
        },
        { label: "made" },
        { store: { buffer: "made" }, value: 1, width: 4 },
        { call: "futex", args: [{ buffer: "made" }, FUTEX_WAKE, 1] },
      ],
      buffers: { made: 8 },
      signals: [],
    });
  }

  /** Waits for the VM, once; throws SyscallError. */
  take(): Fd {
    const made = this.#thread.words("made");
    while (Atomics.load(made, 0) === 0) syscall("futex", bytesOf(made), FUTEX_WAIT, 0, 0);
    const result = this.#thread.result("vm");
    this.#thread.join();
    if (result >= 0) return Fd.take(result);
    throw new SyscallError({ call: "KVM_CREATE_VM", args: [0], errno: errnoName(-result) });
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
