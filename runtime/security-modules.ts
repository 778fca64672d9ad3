/** Which security modules the kernel decides with. */
import { exists, readTextIfThere } from "./files.ts";

/** selinuxfs is there when SELinux is. */
export function hasSelinux(): boolean {
  return exists("/sys/fs/selinux/enforce");
}

export function hasAppArmor(): boolean {
  return readTextIfThere("/sys/module/apparmor/parameters/enabled")?.startsWith("Y") === true;
}
