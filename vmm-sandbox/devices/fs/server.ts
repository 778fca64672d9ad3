/** Answers FUSE requests for one exported directory: bytes in, bytes out. */
import { type Errno, errnos, hasErrno, SyscallError } from "../../../linux/index.ts";
import * as abi from "./abi.ts";
import * as files from "./files.ts";
import { FuseError } from "./fuse-error.ts";
import { Handles } from "./handles.ts";
import { Inodes } from "./inodes.ts";
import * as metadata from "./metadata.ts";
import type { Export, Request } from "./request.ts";

export interface FuseServerOptions {
  readonly path: string;
  readonly readOnly: boolean;
  /** Only these files of the directory exist for the guest: for shares that are single files. */
  readonly only?: readonly string[];
}

type Operation = (shared: Export, request: Request) => Uint8Array;

const NOTHING = new Uint8Array(0);
const BACKGROUND_REQUESTS = 64;
const PAGE_BYTES = 4096;

const operations: Readonly<Partial<Record<abi.Opcode, Operation>>> = {
  LOOKUP: metadata.lookUp,
  GETATTR: metadata.getAttributes,
  SETATTR: metadata.setAttributes,
  READLINK: metadata.readLink,
  SYMLINK: metadata.makeSymlink,
  MKNOD: metadata.makeNode,
  MKDIR: metadata.makeDirectory,
  UNLINK: metadata.unlink,
  RMDIR: metadata.removeDirectory,
  RENAME: metadata.rename,
  RENAME2: metadata.rename2,
  LINK: metadata.link,
  OPEN: files.open,
  CREATE: files.create,
  READ: files.read,
  WRITE: files.write,
  RELEASE: files.release,
  FLUSH: () => NOTHING,
  FSYNC: files.synchronize(false),
  FSYNCDIR: files.synchronize(true),
  SYNCFS: files.synchronizeAll,
  OPENDIR: files.openDirectory,
  READDIR: files.readDirectory(false),
  READDIRPLUS: files.readDirectory(true),
  RELEASEDIR: files.release,
  STATFS: files.statFileSystem,
  SETXATTR: files.setXattr,
  GETXATTR: files.getXattr,
  LISTXATTR: files.listXattrs,
  REMOVEXATTR: files.removeXattr,
  FALLOCATE: files.allocate,
  LSEEK: files.seek,
  COPY_FILE_RANGE: files.copyRange,
};

const names = new Map<number, abi.Opcode>(
  // SAFE: the keys of `opcodes` are exactly the members of Opcode.
  (Object.keys(abi.opcodes) as abi.Opcode[]).map((name) => [abi.opcodes[name], name]),
);

export class FuseServer implements Disposable {
  readonly #export: Export & { readonly inodes: Inodes; readonly handles: Handles };
  readonly #only: readonly Uint8Array[] | undefined;

  constructor({ path, readOnly, only }: FuseServerOptions) {
    this.#only = only?.map((name) => Buffer.from(`${name}\0`));
    this.#export = { inodes: new Inodes(path), handles: new Handles(), readOnly };
  }

  /** Descriptors held for the guest. */
  get openDescriptors(): number {
    return this.#export.inodes.size + this.#export.handles.size;
  }

  /** The reply, or undefined for requests that have none. Never throws for what a guest sends. */
  handle(bytes: Uint8Array): Uint8Array | undefined {
    if (bytes.length < abi.in_header.sizeBytes) return undefined;
    const header = abi.in_header.decode(bytes);
    const body = bytes.subarray(abi.in_header.sizeBytes, Math.min(header.len, bytes.length));
    try {
      const data = this.#answer(header, body);
      return data === undefined ? undefined : reply(header.unique, 0, data);
    } catch (error) {
      return reply(header.unique, -errnos[errnoOf(error)][0], NOTHING);
    }
  }

  /** Forgets everything that a guest held: it was reset. */
  reset(): void {
    this.#export.handles.releaseAll();
    this.#export.inodes.forgetAll();
  }

  [Symbol.dispose](): void {
    this.#export.handles[Symbol.dispose]();
    this.#export.inodes[Symbol.dispose]();
  }

  #answer(header: Request["header"], body: Uint8Array): Uint8Array | undefined {
    const opcode = names.get(header.opcode);
    switch (opcode) {
      case "INIT":
        return this.#init(body);
      case "DESTROY":
        this.reset();
        return NOTHING;
      case "FORGET":
        this.#forget(header.nodeid, body);
        return undefined;
      case "BATCH_FORGET":
        this.#forgetMany(body);
        return undefined;
      case "INTERRUPT":
        return undefined; // every request is answered before the next one is looked at
      case undefined:
        throw new FuseError("ENOSYS");
      default: {
        const operation = operations[opcode];
        if (operation === undefined) throw new FuseError("ENOSYS");
        this.#checkOnly(opcode, header, body);
        const inode = this.#export.inodes.get(Number(header.nodeid));
        return operation(this.#export, { header, body, inode });
      }
    }
  }

  /** With `only`, the directory itself can be passed through to those names, nothing else. */
  #checkOnly(opcode: abi.Opcode, { nodeid }: Request["header"], body: Uint8Array): void {
    if (this.#only === undefined || Number(nodeid) !== abi.ROOT_ID) return;
    if (opcode === "GETATTR" || opcode === "STATFS") return;
    if (opcode !== "LOOKUP") throw new FuseError("EACCES");
    if (!this.#only.some((name) => Buffer.compare(body.subarray(0, name.length), name) === 0))
      throw new FuseError("ENOENT");
  }

  #init(body: Uint8Array): Uint8Array {
    if (body.length < abi.init_in.sizeBytes) throw new FuseError("EINVAL");
    const asked = abi.init_in.decode(body);
    if (asked.major !== abi.FUSE_VERSION.major) throw new FuseError("EPROTO");
    const known = Object.values(abi.initFlags).reduce((bits, flag) => bits | flag, 0);
    return abi.init_out.encode({
      ...abi.FUSE_VERSION,
      max_readahead: asked.max_readahead,
      flags: asked.flags & known,
      max_background: BACKGROUND_REQUESTS,
      congestion_threshold: (BACKGROUND_REQUESTS * 3) / 4,
      max_write: files.MAX_TRANSFER_BYTES,
      time_gran: 1,
      max_pages: files.MAX_TRANSFER_BYTES / PAGE_BYTES,
    });
  }

  #forget(nodeid: bigint, body: Uint8Array): void {
    if (body.length < abi.forget_in.sizeBytes) return;
    this.#export.inodes.forget(Number(nodeid), Number(abi.forget_in.decode(body).nlookup));
  }

  #forgetMany(body: Uint8Array): void {
    if (body.length < abi.batch_forget_in.sizeBytes) return;
    const { count } = abi.batch_forget_in.decode(body);
    const room = (body.length - abi.batch_forget_in.sizeBytes) / abi.forget_one.sizeBytes;
    for (let index = 0; index < Math.min(count, Math.floor(room)); index++) {
      const at = abi.batch_forget_in.sizeBytes + index * abi.forget_one.sizeBytes;
      const { nodeid, nlookup } = abi.forget_one.decode(body, at);
      this.#export.inodes.forget(Number(nodeid), Number(nlookup));
    }
  }
}

function reply(unique: bigint, error: number, data: Uint8Array): Uint8Array {
  const len = abi.out_header.sizeBytes + data.length;
  return Buffer.concat([abi.out_header.encode({ len, error, unique }), data]);
}

function errnoOf(error: unknown): Errno {
  if (error instanceof FuseError) return error.code;
  if (error instanceof SyscallError) return hasErrno(error, "EMFILE") ? "ENFILE" : error.errno;
  throw error; // a fault of ours, which must not look like the guest's
}
