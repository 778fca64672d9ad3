/**
 * A vCPU that runs on a thread of its own, which knows KVM_RUN and nothing else; what makes it come
 * back is handled on the device thread, where the devices are.
 *
 * ```
 * device thread                        the vCPU's thread (rows)
 *   go = 1, futex wake ──────────────► KVM_RUN
 *   devices, `go` again ◄── a byte ─── left = 1
 * ```
 */
import { FUTEX_WAIT } from "../../linux/index.ts";
import { RowThread, type RowThreadPlan } from "../host/row-thread.ts";
import type { Found, Waker } from "../host/waker.ts";
import type { VmExit } from "../machine/vcpu.ts";
import type { InterruptStatus } from "./interrupt-status.ts";
import { KICK_SIGNAL } from "./kick-signal.ts";
import type { KvmVcpu } from "./vcpu.ts";

/** What `go` says. */
const [WAIT, GO, END] = [0, 1, 2];

export class KvmVcpuThread {
  readonly vcpu: KvmVcpu;
  readonly #thread: RowThread;
  readonly #go: Int32Array;
  readonly #left: Int32Array;
  readonly #unlisten: () => void;
  #running: Promise<VmExit> | undefined;
  #resolve: (exit: VmExit) => void = () => undefined;

  /** What `status` answers does not come here. */
  constructor(vcpu: KvmVcpu, waker: Waker, status: InterruptStatus) {
    this.vcpu = vcpu;
    this.#thread = new RowThread(planRunning(vcpu, waker, status));
    this.#go = this.#thread.words("go");
    this.#left = this.#thread.words("left");
    this.#unlisten = waker.listen(() => this.#look());
    vcpu.runsOn(this.#thread.tid);
  }

  run(): Promise<VmExit> {
    if (this.#running !== undefined) throw new Error("Cannot run a vCPU that runs: pause it first");
    this.#running = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#enter();
    return this.#running;
  }

  kick(): void {
    this.vcpu.kick();
  }

  /** Ends the thread and the vCPU, at rest or running. */
  async end(): Promise<void> {
    if (this.#running !== undefined) this.kick();
    await this.#running;
    this.#unlisten();
    this.#tell(END);
    this.#thread.join();
    this.vcpu[Symbol.dispose]();
  }

  #enter(): void {
    this.#tell(GO);
  }

  #tell(what: number): void {
    Atomics.store(this.#go, 0, what);
    this.#thread.wake("go");
  }

  /** What a device throws must not leave the vCPU waiting for ever: it ends the run. */
  #look(): Found {
    if (Atomics.exchange(this.#left, 0, 0) === 0) return "nothing";
    let exit: VmExit | undefined;
    try {
      exit = this.vcpu.takeExit(this.#thread.result("run"));
    } catch (error) {
      exit = { reason: "failed", why: `a device failed: ${error}` };
    }
    if (exit === undefined) {
      this.#enter();
      return "answered";
    }
    this.#running = undefined;
    this.#resolve(exit);
    return "begun";
  }
}

function planRunning(vcpu: KvmVcpu, waker: Waker, status: InterruptStatus): RowThreadPlan {
  return {
    rows: [
      { label: "wait" },
      { jump: "enter", if: [{ load: "go", width: 4 }, "==", GO] },
      { jump: "failed", if: [{ load: "go", width: 4 }, "==", END] },
      // EAGAIN: it has been told something meanwhile.
      { call: "futex", args: [{ buffer: "go" }, FUTEX_WAIT, WAIT, 0], onError: "wait" },
      { jump: "wait" },
      { label: "enter" },
      { store: { buffer: "go" }, value: WAIT, width: 4 },
      { label: "run" },
      // Every errno is the device thread's matter.
      { ...vcpu.runRow, as: "run", onError: "left" },
      ...status.answerRows(vcpu.runAddress, "run", "left"),
      { label: "left" },
      { store: { buffer: "left" }, value: 1, width: 4 },
      ...waker.wakeRows("wait"),
    ],
    buffers: { go: 8, left: 8, status: 8 },
    signals: [KICK_SIGNAL],
  };
}
