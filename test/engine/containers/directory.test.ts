import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ContainerDirectories,
  type ContainerRecord,
} from "../../../engine/containers/directory.ts";
import { Fd, LOCK_EX, LOCK_NB, syscall } from "../../../linux/index.ts";

describe("ContainerDirectories", () => {
  let root = "";
  let directories: ContainerDirectories;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "manyworlds-state-"));
    directories = new ContainerDirectories(root);
  });
  afterEach(() => rmSync(root, { recursive: true }));

  function make(name?: string): ContainerRecord {
    const { lock, ...claimed } = directories.claim(name);
    lock.close();
    directories.release(directories.runningPath(claimed.id));
    mkdirSync(directories.path(claimed.id), { recursive: true }); // as the image store does
    const record: ContainerRecord = {
      ...claimed,
      image: "busybox",
      imageId: "sha256:0",
      command: ["sh"],
      createdAt: new Date(0).toISOString(),
      autoRemove: false,
      labels: {},
      cgroupsPath: "/x",
      network: "none",
    };
    directories.write(record);
    return record;
  }

  it("gives each container an ID and a name", () => {
    const { id, name } = make();
    assert.match(id, /^[0-9a-f]{64}$/);
    assert.match(name, /^[a-z]+_[a-z]+$/);
    assert.equal(make("web").name, "web");
  });
  it("refuses a name that is taken, and leaves nothing behind", () => {
    make("web");
    assert.throws(() => make("web"), /Cannot use the name "web": another container has it/);
    assert.equal(directories.ids().length, 1);
  });
  it("finds by name, ID and beginning of an ID", () => {
    const { id } = make("web");
    for (const wanted of ["web", id, id.slice(0, 12), id.slice(0, 3)]) {
      assert.equal(directories.find(wanted).name, "web");
    }
    for (const wanted of ["nope", "../web", "", "*"]) {
      assert.throws(() => directories.find(wanted), /Cannot find container/);
    }
  });
  it("keeps a lock as long as the descriptor", () => {
    const { id } = make();
    const tryLock = (): number => {
      using other = Fd.from("openat", -100, directories.runningPath(id), 2);
      return syscall("flock", other, LOCK_EX | LOCK_NB);
    };
    {
      using _ = directories.lock(id);
      assert.deepEqual(directories.running(), [id]);
      assert.equal(tryLock(), -11);
    }
    assert.equal(tryLock(), 0);
  });
  it("removes everything, twice without complaint, and no name of another", () => {
    const record = make("web");
    directories.lock(record.id).close();
    directories.remove(record);
    assert.equal(existsSync(directories.path(record.id)), false);
    assert.deepEqual([directories.ids(), directories.running()], [[], []]);
    const other = make("web");
    directories.remove(record);
    assert.equal(directories.find("web").id, other.id);
  });
  it("gives away the name of a container that was never made", () => {
    const { lock, id } = directories.claim("web"); // killed here: no directory
    lock.close();
    assert.throws(() => directories.claim("web"), /another container has it/);
    directories.release(directories.runningPath(id)); // a sweep
    const again = directories.claim("web");
    assert.equal(again.name, "web");
    again.lock.close();
  });
  it("drops names whose container is gone", () => {
    const { id } = make("web");
    rmSync(directories.path(id), { recursive: true });
    directories.dropStaleNames();
    assert.equal(make("web").name, "web");
  });
});
