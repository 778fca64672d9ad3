import assert from "node:assert/strict";
import * as structs from "../../linux/structs.ts";

describe("linux/structs", () => {
  for (const [name, struct] of Object.entries(structs)) {
    if (typeof struct !== "object" || !("offsets" in struct)) continue;
    it(`the fields of ${name} fill its size in the header`, () => {
      for (const offset of Object.values(struct.offsets)) assert.ok(offset < struct.sizeBytes);
    });
  }
});
