/** A call of the guest that stays unanswered for a while: that of an agent whose machine is saved. */
import type { Packet } from "./vsock-packet.ts";

/** What a caller says when it dials. */
export type Call = Pick<Packet, "srcPort" | "dstPort" | "bufAlloc" | "fwdCnt">;

export class HeldCall {
  readonly #port: number;
  #others: number;
  readonly #come: () => void;
  call: Call | undefined;

  /** The next call to `port`, or the one after `others`. */
  constructor(port: number, others: number, come: () => void) {
    this.#port = port;
    this.#others = others;
    this.#come = come;
  }

  static of(call: Call): HeldCall {
    const held = new HeldCall(call.dstPort, 0, () => undefined);
    held.call = call;
    return held;
  }

  /** True: this one is held. */
  take({ srcPort, dstPort, bufAlloc, fwdCnt }: Call): boolean {
    if (dstPort !== this.#port || this.call !== undefined || this.#others-- > 0) return false;
    this.call = { srcPort, dstPort, bufAlloc, fwdCnt };
    this.#come();
    return true;
  }
}
