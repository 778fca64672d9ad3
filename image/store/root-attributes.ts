/** In an overlay the upper directory's own attributes are those of "/". */
import type { ByteString } from "../byte-string.ts";
import { openDirectory, statFd } from "../directory.ts";
import { applyToFd, attributePolicy } from "../unpack/metadata.ts";
import { readXattrs } from "../xattrs.ts";

export function copyRootAttributes(
  from: string,
  to: string,
  rights: { readonly chown: boolean; readonly userXattr: boolean },
): void {
  using source = openDirectory(from);
  using target = openDirectory(to);
  const { mode, ...status } = statFd(source);
  const xattrs = readXattrs(source);
  xattrs.delete("trusted.overlay.opaque" as ByteString); // SAFE: ASCII
  xattrs.delete("user.overlay.opaque" as ByteString); // SAFE: ASCII
  const policy = attributePolicy(rights, () => {});
  applyToFd(target, { ...status, mode: mode & 0o7777, xattrs }, policy, -1);
}
