/**
 * A frozen process in a file, and where it lies in memory while it is thawed:
 *
 * ```
 * imageAddress  header (below)                        both mapped privately by the door,
 * +4096         syscall program that maps the rest    which fills in the words from +128 on
 * +…            pages of the process, each at a page's boundary; only the program knows of them
 * ```
 * Header: u64 magic, u64 size of header and program, then what it was made of: the fields of the
 * executable's struct stat that `identity` names, u64 each, and from +72 the boot's ID as text. From
 * +128: addresses of argv, of the environment and of
 * the name we are called by, and the number of the image's descriptor, u64 each.
 */
import { stat } from "../../linux/index.ts";

/** For root alone; /run is empty after a boot, and with it whatever depends on kernel or processor. */
export const imageDirectory = "/run/manyworlds-frozen";
/** Nobody else maps anything here: below the kernel's own choices, above those of mimalloc. */
export const imageAddress = 0x4100_0000_0000;
/** The door lies out of the way of the executable, whose place it gives its process to. */
export const doorPlace = { code: 0x4000_0000_0000, block: 0x4000_1000_0000 } as const;
export const programOffset = 4096;
/** Changes with this layout. */
export const imageMagic = 0x3130_657a_6f72_6677n; // "wfroze01", read as bytes
/** In place of it where freezing has failed: to say so to whoever would try again. */
export const failedMagic = 0x3130_7473_6f6c_6677n; // "wflost01"

export const imageHeader = {
  magic: 0,
  mappedBytes: 8,
  identity: 16,
  boot: 72,
  words: 128,
  size: 160,
} as const;
/** What the door fills in, in order from `imageHeader.words`. */
export const imageWords = { argv: 0, environment: 8, name: 16, descriptor: 24 } as const;

/** Offsets in struct stat of what says which file it is, and that nobody has written to it. */
export function identity(): readonly number[] {
  const { st_dev, st_ino, st_size, st_mtime, st_mtime_nsec, st_ctime, st_ctime_nsec } =
    stat.offsets;
  return [st_dev, st_ino, st_size, st_mtime, st_mtime_nsec, st_ctime, st_ctime_nsec];
}

export const bootIdPath = "/proc/sys/kernel/random/boot_id";
/** A UUID's text, without the newline, in whole words. */
export const bootIdSize = 32;

/** An image's name is its executable's inode number: 16 letters, a for 0, most significant first. */
export const nameLetters = 16;

export function imageName(inode: bigint): string {
  let name = "";
  for (let index = nameLetters - 1; index >= 0; index--) {
    const nibble = Number((inode >> BigInt(4 * index)) & 15n);
    name += String.fromCharCode("a".charCodeAt(0) + nibble);
  }
  return name;
}

/** The maker and the process to be frozen are told apart by the name they are called by. */
/** With this variable, set to anything, nothing is frozen or thawed. */
export const coldVariable = "MANYWORLDS_COLD";
export const calledAs = {
  maker: "manyworlds-oci:freeze",
  subject: "manyworlds-oci:frozen",
} as const;
/** The subject's descriptors from 3 to here are taken, so Bun's own are above. */
export const reportDescriptor = 219;
/** The subject reports fs's base and the address of its registers, u64 each, and freezes. */
export const reportSize = 16;
