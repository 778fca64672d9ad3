import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { call } from "../../linux/index.ts";
import type { IntelRdt } from "../../oci/index.ts";
import {
  leaveResctrl,
  makeResctrl,
  openResctrlEntrances,
  placeResctrl,
} from "../../runtime/resctrl.ts";

/**
 * No machine here has resctrl: folders and files of its names stand in for it. What the kernel
 * would do by itself (files in a new group, what a write means) is therefore not tested.
 */
describe("resctrl, on a folder with its files", () => {
  let top = "";
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), "manyworlds-resctrl-"));
    fill(top, "    L3:0=7ff;1=7ff\n    MB:0= 100;1= 100\n");
  });
  afterEach(() => rmSync(top, { recursive: true }));

  function fill(group: string, schemata = ""): void {
    mkdirSync(join(group, "mon_groups"), { recursive: true });
    for (const [file, text] of [
      ["tasks", ""],
      ["schemata", schemata],
    ] as const)
      writeFileSync(join(group, file), text);
  }
  const place = (intelRdt: IntelRdt) => placeResctrl({ intelRdt }, "c1", () => top);

  it("does nothing without intelRdt", () =>
    assert.equal(
      placeResctrl({}, "c1", () => top),
      undefined,
    ));

  it("names the group after the container, which then owns it", () =>
    assert.deepEqual(place({}), { group: `${top}/c1`, isOwn: true }));

  it("takes the default group for /, and a named one that somebody made", () => {
    assert.deepEqual(place({ closID: "/" }), { group: top, isOwn: false });
    fill(join(top, "gold"));
    assert.deepEqual(place({ closID: "gold", enableMonitoring: true }), {
      group: `${top}/gold`,
      isOwn: false,
      monitor: `${top}/gold/mon_groups/c1`,
    });
  });

  it("compares the schemas of a group that is there, as numbers", () => {
    fill(join(top, "gold"), "    L3:0=07f;1=00f\n    MB:0= 20;1= 70\n");
    const same = { closID: "gold", l3CacheSchema: "L3:0=7F;1=f", memBwSchema: "MB:0=20" };
    assert.equal(place(same)?.isOwn, false);
    assert.throws(() => place({ ...same, l3CacheSchema: "L3:0=3f" }), /l3CacheSchema/);
    assert.throws(() => place({ ...same, memBwSchema: "MB:0=30" }), /memBwSchema/);
  });

  it("writes each schema in one write, in order, and opens the tasks files", () => {
    const group = join(top, "c1");
    fill(group);
    mkdirSync(join(group, "mon_groups/c1"));
    writeFileSync(join(group, "mon_groups/c1/tasks"), "");
    const rdt = { schemata: ["L2:0=f"], memBwSchema: "MB:0=20", enableMonitoring: true };
    const where = { group, isOwn: true, monitor: `${group}/mon_groups/c1` };
    makeResctrl(where, rdt);
    // A plain file keeps only what was written last, at its beginning; the kernel takes each line.
    assert.equal(readFileSync(join(group, "schemata"), "utf8"), "L2:0=f\n\n");
    for (const entrance of openResctrlEntrances(where)) {
      call("write", entrance, "0", 1);
      entrance.close();
    }
    for (const tasks of [join(group, "tasks"), join(group, "mon_groups/c1/tasks")])
      assert.equal(readFileSync(tasks, "utf8"), "0");
  });

  it("removes what the container owns, and nothing else", () => {
    const [own, shared] = [join(top, "c1"), join(top, "gold")];
    for (const group of [own, `${shared}/mon_groups/c1`]) mkdirSync(group, { recursive: true });
    leaveResctrl({ group: own, isOwn: true });
    leaveResctrl({ group: shared, isOwn: false, monitor: `${shared}/mon_groups/c1` });
    leaveResctrl({ group: own, isOwn: true });
    assert.deepEqual([own, shared, `${shared}/mon_groups/c1`].map(existsSync), [
      false,
      true,
      false,
    ]);
    rmdirSync(join(shared, "mon_groups"));
  });

  // biome-ignore format: table
  for (const [why, rdt] of [
    ["a group that nobody prepared",   { closID: "gold" }],
    ["a closID that is a path",        { closID: "../x" }],
    ["a closID of resctrl's own",      { closID: "info" }],
    ["a memory schema of another kind", { memBwSchema: "L3:0=f" }],
    ["a schema of two lines",          { l3CacheSchema: "L3:0=f\nMB:0=10" }],
    ["two lines in one of schemata",   { schemata: ["L3:0=f\nL2:0=f"] }],
  ] as const)
    it(`refuses ${why}`, () => assert.throws(() => place(rdt), /linux\.intelRdt/));

  it("refuses all of it where resctrl is not mounted", function () {
    if (/ resctrl /.test(readFileSync("/proc/self/mountinfo", "utf8"))) this.skip();
    assert.throws(() => placeResctrl({ intelRdt: {} }, "c1"), /not mounted/);
  });
});
