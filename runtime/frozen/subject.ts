/**
 * The process that is frozen: it has loaded everything, and used it once (warm-up.ts), and waits in
 * `freeze`. In the door's process it returns from there, to words and variables that it did not have
 * when it started. Bun's own idea of them, `process.argv` and `process.env`, stays what it was.
 */
import { call, freeze, frozenRegistersSize, mapMemory, viewMemory } from "../../linux/index.ts";
import { executablePath, rememberExecutable } from "../executable.ts";
import { imageAddress, imageHeader, imageWords, reportDescriptor } from "./layout.ts";
import { warmUp } from "./warm-up.ts";

export interface ThawedStart {
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly name: string;
}

type Main = (words: readonly string[]) => Promise<number>;

const ARCH_GET_FS = 0x1003;
const PAGE_BYTES = 4096;
/** More than the kernel lets anybody pass: a third of 8 MiB, at least two bytes each. */
const vectorLimit = 1_500_000;
let isThawedProcess = false;

/** Whether this process is the door's. */
export function isThawed(): boolean {
  return isThawedProcess;
}

/**
 * In a thawed process, starts the executable after all, with the same words: for what needs Bun's
 * event loop, such as handlers of signals. Nothing may have been done yet.
 */
export function wantWholeProcess(): void {
  if (!isThawedProcess) return;
  const [argv, environment] = [word(imageWords.argv), word(imageWords.environment)];
  viewMemory(argv, 8).set(viewMemory(imageAddress + imageHeader.words + imageWords.name, 8));
  call("execve", executablePath(), argv, environment);
}

/** Returns in the processes that go on from here, and nowhere else. */
export async function freezeHere(main: Main): Promise<ThawedStart> {
  rememberExecutable();
  await warmUp(main);
  const registers = mapMemory(frozenRegistersSize);
  const report = new BigUint64Array(2);
  call("arch_prctl", ARCH_GET_FS, new Uint8Array(report.buffer));
  report[1] = BigInt(registers.address);
  call("write", reportDescriptor, new Uint8Array(report.buffer), report.byteLength);
  freeze(registers.address, reportDescriptor);
  isThawedProcess = true;
  return readStart();
}

/** What the door left in the image's header. */
function word(offset: number): number {
  return readWord(imageAddress + imageHeader.words + offset);
}

function readStart(): ThawedStart {
  const environment: Record<string, string> = {};
  for (const text of readVector(word(imageWords.environment))) {
    const equals = text.indexOf("=");
    // As getenv(3): of two with one name, the first counts.
    if (equals > 0) environment[text.slice(0, equals)] ??= text.slice(equals + 1);
  }
  const [, ...words] = readVector(word(imageWords.argv));
  return { words, environment, name: readString(word(imageWords.name)) };
}

function readWord(address: number): number {
  const bytes = viewMemory(address, 8);
  return Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
}

/** Pointers up to NULL, in the stack that the kernel made: more of it follows. */
function readVector(address: number): readonly string[] {
  const texts: string[] = [];
  for (let at = address; texts.length < vectorLimit; at += 8) {
    const pointer = readWord(at);
    if (pointer === 0) return texts;
    texts.push(readString(pointer));
  }
  throw new RangeError(`Cannot read more than ${vectorLimit} words of a command line`);
}

const decoder = new TextDecoder();

/** A C string; looks at no page that it does not reach into. */
function readString(address: number): string {
  for (let size = PAGE_BYTES - (address % PAGE_BYTES); ; size += PAGE_BYTES) {
    const bytes = viewMemory(address, size);
    const end = bytes.indexOf(0, Math.max(0, size - PAGE_BYTES));
    if (end >= 0) return decoder.decode(bytes.subarray(0, end));
  }
}
