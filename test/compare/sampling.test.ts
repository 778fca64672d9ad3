import assert from "node:assert/strict";
import { type Sampled, sampleInTurn } from "../../compare/measure/sampling.ts";
import { ratioOf, spreadOf } from "../../compare/statistics.ts";

const options = {
  budgetMs: 5000,
  maxRounds: 4,
  minRounds: 1,
  signal: new AbortController().signal,
  onSample: () => undefined,
};

describe("sampleInTurn()", () => {
  const order: string[] = [];
  const failures: string[] = [];
  const candidate = (
    name: string,
    take: () => void | Promise<void> = () => undefined,
  ): Sampled => ({
    name,
    take() {
      order.push(name);
      return take();
    },
    onFailure: (error) => failures.push(`${name}: ${error}`),
  });
  beforeEach(() => {
    order.length = 0;
    failures.length = 0;
  });
  const count = (name: string) => order.filter((each) => each === name).length;

  it("takes one of each in a round, in an order that turns", async () => {
    await sampleInTurn(
      ["a", "b", "c"].map((name) => candidate(name)),
      options,
    );
    assert.equal(order.join(""), "abcbcacababc");
  });
  it("asks no more of one that failed, and goes on with the others", async () => {
    const bad = candidate("bad", () => {
      throw new Error("broken");
    });
    await sampleInTurn([bad, candidate("good")], options);
    assert.equal(count("bad"), 1);
    assert.equal(count("good"), 4);
    assert.deepEqual(failures, ["bad: Error: broken"]);
  });
  it("ends when its time is up, but not before each had its minimum", async () => {
    let clock = 0;
    const lasting = (name: string, ms: number) =>
      candidate(name, () => {
        clock += ms;
      });
    await sampleInTurn([lasting("slow", 120), lasting("fast", 1)], {
      ...options,
      budgetMs: 300,
      maxRounds: 1000,
      minRounds: 2,
      now: () => clock,
    });
    assert.equal(count("slow"), 2);
    assert.ok(count("fast") > 50, `${count("fast")}`);
  });
  it("stops at once when it is interrupted", async () => {
    const controller = new AbortController();
    const first = candidate("first", () => controller.abort());
    await sampleInTurn([first, candidate("second")], { ...options, signal: controller.signal });
    assert.deepEqual(order, ["first"]);
  });
});

describe("statistics", () => {
  it("finds median and quartiles, interpolated", () => {
    assert.deepEqual(spreadOf([4, 1, 3, 2]), { median: 2.5, low: 1.75, high: 3.25 });
    assert.deepEqual(spreadOf([7]), { median: 7, low: 7, high: 7 });
  });
  it("takes ratios within rounds", () => {
    assert.equal(ratioOf([2, 20, 200], [1, 10, 100]).median, 2);
  });
});
