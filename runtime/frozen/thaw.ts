/**
 * Rows of the door that become the executable without executing it: they find the image that a start
 * of it has left (layout.ts), make sure that it is that executable's and root's own, and run its
 * program, which does not come back. Whatever is missing or wrong, the door goes on at `cold`.
 */
import {
  type Argument,
  AT_EMPTY_PATH,
  AT_FDCWD,
  MAP_FIXED_NOREPLACE,
  MAP_PRIVATE,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_RDONLY,
  PROT_READ,
  PROT_WRITE,
  S_IFREG,
  stat,
} from "../../linux/index.ts";
import type { DoorRows } from "../door/door-rows.ts";
import {
  coldVariable,
  identity,
  imageAddress,
  imageDirectory,
  imageHeader,
  imageMagic,
  imageWords,
  nameLetters,
  programOffset,
} from "./layout.ts";

const privateFile = S_IFREG | 0o600;
const cold = { onError: "cold" } as const;

/**
 * `argv`, `environment` and `name` are variables, `executable` is the path of the executable. The
 * calling process must share its memory with nobody.
 */
export function planThaw(rows: DoorRows, executable: Argument): void {
  rows.gotoIf("cold", rows.result("geteuid", []), "!=", 0);
  planWanted(rows);
  const seen = rows.buffer("executable_stat", stat.sizeBytes);
  rows.call("newfstatat", [AT_FDCWD, executable, seen, 0], cold);
  planName(rows, { load: seen.buffer, offset: stat.offsets.st_ino, width: 8 });
  const name = rows.buffer("image_name", imageDirectory.length + nameLetters + 2);
  const how = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
  rows.set("image", rows.result("openat", [AT_FDCWD, name, how], cold));
  const file = rows.buffer("image_stat", stat.sizeBytes);
  rows.call("newfstatat", [rows.get("image"), "", file, AT_EMPTY_PATH], cold);
  const field = (offset: number) => ({ load: file.buffer, offset, width: 4 }) as const;
  rows.gotoIf("cold", field(stat.offsets.st_mode), "!=", privateFile);
  rows.gotoIf("cold", field(stat.offsets.st_uid), "!=", 0);
  const header = rows.buffer("image_header", imageHeader.size);
  rows.call("read", [rows.get("image"), header, imageHeader.size], cold);
  const load = (offset: number) => ({ load: header.buffer, offset, width: 8 }) as const;
  rows.gotoIf("cold", load(imageHeader.magic), "!=", imageMagic);
  identity().forEach((offset, index) => {
    const now = { load: seen.buffer, offset, width: 8 } as const;
    rows.gotoIf("cold", load(imageHeader.identity + 8 * index), "!=", now);
  });
  const access = PROT_READ | PROT_WRITE;
  const flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
  const place = [imageAddress, load(imageHeader.mappedBytes), access, flags, rows.get("image"), 0];
  rows.call("mmap", place, cold);
  for (const [word, offset] of Object.entries(imageWords)) {
    const variable = word === "descriptor" ? "image" : word;
    rows.buffer(variable, 8);
    const to = imageAddress + imageHeader.words + offset;
    rows.add({ copy: { buffer: variable }, to, length: 8 });
  }
  rows.add({ run: imageAddress + programOffset });
  rows.label("cold");
}

function planWanted(rows: DoorRows): void {
  const [next, wanted] = ["thaw_variable", "thaw_wanted"];
  rows.set("entry", rows.get("environment"));
  rows.label(next);
  rows.set("variable", rows.read(rows.get("entry"), 8));
  rows.gotoIf(wanted, rows.get("variable"), "==", 0);
  rows.gotoIfBegins("cold", rows.get("variable"), `${coldVariable}=`);
  rows.advance("entry", 8);
  rows.goto(next);
  rows.label(wanted);
}

/** imageName() in rows, behind the directory. */
function planName(rows: DoorRows, inode: Argument): void {
  const path = `${imageDirectory}/`;
  const name = rows.buffer("image_name", path.length + nameLetters + 1);
  rows.add({ copy: path, to: name, length: path.length });
  const next = rows.freshLabel("letter");
  rows.set("letter", rows.compute(name, "+", path.length));
  rows.set("bits_left", 4 * nameLetters);
  rows.label(next);
  rows.advance("bits_left", -4);
  const nibble = rows.compute(rows.compute(inode, ">>", rows.get("bits_left")), "&", 15);
  rows.set("character", rows.compute(nibble, "+", "a".charCodeAt(0)));
  rows.add({ copy: { buffer: "character" }, to: rows.get("letter"), length: 1 });
  rows.advance("letter", 1);
  rows.gotoIf(next, rows.get("bits_left"), "!=", 0);
}
