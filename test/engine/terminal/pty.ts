/** A terminal for tests: the outer end is the person, the inner end what programs see. */
import {
  call,
  Fd,
  O_CLOEXEC,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDWR,
  syscall,
  TCGETS,
  TIOCGPTPEER,
  TIOCSPTLCK,
  TIOCSWINSZ,
  termios,
  winsize,
} from "../../../linux/index.ts";

export class TestTerminal implements Disposable {
  readonly outer: Fd;
  readonly inner: Fd;

  constructor({ rows = 24, columns = 80 } = {}) {
    this.outer = Fd.from("openat", -100, "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    call("ioctl", this.outer, TIOCSPTLCK, new Uint8Array(4));
    this.inner = Fd.from("ioctl", this.outer, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    this.resize(rows, columns);
  }

  resize(rows: number, columns: number): void {
    call("ioctl", this.outer, TIOCSWINSZ, winsize.encode({ ws_row: rows, ws_col: columns }));
  }

  settings(): Uint8Array {
    const bytes = new Uint8Array(termios.sizeBytes);
    call("ioctl", this.inner, TCGETS, bytes);
    return bytes;
  }

  type(text: string): void {
    const bytes = Buffer.from(text);
    call("write", this.outer, bytes, bytes.length);
  }

  /** What has been written since the last read. */
  read(): string {
    let text = "";
    const buffer = new Uint8Array(65536);
    for (;;) {
      const length = syscall("read", this.outer, buffer, buffer.length);
      if (length <= 0) return text;
      text += Buffer.from(buffer.subarray(0, length)).toString();
    }
  }

  /** Waits until the text appears; returns all that came until then. */
  async expect(wanted: string | RegExp, timeoutMs = 10_000): Promise<string> {
    const end = Date.now() + timeoutMs;
    let text = "";
    while (Date.now() < end) {
      text += this.read();
      if (typeof wanted === "string" ? text.includes(wanted) : wanted.test(text)) return text;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`Expected ${wanted} on the terminal, got ${JSON.stringify(text)}`);
  }

  [Symbol.dispose](): void {
    this.inner.close();
    this.outer.close();
  }
}

export async function until(
  condition: () => boolean,
  what: string,
  timeoutMs = 10_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`Waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
