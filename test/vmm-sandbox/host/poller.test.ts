/** Threads of rows that wake this one: descriptors in numbers, storms, and the end. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { call, EFD_CLOEXEC, Fd } from "../../../linux/index.ts";
import { Poller } from "../../../vmm-sandbox/host/poller.ts";
import { RowThread } from "../../../vmm-sandbox/host/row-thread.ts";
import { Waker } from "../../../vmm-sandbox/host/waker.ts";

const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
const EFD_NONBLOCK = 0o4000;

function countThreads(): number {
  return readdirSync("/proc/self/task").length;
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let tries = 0; !isTrue(); tries++) {
    assert.ok(tries < 2000, "it did not happen within 10 s");
    await setTimeout(5);
  }
}

describe("Poller", () => {
  it("calls back for the descriptor that is ready, as often as it takes", async () => {
    using waker = new Waker();
    using poller = new Poller(waker);
    const bells = Array.from({ length: 40 }, () => Fd.from("eventfd2", 0, EFD_NONBLOCK));
    const rung = bells.map(() => 0);
    bells.forEach((bell, index) => {
      poller.watch(bell, () => {
        rung[index] = (rung[index] ?? 0) + 1;
      });
    });
    for (let round = 1; round <= 20; round++) {
      const index = (round * 7) % bells.length;
      const before = rung[index] ?? 0;
      call("write", bells[index] ?? -1, ONE, 8);
      await until(() => (rung[index] ?? 0) > before);
    }
    assert.equal(rung.filter((count) => count > 0).length, 20);
    for (const bell of bells) bell.close();
  });

  it("joins the rings of a storm, loses none that comes after the last look", async () => {
    using waker = new Waker();
    using poller = new Poller(waker);
    using bell = Fd.from("eventfd2", 0, EFD_NONBLOCK);
    let looks = 0;
    poller.watch(bell, () => looks++);
    const rings = 100_000;
    for (let i = 0; i < rings; i++) call("write", bell, ONE, 8);
    await until(() => looks > 0);
    await setTimeout(50);
    const after = looks;
    assert.ok(after < rings / 10, `${after} callbacks`);
    call("write", bell, ONE, 8);
    await until(() => looks > after);
  });

  it("calls back no more for what is not watched, and leaves no thread", async () => {
    const before = countThreads();
    {
      using waker = new Waker();
      using poller = new Poller(waker);
      assert.equal(countThreads(), before + 1);
      using bell = Fd.from("eventfd2", 0, EFD_CLOEXEC);
      const unwatch = poller.watch(bell, () => assert.fail("nobody watches it"));
      unwatch();
      call("write", bell, ONE, 8);
      await setTimeout(20);
    }
    await until(() => countThreads() <= before);
  });
});

describe("RowThread", () => {
  it("runs its rows beside us, shares words, and is joined", () => {
    const thread = new RowThread({
      rows: [
        { call: "gettid", args: [], as: "own" },
        { compute: [{ result: "own" }, "*", 2], as: "twice" },
        { store: { buffer: "said" }, value: { result: "twice" }, width: 4 },
        { jump: "failed" },
      ],
      buffers: { said: 8 },
      signals: [],
    });
    const words = thread.words("said");
    while (Atomics.load(words, 0) === 0);
    assert.notEqual(thread.tid, process.pid);
    assert.equal(words[0], thread.tid * 2);
    thread.join();
  });

  it("starts and joins by the hundred", () => {
    const before = countThreads();
    for (let i = 0; i < 200; i++)
      new RowThread({ rows: [{ jump: "failed" }], buffers: {}, signals: [] }).join();
    assert.ok(countThreads() <= before);
  });
});
