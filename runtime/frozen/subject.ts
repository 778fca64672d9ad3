/**
 * The process that is frozen: it has loaded everything, and used it once (warm-up.ts), and waits in
 * `freeze`. In the door's process it returns from there, to words and variables that it did not have
 * when it started. Bun's own idea of them, `process.argv` and `process.env`, stays what it was.
 */
import {
  call,
  encodeUtf8,
  freeze,
  frozenRegistersSize,
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_PRIVATE,
  mapMemory,
  PROT_READ,
  PROT_WRITE,
  viewMemory,
} from "../../linux/index.ts";
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
  warmUpReading();
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

/**
 * As the kernel lays them out, execve(2): words, then variables, one behind the other. All are read
 * as one text: a view of memory costs more than reading it.
 */
function readStart(): ThawedStart {
  const argv = word(imageWords.argv);
  const environment = word(imageWords.environment);
  const first = readWord(argv);
  const pointers = viewMemory(argv, 8 * Math.floor((first - argv) / 8));
  const vector = new BigUint64Array(pointers.buffer, pointers.byteOffset, pointers.length / 8);
  const wordCount = (environment - argv) / 8 - 1;
  const end = vector.indexOf(0n, wordCount + 1);
  const last = vector[end - 1] || vector[wordCount - 1] || 0n;
  const texts = readStrings(first, Number(last));
  const parts = texts.split("\0");
  return {
    words: parts.slice(1, wordCount),
    environment: asEnvironment(parts.slice(wordCount, end - 1)),
    name: readStrings(word(imageWords.name), word(imageWords.name)),
  };
}

/** Looked up by name, as few are asked for. */
function asEnvironment(variables: readonly string[]): Readonly<Record<string, string>> {
  const find = (name: string) => {
    const found = variables.find((text) => text.startsWith(`${name}=`));
    return found?.slice(name.length + 1);
  };
  return new Proxy<Record<string, string>>(
    {},
    {
      get: (_, name) => (typeof name === "string" ? find(name) : undefined),
      ownKeys: () => [...new Set(variables.map((text) => text.slice(0, text.indexOf("="))))],
      getOwnPropertyDescriptor: (_, name) => ({
        enumerable: true,
        configurable: true,
        value: find(String(name)),
      }),
    },
  );
}

function readWord(address: number): number {
  const bytes = viewMemory(address, 8);
  return Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
}

const decoder = new TextDecoder();

/** C strings that follow each other, from the first to the last one; reads no page behind it. */
function readStrings(first: number, last: number): string {
  const pageEnd = last - (last % PAGE_BYTES) + PAGE_BYTES;
  for (let size = pageEnd - first; ; size += PAGE_BYTES) {
    const bytes = viewMemory(first, size);
    const end = bytes.indexOf(0, last - first);
    if (end >= 0) return decoder.decode(bytes.subarray(0, end));
  }
}

/** Reads a start that lies where the door's will: in the header, and on a stack as the kernel's. */
function warmUpReading(): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  call("mmap", imageAddress, PAGE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
  const page = viewMemory(imageAddress, PAGE_BYTES);
  const [vectors, texts] = [512, 1024];
  page.set(encodeUtf8("name\0word\0NAME=value\0OTHER=value\0"), texts);
  const view = new DataView(page.buffer, page.byteOffset);
  const put = (at: number, target: number) =>
    view.setBigUint64(at, target === 0 ? 0n : BigInt(imageAddress + target), true);
  [texts, texts + 5, 0, texts + 10, texts + 21, 0].forEach((target, index) => {
    put(vectors + 8 * index, target);
  });
  put(imageHeader.words + imageWords.argv, vectors);
  put(imageHeader.words + imageWords.environment, vectors + 24);
  put(imageHeader.words + imageWords.name, texts);
  const { words, environment } = readStart();
  if (words.join() !== "word" || environment["OTHER"] !== "value")
    throw new Error("Cannot read the words that a process starts with");
  call("munmap", imageAddress, PAGE_BYTES);
}
