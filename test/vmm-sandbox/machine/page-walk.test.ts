import assert from "node:assert/strict";
import { GuestMemory } from "../../../vmm-sandbox/machine/index.ts";
import { walkPageTables } from "../../../vmm-sandbox/machine/page-walk.ts";

describe("walkPageTables()", () => {
  const memory = GuestMemory.over(new ArrayBuffer(0x1_0000), 0x1_0000);
  const long = { cr0: 1n << 31n, cr3: 0x1000n, efer: 1n << 10n };
  // PML4[511] → PDPT[510] → PD: [0] 2 MiB at 4 MiB, [1] → PT: [3] → 0x7000; PDPT[0] 1 GiB at 1 GiB.
  memory.writeU64(0x1000 + 511 * 8, 0x2003n);
  memory.writeU64(0x2000 + 510 * 8, 0x3003n);
  memory.writeU64(0x2000, (1n << 63n) | 0x4000_0083n);
  memory.writeU64(0x3000, 0x40_0083n);
  memory.writeU64(0x3008, 0x4003n);
  memory.writeU64(0x4000 + 3 * 8, 0x7003n);
  memory.writeU64(0x1000, 0xdead_0000_0003n);

  const base = 0xffff_ffff_8000_0000n;
  const rows: readonly (readonly [what: string, virtual: bigint, physical: number | undefined])[] =
    [
      ["a 4 KiB page", base + 0x20_3123n, 0x7123],
      ["a 2 MiB page", base + 0x1_2345n, 0x41_2345],
      ["a 1 GiB page", 0xffff_ff80_0000_0000n + 0x1234_5678n, 0x5234_5678],
      ["a page that is not present", base + 0x20_4000n, undefined],
      ["a table outside RAM", 0x1000n, undefined],
    ];
  for (const [what, virtual, physical] of rows) {
    it(`finds ${what}`, () => assert.equal(walkPageTables(memory, long, virtual), physical));
  }

  it("is the identity without paging, and gives up on 32-bit paging", () => {
    assert.equal(walkPageTables(memory, { ...long, cr0: 1n }, 0x1234n), 0x1234);
    assert.equal(walkPageTables(memory, { ...long, efer: 0n }, 0x1234n), undefined);
  });
});
