import assert from "node:assert/strict";
import { readFileSync, readlinkSync } from "node:fs";
import {
  addressOf,
  call,
  Fd,
  ffiDriverName,
  hasErrno,
  mapMemory,
  O_CLOEXEC,
  SyscallError,
  stat,
  syscall,
} from "../../linux/index.ts";

describe("linux/kernel", () => {
  it("uses the driver of this JavaScript engine", () => {
    assert.equal(ffiDriverName(), "Bun" in globalThis ? "bun:ffi" : "koffi");
  });

  it("syscall() returns the result of the kernel", () => {
    assert.equal(syscall("getpid"), process.pid);
  });

  it("syscall() returns -errno, not -1", () => {
    assert.equal(syscall("close", 9999), -9);
  });

  it("call() throws the facts of a failure", () => {
    assert.throws(
      () => call("openat", -100, "/no such file", O_CLOEXEC),
      (error) =>
        error instanceof SyscallError &&
        error.failure.call === "openat" &&
        error.failure.errno === "ENOENT" &&
        hasErrno(error, "ENOENT") &&
        error.message ===
          'openat(-100, "/no such file", 0x80000) failed with ENOENT: no such file or directory',
    );
  });

  it("call() refuses a string with a NUL, which would name another file", () => {
    assert.throws(() => call("openat", -100, "/etc\0/passwd", 0), TypeError);
  });

  it("the kernel writes into bytes that are passed", () => {
    using fd = Fd.from("openat", -100, "/proc/self/comm", O_CLOEXEC);
    const bytes = new Uint8Array(64);
    const count = call("read", fd, bytes, bytes.length);
    assert.equal(
      Buffer.from(bytes.subarray(0, count)).toString(),
      readFileSync("/proc/self/comm", "utf8"),
    );
  });

  it("passes 64-bit arguments and all six of them", () => {
    const address = call("mmap", 0, 8192, 3, 0x22, -1, 0n);
    assert.ok(address > 2 ** 32);
    assert.equal(syscall("munmap", BigInt(address), 8192), 0);
  });

  it("addressOf() names the bytes themselves", () => {
    const text = Buffer.from("/proc/self/exe\0");
    const target = new Uint8Array(4096);
    const count = call("readlinkat", -100, addressOf(text), addressOf(target), target.length);
    assert.equal(Buffer.from(target.subarray(0, count)).toString(), readlinkSync("/proc/self/exe"));
  });

  it("mapMemory() gives zeroed memory at a fixed address", () => {
    using memory = mapMemory(4096);
    assert.deepEqual([...memory.bytes.subarray(0, 8)], [0, 0, 0, 0, 0, 0, 0, 0]);
    call("getcwd", memory.address, 4096);
    const end = memory.bytes.indexOf(0);
    assert.equal(Buffer.from(memory.bytes.subarray(0, end)).toString(), process.cwd());
  });

  it("a struct decodes what the kernel wrote", () => {
    const buffer = new Uint8Array(stat.sizeBytes);
    call("newfstatat", -100, "/proc/self", buffer, 0);
    assert.equal(stat.decode(buffer).st_mode & 0o170000, 0o040000);
  });
});

describe("linux/fd", () => {
  it("closes once, and cannot be used after that", () => {
    const fd = Fd.from("openat", -100, "/", O_CLOEXEC);
    const { number } = fd;
    fd.close();
    fd.close();
    assert.equal(syscall("fcntl", number, 1), -9);
    assert.throws(() => fd.number, /closed/);
  });

  it("release() gives the number away", () => {
    const fd = Fd.from("openat", -100, "/", O_CLOEXEC);
    const number = fd.release();
    fd.close();
    assert.equal(syscall("close", number), 0);
  });

  for (const bad of [-1, 1.5, Number.NaN])
    it(`take() refuses ${bad}`, () => assert.throws(() => Fd.take(bad), RangeError));
});
