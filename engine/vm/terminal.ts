/** Our own terminal, for processes in machines: with native code where it may be loaded. */
import { hasNativeCode } from "../../linux/index.ts";
import { enterRawMode } from "../terminal/raw-mode.ts";

const STDIN = 0;

/** Raw until disposed; with native code it is put back even when we are killed. */
export function enterRaw(): Disposable | undefined {
  if (!process.stdin.isTTY) return undefined;
  if (hasNativeCode()) return enterRawMode(STDIN);
  process.stdin.setRawMode(true);
  return { [Symbol.dispose]: () => void process.stdin.setRawMode(false) };
}

/** Of the terminal we write to. */
export function terminalSize(): { readonly width: number; readonly height: number } | undefined {
  const [columns = 0, rows = 0] = process.stdout.isTTY ? process.stdout.getWindowSize() : [];
  return columns > 0 && rows > 0 ? { width: columns, height: rows } : undefined;
}
