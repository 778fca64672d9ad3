/** placeholder */
import type { GuestNetwork } from "./guest-network.ts";

export type NamespaceNetwork = GuestNetwork & Disposable;

export function connectNamespace(): NamespaceNetwork {
  return { devices: [], interfaces: [], [Symbol.dispose]: () => undefined };
}
