import assert from "node:assert/strict";
import { GenerationId } from "../../../vmm-sandbox/devices/index.ts";

describe("GenerationId", () => {
  const machine = () => {
    const ids: string[] = [];
    let interrupts = 0;
    const line = { gsi: 7, trigger: () => void interrupts++ };
    const copyIn = (address: number, bytes: Uint8Array) => {
      assert.equal(address, 0x1000);
      assert.equal(bytes.length, 16);
      ids.push(Buffer.from(bytes).toString("hex"));
    };
    const generation = new GenerationId({ copyIn }, 0x1000, line);
    return { generation, ids, interrupts: () => interrupts };
  };

  it("is another one in each machine, without an interrupt", () => {
    const [first, second] = [machine(), machine()];
    assert.notEqual(first.ids[0], second.ids[0]);
    assert.equal(first.interrupts(), 0);
  });

  it("is renewed in memory before the guest hears of it", () => {
    const { generation, ids, interrupts } = machine();
    generation.renew();
    assert.equal(ids.length, 2);
    assert.notEqual(ids[0], ids[1]);
    assert.equal(interrupts(), 1);
  });
});
